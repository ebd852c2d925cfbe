// SPDX-License-Identifier: Apache-2.0
//
// Operands of the emulator: registers, addresses, and memory operands, which are resolved first and
// then loaded and stored without a way to fail. Inside the emulator only.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "vmm/emulate/emulate.h"

// SDM 3C 25.4.1 "Guest Register State", access rights: the segment's D/B.
#define SEGMENT_BIG 0x4000u

// A memory operand after translation: one piece, or two where it crosses a 4 KiB boundary.
struct operand_piece {
    uint8_t *ram; // NULL: a device at gpa
    uint64_t gpa;
    uint8_t size; // bytes
};

struct operand {
    struct operand_piece piece[2];
    uint8_t piece_count;
};

// The value of `insn`'s other operand: register or immediate. Bits above operand_size are rubbish.
uint64_t operand_other(const struct emulate_ctx *ctx, const struct insn *insn);

// The register `old` after a write of `size` bytes: 4 clear the upper half, 1 and 2 keep the rest.
uint64_t register_merge(uint64_t old, uint64_t value, unsigned size);
// Writes insn->operand_size bytes to the register of `insn`.
void register_write(struct emulate_ctx *ctx, const struct insn *insn, uint64_t value);

// Whether a linear address is one, in 64-bit code.
bool emulate_is_canonical(const struct emulate_ctx *ctx, uint64_t gva);

// The offset of `insn`'s memory operand within its segment.
uint64_t operand_offset(const struct emulate_ctx *ctx, const struct insn *insn);

// Translates segment : offset for `size` bytes. EMULATE_DONE: *operand is ready; else the result is
// for the caller, and ctx->fault is set on EMULATE_FAULT. `access` is WALK_READ or WALK_WRITE,
// which includes reading.
enum emulate_result operand_resolve(struct emulate_ctx *ctx, unsigned segment, uint64_t offset,
                                    unsigned size, unsigned access, struct operand *operand);

// The same for an instruction's only memory operand: uses what the exit told. EMULATE_AGAIN if
// all of it is RAM.
enum emulate_result operand_resolve_exit(struct emulate_ctx *ctx, const struct insn *insn,
                                         struct operand *operand);

// Little-endian, zero-extended. Stores drop the bits above the operand's size.
uint64_t operand_load(const struct emulate_ctx *ctx, const struct operand *operand);
void operand_store(const struct emulate_ctx *ctx, const struct operand *operand, uint64_t value);

// #GP(0), or #SS(0) for the stack segment.
enum emulate_result emulate_protection(struct emulate_ctx *ctx, unsigned segment);

#define OPERAND_BYTES 32u // of the largest operand
// The same for operands of any size, in pieces of at most 8 bytes, each naturally aligned.
void operand_load_bytes(const struct emulate_ctx *ctx, const struct operand *operand,
                        uint8_t bytes[OPERAND_BYTES]);
void operand_store_bytes(const struct emulate_ctx *ctx, const struct operand *operand,
                         const uint8_t bytes[OPERAND_BYTES]);

// Whether the linear address of the memory operand is a multiple of its size.
bool operand_is_aligned(const struct emulate_ctx *ctx, const struct insn *insn);

// Turns a walk that failed into ctx->fault and EMULATE_FAULT.
enum emulate_result emulate_walk_failed(struct emulate_ctx *ctx, enum walk_status status,
                                        unsigned segment, uint64_t gva, uint32_t error_code);

// Instructions with implied memory operands, in string.c.
enum emulate_result run_string(const struct insn *insn, struct emulate_ctx *ctx);
enum emulate_result run_stack(const struct insn *insn, struct emulate_ctx *ctx);
// JMP and CALL; sets RIP.
enum emulate_result run_branch(const struct insn *insn, struct emulate_ctx *ctx);

// In vector.c.
enum emulate_result run_vector(const struct insn *insn, struct emulate_ctx *ctx);
