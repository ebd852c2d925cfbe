// SPDX-License-Identifier: Apache-2.0
//
// The MMIO instruction decoder. `decode_insn` reads, in the order of the bytes: prefixes, opcode,
// ModRM with SIB and displacement, immediate. The tables of decode_table.c say what follows what.
//
// The instruction is copied into a buffer with zeros behind it that no reader can leave: zero ends
// a run of prefixes, and what may follow is short. So nothing is checked on the way; that `at`
// stayed within the code given is judged at the end.

#include "vmm/emulate/decode.h"

#include <stddef.h>

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

#define ESCAPE_38 0x38

// SDM 2A 2.3.5 "The VEX Prefix". R, X, B and the register number are inverted.
#define OPCODE_VEX3     0xc4
#define VEX_NOT_RXB(V)  ((uint8_t) ~(V) >> 5)
#define VEX_MAP(V)      ((V)&0x1f)
#define VEX_MAP_0F      1
#define VEX_MAP_0F38    2
#define VEX_W           0x80
#define VEX_REGISTER(V) ((uint8_t) ~(V) >> 3 & 0xf)
#define VEX_L           0x04
#define VEX_PREFIX(V)   ((V)&3) // enum decode_prefix

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

static uint8_t take_byte(struct decoder *d) {
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
static void prefix_segment(struct decoder *d, uint8_t segment) {
    if (d->mode != DECODE_64BIT || segment >= INSN_FS)
        d->segment = segment;
}

static void prefix_apply(struct decoder *d, uint8_t byte) {
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

static const struct decode_row refused = {.form = DECODE_FORM_REFUSED};

static const struct decode_row *row_0f38(uint8_t opcode) {
    switch (opcode) {
    case 0x2a:
        return decode_by_prefix[DECODE_AT_38_2A];
    case 0xf0:
        return decode_by_prefix[DECODE_AT_38_F0];
    case 0xf1:
        return decode_by_prefix[DECODE_AT_38_F1];
    case 0xf6:
        return decode_by_prefix[DECODE_AT_38_F6];
    case 0xf9:
        return decode_by_prefix[DECODE_AT_38_F9];
    default:
        return NULL;
    }
}

// The row of an opcode behind 0F, or 0F 38.
static const struct decode_row *select_row(const struct decoder *d, bool is_0f38) {
    const struct decode_row *rows = is_0f38 ? row_0f38(d->opcode) : &decode_two_byte[d->opcode];

    if (rows == NULL)
        return &refused;
    if (is_0f38)
        return &rows[d->prefix];
    return rows->form == DECODE_FORM_BY_PREFIX ? &decode_by_prefix[rows->group][d->prefix] : rows;
}

// Behind C4 or C5. Outside 64-bit code these are LES and LDS when a memory operand follows, and
// only eight registers are there. None of the prefixes that VEX has fields for may stand before it.
static const struct decode_row *take_vex(struct decoder *d, bool is_long) {
    uint8_t first = take_byte(d);
    uint8_t second = is_long ? take_byte(d) : first;
    bool is_0f38 = is_long && VEX_MAP(first) == VEX_MAP_0F38;
    const struct decode_row *row;

    if (d->mode != DECODE_64BIT && MODRM_MOD(first) != MOD_REGISTER)
        return &refused;
    if (d->prefix != DECODE_PLAIN || d->lock || d->rex)
        return &refused;
    if (is_long && !is_0f38 && VEX_MAP(first) != VEX_MAP_0F)
        return &refused;
    d->is_vex = true;
    d->is_vex_long = second & VEX_L;
    d->prefix = VEX_PREFIX(second);
    d->vex_register = VEX_REGISTER(second);
    if (d->mode == DECODE_64BIT) {
        d->rex = VEX_NOT_RXB(first) & (is_long ? REX_R | REX_X | REX_B : REX_R);
        if (is_long && second & VEX_W)
            d->rex |= REX_W;
    } else {
        d->vex_register &= 7;
    }
    d->opcode = take_byte(d);
    row = select_row(d, is_0f38);
    if (row->op != INSN_VMOV || row->form == DECODE_FORM_REFUSED)
        return &refused;
    if (d->is_vex_long && !(row->vector & (INSN_VECTOR_WIDE | INSN_VECTOR_ANY_L)))
        return &refused;
    if (d->vex_register != 0 && !(row->vector & INSN_VECTOR_MERGES))
        return &refused;
    return row;
}

// Consumes prefixes and opcode. Returns the opcode's row, whose form may be REFUSED.
static const struct decode_row *take_opcode(struct decoder *d) {
    const struct decode_row *row;
    uint8_t byte;

    for (;;) {
        byte = take_byte(d);
        row = &decode_one_byte[byte];
        if (row->form < DECODE_FORM_PREFIX)
            return row;
        if (row->form == DECODE_FORM_ESCAPE)
            break;
        if (row->form == DECODE_FORM_VEX)
            return take_vex(d, byte == OPCODE_VEX3);
        if (row->form == DECODE_FORM_PREFIX) {
            d->rex = 0; // a REX that does not stand right before the opcode is ignored
            prefix_apply(d, byte);
        } else if (d->mode == DECODE_64BIT) {
            d->rex = byte;
        } else {
            return &refused;
        }
    }
    d->opcode = take_byte(d);
    if (d->opcode != ESCAPE_38)
        return select_row(d, false);
    d->opcode = take_byte(d);
    return select_row(d, true);
}

static uint8_t operand_size(const struct decoder *d, unsigned flags) {
    if (flags & DECODE_BYTE)
        return 1;
    if (d->rex & REX_W)
        return 8;
    if (flags & DECODE_NEAR && d->mode == DECODE_64BIT)
        return 8;
    if (!(flags & (DECODE_DWORD | DECODE_STACK)))
        return d->operand_size;
    if (flags & DECODE_DWORD)
        return 4;
    return d->mode == DECODE_64BIT && d->operand_size == 4 ? 8 : d->operand_size;
}

// SDM 2A table 2-1 "16-Bit Addressing Forms with the ModR/M Byte".
static void take_address16(struct decoder *d, struct insn *out) {
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

static void take_sib(struct decoder *d, struct insn *out) {
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
static void take_address32(struct decoder *d, struct insn *out) {
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

static void take_address(struct decoder *d, struct insn *out) {
    bool stack;

    if (out->address_size == 2)
        take_address16(d, out);
    else
        take_address32(d, out);
    stack = out->base == INSN_RSP || out->base == INSN_RBP;
    out->segment = stack ? INSN_SS : INSN_DS;
}

static void set_register(const struct decoder *d, struct insn *out, unsigned reg) {
    out->other = INSN_OTHER_REGISTER;
    out->reg_is_high_byte = out->operand_size == 1 && !d->rex && reg >= 4;
    out->reg = (uint8_t)(out->reg_is_high_byte ? reg - 4 : reg);
}

static void take_immediate(struct decoder *d, struct insn *out, unsigned size) {
    out->imm = (uint64_t)take_signed(d, size < 4 ? size : 4);
}

static void take_third(struct decoder *d, unsigned form, struct insn *out) {
    switch (form) {
    case DECODE_FORM_MRC:
    case DECODE_FORM_MC:
        out->third = INSN_THIRD_CL;
        break;
    case DECODE_FORM_M1:
        out->third = INSN_THIRD_IMMEDIATE;
        out->imm = 1;
        break;
    case DECODE_FORM_MI8:
    case DECODE_FORM_MRI:
    case DECODE_FORM_RMI8:
    case DECODE_FORM_RMI:
        out->third = INSN_THIRD_IMMEDIATE;
        take_immediate(d, out, form == DECODE_FORM_RMI ? out->operand_size : 1);
        break;
    default:
        break;
    }
}

// What stands at the implied addresses of a string instruction; see struct insn.
static void set_string(struct decoder *d, struct insn *out) {
    bool at_rdi = out->op == INSN_STOS || out->op == INSN_SCAS;

    out->base = at_rdi ? INSN_RDI : INSN_RSI;
    out->segment = at_rdi ? INSN_ES : INSN_DS;
    if (at_rdi)
        d->segment = SEGMENT_NOT_NAMED; // ES cannot be overridden
    if (out->op != INSN_MOVS && out->op != INSN_CMPS) {
        out->other = INSN_OTHER_REGISTER;
        out->reg = INSN_RAX;
    }
    out->memory_is_first = out->op == INSN_STOS || out->op == INSN_CMPS;
    out->repeat = d->repeat;
}

// Behind ModRM, whose memory operand is read first, whatever the order in the instruction's name.
static void take_operands(struct decoder *d, unsigned form, struct insn *out) {
    if (form <= DECODE_FORM_M) {
        take_address(d, out);
        out->memory_is_first =
            form != DECODE_FORM_RM && form != DECODE_FORM_RMI && form != DECODE_FORM_RMI8;
    }
    switch (form) {
    case DECODE_FORM_MR:
    case DECODE_FORM_RM:
    case DECODE_FORM_MRI:
    case DECODE_FORM_MRC:
    case DECODE_FORM_RMI:
    case DECODE_FORM_RMI8:
        set_register(d, out, MODRM_REG(d->modrm) | (d->rex & REX_R ? 8u : 0));
        take_third(d, form, out);
        break;
    case DECODE_FORM_MC:
    case DECODE_FORM_M1:
        take_third(d, form, out);
        break;
    case DECODE_FORM_MI:
    case DECODE_FORM_MI8:
        if (out->op >= INSN_ROL && out->op <= INSN_SAR) {
            take_third(d, form, out);
            break;
        }
        out->other = INSN_OTHER_IMMEDIATE;
        take_immediate(d, out, form == DECODE_FORM_MI8 ? 1 : out->operand_size);
        break;
    case DECODE_FORM_M:
        break;
    case DECODE_FORM_FD:
    case DECODE_FORM_TD:
        out->disp = take_signed(d, out->address_size);
        out->segment = INSN_DS;
        set_register(d, out, INSN_RAX);
        out->memory_is_first = form == DECODE_FORM_TD;
        break;
    default:
        set_string(d, out);
        break;
    }
    if (d->segment != SEGMENT_NOT_NAMED)
        out->segment = d->segment;
}

// What a memory operand undergoes that is the first one; a second one is read only.
static uint8_t memory_access(const struct insn *out) {
    static const uint8_t when_first[INSN_OP_COUNT] = {
        [INSN_ADD... INSN_XOR] = INSN_READS | INSN_WRITES,
        [INSN_CMP] = INSN_READS,
        [INSN_TEST] = INSN_READS,
        [INSN_INC... INSN_NEG] = INSN_READS | INSN_WRITES,
        [INSN_MOV] = INSN_WRITES,
        [INSN_MOVBE] = INSN_WRITES,
        [INSN_XCHG... INSN_XADD] = INSN_READS | INSN_WRITES,
        [INSN_BT] = INSN_READS,
        [INSN_BTS... INSN_BTC] = INSN_READS | INSN_WRITES,
        [INSN_SETCC] = INSN_WRITES,
        [INSN_ROL... INSN_SHRD] = INSN_READS | INSN_WRITES,
        [INSN_MUL... INSN_IDIV] = INSN_READS,
        [INSN_CMPXCHG_PAIR] = INSN_READS | INSN_WRITES,
        [INSN_VMOV... INSN_MMX] = INSN_WRITES,
        [INSN_CALL... INSN_JMP] = INSN_READS,
        [INSN_PUSH] = INSN_READS,
        [INSN_POP] = INSN_WRITES,
        [INSN_CMPS] = INSN_READS,
        [INSN_STOS] = INSN_WRITES,
    };

    return out->memory_is_first ? when_first[out->op] : INSN_READS;
}

// Opcode and, where there is one, ModRM: *row becomes the row that names the operation, *form and
// *flags what opcode and group say together. False: nothing that is known.
static bool take_operation(struct decoder *d, const struct decode_row **row, unsigned *form,
                           unsigned *flags) {
    *row = take_opcode(d);
    *form = (*row)->form;
    *flags = (*row)->flags;
    if (*form == DECODE_FORM_REFUSED)
        return false;
    if (*form <= DECODE_FORM_M) {
        d->modrm = take_byte(d);
        if (MODRM_MOD(d->modrm) == MOD_REGISTER)
            return false;
    }
    if ((*row)->group != DECODE_GROUP_NONE) {
        *row = &decode_groups[(*row)->group][MODRM_REG(d->modrm)];
        if ((*row)->form == DECODE_FORM_REFUSED)
            return false;
        if ((*row)->form != DECODE_FORM_SAME)
            *form = (*row)->form;
        *flags |= (*row)->flags;
    }
    if (*flags & DECODE_NEEDS_66 && !(d->conflicts & DECODE_NO_66))
        return false;
    return !(*flags & d->conflicts);
}

// The size of the memory operand, and what else only some have.
static void finish(const struct decoder *d, const struct decode_row *row, struct insn *out) {
    out->memory_size = row->memory ? row->memory : out->operand_size;
    if (out->op == INSN_CMPXCHG_PAIR)
        out->memory_size = (uint8_t)(out->operand_size * 2);
    if (out->op == INSN_CRC32 && out->operand_size == 2)
        out->operand_size = 4; // the sum's
    if (row->vector & INSN_VECTOR_BY_W && d->rex & REX_W)
        out->memory_size = 8;
    if (row->vector & INSN_VECTOR_WIDE && d->is_vex_long)
        out->memory_size = 32;
    if (out->op == INSN_CMOV || out->op == INSN_SETCC)
        out->condition = d->opcode & 0xf;
    if (out->op == INSN_MMX)
        out->reg &= 7;
    out->vector = row->vector;
    out->is_vex = d->is_vex;
    out->source = d->vex_register;
    out->access = memory_access(out);
    out->length = (uint8_t)d->at;
}

enum decode_error decode_insn(const uint8_t bytes[DECODE_BYTES], unsigned count,
                              enum decode_mode mode, struct insn *out) {
    struct decoder d = {
        .mode = mode,
        .operand_size = mode == DECODE_16BIT ? 2 : 4,
        .address_size = (uint8_t)mode,
        .conflicts = mode == DECODE_64BIT ? DECODE_LEGACY_ONLY : DECODE_LONG_ONLY,
        .segment = SEGMENT_NOT_NAMED,
    };
    const unsigned limit = count < INSN_LENGTH_MAX ? count : INSN_LENGTH_MAX;
    const struct decode_row *row;
    unsigned form;
    unsigned flags;
    bool is_known;

    __builtin_memcpy(d.bytes, bytes, DECODE_BYTES);
    is_known = take_operation(&d, &row, &form, &flags);
    if (is_known) {
        *out = (struct insn){
            .op = row->op,
            .operand_size = operand_size(&d, flags),
            .address_size = d.address_size,
            .base = INSN_NO_REGISTER,
            .index = INSN_NO_REGISTER,
            .scale = 1,
            .reg = INSN_NO_REGISTER,
            .lock = d.lock,
        };
        take_operands(&d, form, out);
        finish(&d, row, out);
    }
    if (d.at > limit)
        return count < INSN_LENGTH_MAX ? DECODE_TRUNCATED : DECODE_TOO_LONG;
    if (!is_known)
        return DECODE_UNKNOWN;
    return d.lock && !(flags & DECODE_LOCKABLE) ? DECODE_UNDEFINED : DECODE_OK;
}
