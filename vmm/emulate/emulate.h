// SPDX-License-Identifier: Apache-2.0
//
// Executes one instruction of the guest that touched a device page.
//
// `emulate_exit` is the whole of it: it fetches the code at RIP, decodes it and executes it with
// `emulate_mmio`. The emulator owns nothing: registers, guest memory and devices are the caller's,
// reached through struct emulate_ctx. It changes registers, memory and devices only once nothing
// can fault any more; so a result other than EMULATE_DONE means that nothing happened, except for
// the finished iterations of a repeated string instruction.
//
// After EMULATE_DONE the instruction is over: RIP and RF are advanced as the processor would, the
// caller ends blocking by STI and MOV SS, and injects #DB (DR6.BS) if RFLAGS.TF was set before.
//
// Nothing that the processor checked for the access that left the guest is taken for granted:
// another vCPU may have rewritten the code or the tables since, so that another instruction is
// decoded than ran.
//
// Not modelled: data breakpoints. LOCK and the implied lock of XCHG hold against other vCPUs only
// as far as the caller serialises device accesses: read and write are two calls.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "include/abi.h"
#include "vmm/cpu/walk.h"
#include "vmm/emulate/decode.h"
#include "vmm/emulate/decode_system.h"

enum emulate_result {
    EMULATE_DONE,
    EMULATE_AGAIN,     // enter the guest at the same RIP: a string instruction goes on, or the
                       // operand turned out to be RAM, where the processor can do it itself
    EMULATE_FAULT,     // inject ctx->fault
    EMULATE_UNHANDLED, // not an instruction that the decoder knows
};

// SDM 3A 6.15 "Exception and Interrupt Reference".
enum emulate_vector {
    EMULATE_DE = 0,
    EMULATE_UD = 6,
    EMULATE_NM = 7,
    EMULATE_SS = 12,
    EMULATE_GP = 13,
    EMULATE_PF = 14,
    EMULATE_AC = 17,
};

struct emulate_fault {
    uint8_t vector; // enum emulate_vector
    bool has_error_code;
    uint32_t error_code;
    uint64_t cr2; // for #PF
};

// The guest's vector registers: its XSAVE area in the standard format, and its XCR0.
struct emulate_vectors {
    uint8_t *area;
    uint64_t xcr0;
};

// Instructions that were decoded lately: a guest touches its devices by a few, over and over. What
// decoding depends on, bytes and mode, is compared whole. All zeros: none.
#define EMULATE_RECENT 8u // a power of two

struct emulate_recent {
    uint64_t code[DECODE_BYTES / sizeof(uint64_t)];
    struct insn insn;
    uint8_t mode; // enum decode_mode, or 0: an empty slot
};

struct emulate_ctx {
    uint64_t *gpr; // 16, in the order of enum insn_register
    uint64_t *rip;
    uint64_t *rflags;
    const struct vcpu_segment *
        segment; // 6, in the order of enum insn_segment; in 64-bit code only the bases of FS and GS
    enum decode_mode mode;       // of the code segment
    const struct walk_ctx *walk; // paging, CPL and RAM of the guest

    // What the exit said about the access, where it is known to be one of the instruction itself,
    // not of the walk of the guest's page tables. It only saves a walk, and is used where it must
    // be the instruction's: same address, same kind, and not of a user, whose page the processor
    // may have reached as the supervisor that it is when it reads descriptors.
    bool has_exit;       // and its linear address, which AMD-V does not tell
    uint8_t exit_access; // enum vcpu_access
    uint64_t exit_gpa;
    uint64_t exit_gva;

    // Device memory, or whatever is not RAM: size 1, 2, 4 or 8; never across a 4 KiB boundary; gpa
    // as unaligned as the guest had it. A read may leave rubbish in the bits above `size`.
    uint64_t (*mmio_read)(void *opaque, uint64_t gpa, unsigned size);
    void (*mmio_write)(void *opaque, uint64_t gpa, unsigned size, uint64_t value);
    // Vector registers are asked for by the instructions that move them, and written back after a
    // change. NULL, or false: there are none, and these instructions are EMULATE_UNHANDLED.
    bool (*vectors_read)(void *opaque, struct emulate_vectors *vectors);
    void (*vectors_write)(void *opaque, const struct emulate_vectors *vectors);
    void *opaque;
    struct emulate_recent *recent; // EMULATE_RECENT of the vCPU's own; NULL: decode each time
    // Without these features of the processor TZCNT is BSF and LZCNT is BSR.
    bool has_tzcnt;
    bool has_lzcnt;

    struct emulate_fault fault; // out, on EMULATE_FAULT
};

// Iterations of a repeated string instruction in one call; then EMULATE_AGAIN, so that interrupts
// get in.
#define EMULATE_STRING_ITERATIONS 256

// Executes `insn`, the instruction at *ctx->rip.
enum emulate_result emulate_mmio(const struct insn *insn, struct emulate_ctx *ctx);

// Fetches, decodes and executes the instruction at *ctx->rip. *insn is what was decoded, for the
// caller's messages; its length is 0 if that did not succeed.
enum emulate_result emulate_exit(struct emulate_ctx *ctx, struct insn *insn);

// Fetches and decodes the instruction at *ctx->rip, for which an intercept left the guest.
// EMULATE_DONE: *insn is what stands there; EMULATE_UNHANDLED: something that decode_system.h does
// not know; EMULATE_FAULT: it cannot be fetched, or is none.
enum emulate_result emulate_decode_system(struct emulate_ctx *ctx, struct system_insn *insn);
