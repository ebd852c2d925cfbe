// SPDX-License-Identifier: Apache-2.0
//
// The decoder of system instructions; the interface is told in decode_system.h. SDM 2D Appendix A
// "Opcode Map", AMD APM 3 Appendix A "Opcode and Operand Encodings".

#include "vmm/emulate/decode_system.h"

#include "vmm/emulate/decode_bytes.h"

enum opcode {
    OPCODE_ESCAPE = 0x0f,
    OPCODE_INSB = 0x6c,
    OPCODE_INS = 0x6d,
    OPCODE_OUTSB = 0x6e,
    OPCODE_OUTS = 0x6f,
    OPCODE_CALL_FAR = 0x9a,
    OPCODE_INT3 = 0xcc,
    OPCODE_INT = 0xcd,
    OPCODE_INTO = 0xce,
    OPCODE_IRET = 0xcf,
    OPCODE_JUMP_FAR = 0xea,
    OPCODE_INT1 = 0xf1,
    OPCODE_GROUP_5 = 0xff,
};

enum opcode_0f {
    OPCODE_GROUP_7 = 0x01,
    OPCODE_CLTS = 0x06,
    OPCODE_MOV_FROM_CONTROL = 0x20,
    OPCODE_MOV_TO_CONTROL = 0x22,
};

#define GROUP_5_CALL_FAR 3
#define GROUP_5_JUMP_FAR 5
#define GROUP_7_SMSW     4
#define GROUP_7_LMSW     6

#define SELECTOR_SIZE 2

static void set_register(const struct decoder *d, struct insn *insn) {
    insn->other = INSN_OTHER_REGISTER;
    insn->reg = (uint8_t)(MODRM_RM(d->modrm) | (d->rex & REX_B ? 8u : 0));
}

static void take_memory(struct decoder *d, struct insn *insn) {
    insn->address_size = d->address_size;
    take_address(d, insn);
    if (d->segment != SEGMENT_NOT_NAMED)
        insn->segment = d->segment;
}

// ModRM's mod means nothing here, and the operand is as wide as registers are. APM 3 "MOV CRn":
// a LOCK prefix makes CR8 of CR0.
static enum decode_error take_mov(struct decoder *d, struct system_insn *out) {
    out->op = d->opcode == OPCODE_MOV_TO_CONTROL ? SYSTEM_MOV_TO_CONTROL : SYSTEM_MOV_FROM_CONTROL;
    d->modrm = take_byte(d);
    set_register(d, &out->insn);
    out->insn.operand_size = d->mode == DECODE_64BIT ? 8 : 4;
    out->control = (uint8_t)(MODRM_REG(d->modrm) | (d->rex & REX_R ? 8u : 0));
    if (d->lock && out->control != 0)
        return DECODE_UNDEFINED;
    if (d->lock)
        out->control = 8;
    switch (out->control) {
    case 0:
    case 2:
    case 3:
    case 4:
    case 8:
        return DECODE_OK;
    default:
        return DECODE_UNDEFINED;
    }
}

static enum decode_error take_group_7(struct decoder *d, struct system_insn *out) {
    d->modrm = take_byte(d);
    if (MODRM_REG(d->modrm) != GROUP_7_SMSW && MODRM_REG(d->modrm) != GROUP_7_LMSW)
        return DECODE_UNKNOWN;
    out->op = MODRM_REG(d->modrm) == GROUP_7_SMSW ? SYSTEM_SMSW : SYSTEM_LMSW;
    out->insn.memory_size = 2;
    out->insn.operand_size = d->rex & REX_W ? 8 : d->operand_size;
    if (MODRM_MOD(d->modrm) == MOD_REGISTER)
        set_register(d, &out->insn);
    else
        take_memory(d, &out->insn);
    return DECODE_OK;
}

static enum decode_error take_escaped(struct decoder *d, struct system_insn *out) {
    d->opcode = take_byte(d);
    switch (d->opcode) {
    case OPCODE_GROUP_7:
        return take_group_7(d, out);
    case OPCODE_CLTS:
        out->op = SYSTEM_CLTS;
        return DECODE_OK;
    case OPCODE_MOV_FROM_CONTROL:
    case OPCODE_MOV_TO_CONTROL:
        return take_mov(d, out);
    default:
        return DECODE_UNKNOWN;
    }
}

// ES cannot be overridden.
static enum decode_error take_string(const struct decoder *d, bool is_in, struct system_insn *out) {
    out->op = is_in ? SYSTEM_INS : SYSTEM_OUTS;
    out->insn.segment = is_in ? INSN_ES : INSN_DS;
    if (!is_in && d->segment != SEGMENT_NOT_NAMED)
        out->insn.segment = d->segment;
    out->insn.repeat = d->repeat;
    return DECODE_OK;
}

// The address stands in the instruction.
static enum decode_error take_far(struct decoder *d, enum system_op op, struct system_insn *out) {
    if (d->mode == DECODE_64BIT)
        return DECODE_UNKNOWN;
    out->op = (uint8_t)op;
    d->at += d->operand_size + SELECTOR_SIZE;
    return DECODE_OK;
}

// The address stands in memory.
static enum decode_error take_group_5(struct decoder *d, struct system_insn *out) {
    d->modrm = take_byte(d);
    bool is_call = MODRM_REG(d->modrm) == GROUP_5_CALL_FAR;
    if ((!is_call && MODRM_REG(d->modrm) != GROUP_5_JUMP_FAR) ||
        MODRM_MOD(d->modrm) == MOD_REGISTER)
        return DECODE_UNKNOWN;
    out->op = is_call ? SYSTEM_FAR_CALL : SYSTEM_FAR_JUMP;
    take_memory(d, &out->insn);
    return DECODE_OK;
}

static enum decode_error take_interrupt(struct decoder *d, uint8_t opcode,
                                        struct system_insn *out) {
    if (opcode == OPCODE_INTO && d->mode == DECODE_64BIT)
        return DECODE_UNKNOWN;
    out->op = SYSTEM_INTERRUPT;
    d->at += opcode == OPCODE_INT;
    return DECODE_OK;
}

static enum decode_error take_instruction(struct decoder *d, struct system_insn *out) {
    uint8_t byte = take_prefixes(d);
    switch (byte) {
    case OPCODE_ESCAPE:
        return take_escaped(d, out);
    case OPCODE_INSB:
    case OPCODE_INS:
        return take_string(d, true, out);
    case OPCODE_OUTSB:
    case OPCODE_OUTS:
        return take_string(d, false, out);
    case OPCODE_CALL_FAR:
        return take_far(d, SYSTEM_FAR_CALL, out);
    case OPCODE_JUMP_FAR:
        return take_far(d, SYSTEM_FAR_JUMP, out);
    case OPCODE_INT3:
    case OPCODE_INT:
    case OPCODE_INTO:
    case OPCODE_INT1:
        return take_interrupt(d, byte, out);
    case OPCODE_IRET:
        out->op = SYSTEM_IRET;
        return DECODE_OK;
    case OPCODE_GROUP_5:
        return take_group_5(d, out);
    default:
        return DECODE_UNKNOWN;
    }
}

enum decode_error decode_system(const uint8_t bytes[DECODE_BYTES], unsigned count,
                                enum decode_mode mode, struct system_insn *out) {
    const unsigned limit = count < INSN_LENGTH_MAX ? count : INSN_LENGTH_MAX;
    struct decoder d = decoder_new(mode);

    __builtin_memcpy(d.bytes, bytes, DECODE_BYTES);
    *out = (struct system_insn){.insn = {.base = INSN_NO_REGISTER,
                                         .index = INSN_NO_REGISTER,
                                         .scale = 1,
                                         .reg = INSN_NO_REGISTER}};
    enum decode_error error = take_instruction(&d, out);
    out->insn.address_size = d.address_size;
    out->insn.length = (uint8_t)d.at;
    if (d.at > limit)
        return count < INSN_LENGTH_MAX ? DECODE_TRUNCATED : DECODE_TOO_LONG;
    bool may_lock = out->control != 0;
    return error == DECODE_OK && d.lock && !may_lock ? DECODE_UNDEFINED : error;
}
