// SPDX-License-Identifier: Apache-2.0
//
// The MMIO instruction decoder. `decode_insn` reads, in the order of the bytes: prefixes, opcode,
// ModRM with SIB and displacement, immediate. The tables of decode_table.c say what follows what.

#include "vmm/emulate/decode.h"

#include <stddef.h>

#include "vmm/emulate/decode_bytes.h"

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
    uint8_t byte = take_prefixes(d);
    const struct decode_row *row = &decode_one_byte[byte];

    if (row->form < DECODE_FORM_PREFIX)
        return row;
    if (row->form == DECODE_FORM_VEX)
        return take_vex(d, byte == OPCODE_VEX3);
    if (row->form != DECODE_FORM_ESCAPE)
        return &refused; // what REX would be in 64-bit code
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
    struct decoder d = decoder_new(mode);
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
