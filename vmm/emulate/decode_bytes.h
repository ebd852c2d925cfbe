// SPDX-License-Identifier: Apache-2.0
//
// The bytes of an instruction, in their order: prefixes, and the address behind ModRM. What
// decode.c and decode_system.c share, and nobody else; inline, since a guest's access to a device
// waits for it.
//
// The instruction is copied into a buffer with zeros behind it that no reader can leave: zero ends
// a run of prefixes, and what may follow is short. So nothing is checked on the way; that `at`
// stayed within the code given is judged at the end.

#pragma once

#include "vmm/emulate/decode.h"
#include "vmm/emulate/decode_table.h"

#define PREFIX_ES           0x26
#define PREFIX_CS           0x2e
#define PREFIX_SS           0x36
#define PREFIX_DS           0x3e
#define PREFIX_FS           0x64
#define PREFIX_GS           0x65
#define PREFIX_OPERAND_SIZE 0x66
#define PREFIX_ADDRESS_SIZE 0x67
#define PREFIX_LOCK         0xf0
#define PREFIX_REPNE        0xf2
#define PREFIX_REP          0xf3

#define REX_W 0x08
#define REX_R 0x04
#define REX_X 0x02
#define REX_B 0x01

#define MODRM_MOD(M) ((M) >> 6)
#define MODRM_REG(M) ((M) >> 3 & 7)
#define MODRM_RM(M)  ((M)&7)
#define MOD_REGISTER 3
#define RM_SIB       4
#define RM_DISP32    5 // under mod 0
#define RM_DISP16    6 // under mod 0, with 16-bit addresses
#define SIB_NO_INDEX 4
#define SIB_NO_BASE  5 // under mod 0

#define SEGMENT_NOT_NAMED INSN_SEGMENT_COUNT

// Behind the last prefix there can be 3 bytes of opcode, ModRM, SIB, and 8 bytes of offset or 4 of
// displacement with 4 of immediate; numbers are loaded 8 bytes at a time.
#define BUFFER_BYTES (DECODE_BYTES + 3 + 1 + 1 + 4 + 4 + sizeof(uint64_t))

struct decoder {
    unsigned at;
    enum decode_mode mode;
    uint8_t operand_size; // 2 or 4: what mode and 66 choose
    uint8_t address_size; // 2, 4 or 8: what mode and 67 choose
    uint8_t conflicts;    // enum decode_flag bits that mode and prefixes forbid
    uint8_t prefix;       // enum decode_prefix
    uint8_t opcode;       // its last byte
    bool lock;
    bool is_vex;
    bool is_vex_long;
    uint8_t vex_register;
    uint8_t rex;     // 0: none
    uint8_t repeat;  // enum insn_repeat
    uint8_t segment; // enum insn_segment or SEGMENT_NOT_NAMED
    uint8_t modrm;
    uint8_t bytes[BUFFER_BYTES];
};

static inline struct decoder decoder_new(enum decode_mode mode) {
    return (struct decoder){
        .mode = mode,
        .operand_size = mode == DECODE_16BIT ? 2 : 4,
        .address_size = (uint8_t)mode,
        .conflicts = mode == DECODE_64BIT ? DECODE_LEGACY_ONLY : DECODE_LONG_ONLY,
        .segment = SEGMENT_NOT_NAMED,
    };
}

static inline uint8_t take_byte(struct decoder *d) {
    return d->bytes[d->at++];
}

// A little-endian number of `size` bytes (1, 2, 4 or 8), sign-extended.
static inline int64_t take_signed(struct decoder *d, unsigned size) {
    unsigned unused = 64 - size * 8;
    uint64_t value;

    __builtin_memcpy(&value, d->bytes + d->at, sizeof value);
    d->at += size;
    return (int64_t)(value << unused) >> unused;
}

// SDM 1 3.4.2.1 "Segment Registers in 64-Bit Mode": the overrides of ES, CS, SS and DS are ignored
// there, so they do not undo one of FS or GS either.
static inline void prefix_segment(struct decoder *d, uint8_t segment) {
    if (d->mode != DECODE_64BIT || segment >= INSN_FS)
        d->segment = segment;
}

static inline void prefix_apply(struct decoder *d, uint8_t byte) {
    switch (byte) {
    case PREFIX_ES:
        prefix_segment(d, INSN_ES);
        break;
    case PREFIX_CS:
        prefix_segment(d, INSN_CS);
        break;
    case PREFIX_SS:
        prefix_segment(d, INSN_SS);
        break;
    case PREFIX_DS:
        prefix_segment(d, INSN_DS);
        break;
    case PREFIX_FS:
        prefix_segment(d, INSN_FS);
        break;
    case PREFIX_GS:
        prefix_segment(d, INSN_GS);
        break;
    case PREFIX_OPERAND_SIZE:
        d->operand_size = d->mode == DECODE_16BIT ? 4 : 2;
        d->conflicts |= DECODE_NO_66;
        if (d->prefix == DECODE_PLAIN)
            d->prefix = DECODE_66;
        break;
    case PREFIX_ADDRESS_SIZE:
        d->address_size = d->mode == DECODE_32BIT ? 2 : 4;
        break;
    case PREFIX_LOCK:
        d->lock = true;
        break;
    case PREFIX_REPNE:
        d->repeat = INSN_REPEAT_NOT_EQUAL;
        d->prefix = DECODE_F2;
        d->conflicts |= DECODE_NO_REPEAT;
        break;
    case PREFIX_REP:
        d->repeat = INSN_REPEAT_EQUAL;
        d->prefix = DECODE_F3;
        d->conflicts |= DECODE_NO_REPEAT;
        break;
    default:
        break;
    }
}

// Consumes the prefixes and the byte behind them, which it returns.
static inline uint8_t take_prefixes(struct decoder *d) {
    for (;;) {
        uint8_t byte = take_byte(d);
        uint8_t form = decode_one_byte[byte].form;

        if (form == DECODE_FORM_PREFIX) {
            d->rex = 0; // a REX that does not stand right before the opcode is ignored
            prefix_apply(d, byte);
        } else if (form == DECODE_FORM_REX && d->mode == DECODE_64BIT) {
            d->rex = byte;
        } else {
            return byte;
        }
    }
}

// SDM 2A table 2-1 "16-Bit Addressing Forms with the ModR/M Byte".
static inline void take_address16(struct decoder *d, struct insn *out) {
    static const uint8_t bases[8] = {INSN_RBX, INSN_RBX, INSN_RBP, INSN_RBP,
                                     INSN_RSI, INSN_RDI, INSN_RBP, INSN_RBX};
    static const uint8_t indices[8] = {INSN_RSI,         INSN_RDI,         INSN_RSI,
                                       INSN_RDI,         INSN_NO_REGISTER, INSN_NO_REGISTER,
                                       INSN_NO_REGISTER, INSN_NO_REGISTER};
    unsigned mod = MODRM_MOD(d->modrm);
    unsigned rm = MODRM_RM(d->modrm);

    if (mod == 0 && rm == RM_DISP16) {
        out->disp = take_signed(d, 2);
        return;
    }
    out->base = bases[rm];
    out->index = indices[rm];
    if (mod != 0)
        out->disp = take_signed(d, mod);
}

static inline void take_sib(struct decoder *d, struct insn *out) {
    uint8_t sib = take_byte(d);
    unsigned index = MODRM_REG(sib) | (d->rex & REX_X ? 8u : 0);
    unsigned base = MODRM_RM(sib);

    if (index != SIB_NO_INDEX) {
        out->index = (uint8_t)index;
        out->scale = (uint8_t)(1u << MODRM_MOD(sib));
    }
    if (base == SIB_NO_BASE && MODRM_MOD(d->modrm) == 0)
        out->disp = take_signed(d, 4);
    else
        out->base = (uint8_t)(base | (d->rex & REX_B ? 8u : 0));
}

// SDM 2A table 2-2 "32-Bit Addressing Forms with the ModR/M Byte" and 2.2.1.6 "RIP-Relative
// Addressing".
static inline void take_address32(struct decoder *d, struct insn *out) {
    unsigned mod = MODRM_MOD(d->modrm);
    unsigned rm = MODRM_RM(d->modrm);

    if (rm == RM_SIB) {
        take_sib(d, out);
    } else if (mod == 0 && rm == RM_DISP32) {
        out->disp = take_signed(d, 4);
        if (d->mode == DECODE_64BIT)
            out->base = INSN_RIP;
    } else {
        out->base = (uint8_t)(rm | (d->rex & REX_B ? 8u : 0));
    }
    if (mod != 0)
        out->disp = take_signed(d, mod == 1 ? 1 : 4);
}

static inline void take_address(struct decoder *d, struct insn *out) {
    bool stack;

    if (out->address_size == 2)
        take_address16(d, out);
    else
        take_address32(d, out);
    stack = out->base == INSN_RSP || out->base == INSN_RBP;
    out->segment = stack ? INSN_SS : INSN_DS;
}
