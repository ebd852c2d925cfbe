// SPDX-License-Identifier: Apache-2.0
// The decoder of system instructions against Zydis: what it accepts is what Zydis reads, and what
// it refuses is none of them. The first byte chooses the mode, and what most inputs would never
// begin with.
#include "vmm/emulate/decode_system.h"

#include <Zydis/Zydis.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CODE 15

static const struct {
    ZydisMnemonic mnemonic;
    enum system_op op;
} mnemonics[] = {
    {ZYDIS_MNEMONIC_CLTS, SYSTEM_CLTS},      {ZYDIS_MNEMONIC_LMSW, SYSTEM_LMSW},
    {ZYDIS_MNEMONIC_SMSW, SYSTEM_SMSW},      {ZYDIS_MNEMONIC_INSB, SYSTEM_INS},
    {ZYDIS_MNEMONIC_INSW, SYSTEM_INS},       {ZYDIS_MNEMONIC_INSD, SYSTEM_INS},
    {ZYDIS_MNEMONIC_OUTSB, SYSTEM_OUTS},     {ZYDIS_MNEMONIC_OUTSW, SYSTEM_OUTS},
    {ZYDIS_MNEMONIC_OUTSD, SYSTEM_OUTS},     {ZYDIS_MNEMONIC_IRET, SYSTEM_IRET},
    {ZYDIS_MNEMONIC_IRETD, SYSTEM_IRET},     {ZYDIS_MNEMONIC_IRETQ, SYSTEM_IRET},
    {ZYDIS_MNEMONIC_INT, SYSTEM_INTERRUPT},  {ZYDIS_MNEMONIC_INT1, SYSTEM_INTERRUPT},
    {ZYDIS_MNEMONIC_INT3, SYSTEM_INTERRUPT}, {ZYDIS_MNEMONIC_INTO, SYSTEM_INTERRUPT},
};

struct reading {
    const uint8_t *bytes;
    size_t count;
    enum decode_mode mode;
    enum decode_error error;
    struct system_insn system;
    bool is_valid; // Zydis decoded it
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static _Noreturn void report(const struct reading *r, const char *what) {
    fprintf(stderr, "\ndifference: %s\nbytes:", what);
    for (size_t k = 0; k < r->count; k++)
        fprintf(stderr, " %02x", r->bytes[k]);
    fprintf(stderr, "\nmode %u, error %u, op %u length %u\nZydis: %s length %u\n",
            (unsigned)r->mode * 8, (unsigned)r->error, r->system.op, r->system.insn.length,
            r->is_valid ? ZydisMnemonicGetString(r->zydis.mnemonic) : "not valid",
            r->is_valid ? r->zydis.length : 0);
    abort();
}

static void expect(const struct reading *r, bool holds, const char *what) {
    if (!holds)
        report(r, what);
}

static bool is_control(const ZydisDecodedOperand *o) {
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_CONTROL;
}

// -1: none of ours.
static int op_of(const struct reading *r) {
    if (r->zydis.mnemonic == ZYDIS_MNEMONIC_MOV && is_control(&r->operands[0]))
        return SYSTEM_MOV_TO_CONTROL;
    if (r->zydis.mnemonic == ZYDIS_MNEMONIC_MOV && is_control(&r->operands[1]))
        return SYSTEM_MOV_FROM_CONTROL;
    if (r->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        if (r->zydis.mnemonic == ZYDIS_MNEMONIC_CALL)
            return SYSTEM_FAR_CALL;
        if (r->zydis.mnemonic == ZYDIS_MNEMONIC_JMP)
            return SYSTEM_FAR_JUMP;
    }
    for (size_t k = 0; k < sizeof mnemonics / sizeof mnemonics[0]; k++)
        if (mnemonics[k].mnemonic == r->zydis.mnemonic)
            return (int)mnemonics[k].op;
    return -1;
}

static unsigned number_of(ZydisRegister reg) {
    if (reg == ZYDIS_REGISTER_NONE)
        return INSN_NO_REGISTER;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return INSN_RIP;
    return (unsigned)ZydisRegisterGetId(
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

// The same phantom as in decode_fuzz.c.
static bool has_phantom_base(const struct reading *r, const ZydisDecodedOperand *o) {
    return o->mem.base == ZYDIS_REGISTER_R13D && r->zydis.raw.modrm.mod == 0;
}

static void check_memory(const struct reading *r, const ZydisDecodedOperand *o) {
    const struct insn *i = &r->system.insn;
    expect(r, (unsigned)(o->mem.segment - ZYDIS_REGISTER_ES) == i->segment, "segment");
    expect(r, number_of(o->mem.index) == i->index, "index");
    expect(r, i->index == INSN_NO_REGISTER || o->mem.scale == i->scale, "scale");
    if (has_phantom_base(r, o)) {
        expect(r, i->base == INSN_NO_REGISTER, "no base");
        return;
    }
    expect(r, number_of(o->mem.base) == i->base, "base");
    expect(r, (o->mem.disp.has_displacement ? o->mem.disp.value : 0) == i->disp, "displacement");
}

static void check_mov(const struct reading *r, const ZydisDecodedOperand *control,
                      const ZydisDecodedOperand *other) {
    const struct insn *i = &r->system.insn;
    unsigned number = (unsigned)(control->reg.value - ZYDIS_REGISTER_CR0);
    expect(r, number == r->system.control, "control register");
    expect(r, number_of(other->reg.value) == i->reg, "register");
    expect(r, other->size == i->operand_size * 8u, "operand size");
}

static void check_status(const struct reading *r) {
    const struct insn *i = &r->system.insn;
    const ZydisDecodedOperand *o = &r->operands[0];
    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
        expect(r, i->other == INSN_OTHER_NONE && o->size == i->memory_size * 8u, "memory");
        check_memory(r, o);
        return;
    }
    expect(r, i->other == INSN_OTHER_REGISTER && number_of(o->reg.value) == i->reg, "register");
    expect(r, r->system.op == SYSTEM_LMSW || o->size == i->operand_size * 8u, "operand size");
}

static void check_string(const struct reading *r) {
    const struct insn *i = &r->system.insn;
    const ZydisDecodedOperand *o = &r->operands[r->system.op == SYSTEM_OUTS];
    expect(r, (unsigned)(o->mem.segment - ZYDIS_REGISTER_ES) == i->segment, "segment");
}

// LOCK makes CR8 of CR0 on AMD's processors alone; Zydis reads as Intel's do.
static bool is_by_lock(const struct reading *r) {
    return !r->is_valid && r->system.control == 8 &&
           (r->system.op == SYSTEM_MOV_TO_CONTROL || r->system.op == SYSTEM_MOV_FROM_CONTROL);
}

static void check_accepted(const struct reading *r) {
    if (is_by_lock(r))
        return;
    expect(r, r->is_valid, "validity");
    expect(r, op_of(r) == r->system.op, "mnemonic");
    expect(r, r->zydis.length == r->system.insn.length, "length");
    expect(r, r->zydis.address_width == r->system.insn.address_size * 8u, "address size");
    switch (r->system.op) {
    case SYSTEM_MOV_TO_CONTROL:
        check_mov(r, &r->operands[0], &r->operands[1]);
        break;
    case SYSTEM_MOV_FROM_CONTROL:
        check_mov(r, &r->operands[1], &r->operands[0]);
        break;
    case SYSTEM_LMSW:
    case SYSTEM_SMSW:
        check_status(r);
        break;
    case SYSTEM_INS:
    case SYSTEM_OUTS:
        check_string(r);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct {
        enum decode_mode mode;
        ZydisMachineMode machine;
        ZydisStackWidth stack;
    } modes[] = {
        {DECODE_64BIT, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
        {DECODE_32BIT, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
        {DECODE_16BIT, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    };
    static const struct {
        uint8_t count, bytes[2];
    } leads[] = {{0, {0}}, {2, {0x0f, 0x20}}, {2, {0x0f, 0x22}}, {2, {0x0f, 0x01}}, {1, {0xff}}};
    uint8_t padded[DECODE_BYTES], code[MOST_CODE];
    struct reading r = {.bytes = code};
    ZydisDecoder decoder;

    if (size < 1)
        return 0;
    unsigned choice = data[0] % (sizeof modes / sizeof modes[0]);
    unsigned lead = data[0] / (sizeof modes / sizeof modes[0]) % (sizeof leads / sizeof leads[0]);
    unsigned lead_count = leads[lead].count;
    size = size - 1 < MOST_CODE - lead_count ? size : MOST_CODE - lead_count + 1;
    memcpy(code, leads[lead].bytes, lead_count);
    memcpy(code + lead_count, data + 1, size - 1);
    r.count = lead_count + size - 1;
    r.mode = modes[choice].mode;
    // What lies behind the code given is the fuzzer's choice too.
    memset(padded, data[0], sizeof padded);
    memcpy(padded, r.bytes, r.count);
    r.error = decode_system(padded, (unsigned)r.count, r.mode, &r.system);
    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, modes[choice].machine, modes[choice].stack)))
        abort();
    r.is_valid =
        ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, r.bytes, r.count, &r.zydis, r.operands));
    if (r.error == DECODE_OK)
        check_accepted(&r);
    else if (r.is_valid && op_of(&r) >= 0)
        report(&r, "refused, but on the list");
    return 0;
}
