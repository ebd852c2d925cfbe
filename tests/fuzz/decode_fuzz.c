// SPDX-License-Identifier: Apache-2.0
//
// The MMIO decoder against Zydis. The first byte of an input chooses the code size, the rest is the
// instruction. Two claims are checked:
//
//   sound      what decode_insn accepts, Zydis decodes to the same length, mnemonic, sizes, memory
//              operand, register, immediate, prefixes and direction;
//   complete   what decode_insn refuses is no instruction of its list with a memory operand.
//
// A difference prints both readings and aborts.

#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/decode_mnemonics.h"
#include "vmm/emulate/decode.h"

#define MOST_CODE 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reading {
    const uint8_t *bytes;
    size_t count;
    enum decode_mode mode;
    enum decode_error error;
    struct insn insn;
    bool is_valid; // Zydis decoded it
    ZydisDecodedInstruction zydis;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static _Noreturn void report(const struct reading *r, const char *what) {
    const struct insn *i = &r->insn;

    fprintf(stderr, "\ndifference: %s\nbytes:", what);
    for (size_t k = 0; k < r->count; k++)
        fprintf(stderr, " %02x", r->bytes[k]);
    fprintf(stderr, "\nmode %u, error %u\n", (unsigned)r->mode * 8, (unsigned)r->error);
    fprintf(stderr,
            "ours:  op %u length %u operand %u memory %u address %u segment %u base %u index %u "
            "scale %u disp %llx imm %llx reg %u high %u access %u repeat %u lock %u first %u\n",
            i->op, i->length, i->operand_size, i->memory_size, i->address_size, i->segment, i->base,
            i->index, i->scale, (unsigned long long)i->disp, (unsigned long long)i->imm, i->reg,
            i->reg_is_high_byte, i->access, i->repeat, i->lock, i->memory_is_first);
    if (r->is_valid)
        fprintf(stderr, "Zydis: %s length %u operand %u address %u attributes %llx\n",
                ZydisMnemonicGetString(r->zydis.mnemonic), r->zydis.length,
                r->zydis.operand_width / 8, r->zydis.address_width / 8,
                (unsigned long long)r->zydis.attributes);
    else
        fprintf(stderr, "Zydis: not valid\n");
    abort();
}

static void expect(const struct reading *r, bool holds, const char *what) {
    if (!holds)
        report(r, what);
}

// Mnemonics that stand for two of our operations are told apart by operands: IMUL by their number,
// MOVD and MOVQ by the register, MOVSD of strings and of vectors likewise.
static int op_of_many(const struct reading *r) {
    bool is_mmx = false;

    switch (r->zydis.mnemonic) {
    case ZYDIS_MNEMONIC_IMUL:
        return r->zydis.operand_count_visible == 1 ? INSN_IMUL_WIDE : INSN_IMUL;
    case ZYDIS_MNEMONIC_MOVSD:
        return r->zydis.opcode_map == ZYDIS_OPCODE_MAP_0F ? (int)INSN_VMOV : (int)INSN_MOVS;
    case ZYDIS_MNEMONIC_CMPSD:
        return r->zydis.opcode_map == ZYDIS_OPCODE_MAP_0F ? (int)INSN_OP_COUNT : (int)INSN_CMPS;
    case ZYDIS_MNEMONIC_MOVD:
    case ZYDIS_MNEMONIC_MOVQ:
        for (unsigned k = 0; k < r->zydis.operand_count; k++)
            is_mmx |= r->operands[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                      ZydisRegisterGetClass(r->operands[k].reg.value) == ZYDIS_REGCLASS_MMX;
        return is_mmx ? INSN_MMX : INSN_VMOV;
    default:
        return -1;
    }
}

static int op_of(const struct reading *r) {
    ZydisMnemonic mnemonic = r->zydis.mnemonic;

    if (op_of_many(r) >= 0)
        return op_of_many(r);
    for (size_t k = 0; k < sizeof mnemonics / sizeof mnemonics[0]; k++) {
        if (mnemonics[k].mnemonic == mnemonic)
            return (int)mnemonics[k].op;
    }
    return -1;
}

// Zydis's register as a number, INSN_RIP or INSN_NO_REGISTER; *size in bytes.
static unsigned number_of(ZydisRegister reg, unsigned *size, bool *high) {
    *high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
    *size = 0;
    if (reg == ZYDIS_REGISTER_NONE)
        return INSN_NO_REGISTER;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return INSN_RIP;
    *size = ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg) / 8u;
    if (*high)
        return (unsigned)(reg - ZYDIS_REGISTER_AH);
    if (ZydisRegisterGetClass(reg) >= ZYDIS_REGCLASS_MMX)
        return (unsigned)ZydisRegisterGetId(reg);
    return (unsigned)ZydisRegisterGetId(
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

static unsigned segment_of(ZydisRegister reg) {
    return (unsigned)(reg - ZYDIS_REGISTER_ES);
}

// The operand that struct insn describes: the explicit one, or that of the string instruction.
static const ZydisDecodedOperand *memory_operand(const struct reading *r, int op) {
    bool at_rdi = op == INSN_STOS || op == INSN_SCAS;

    for (unsigned k = 0; k < r->zydis.operand_count; k++) {
        const ZydisDecodedOperand *o = &r->operands[k];

        if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        if (op < INSN_MOVS) {
            if (o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
                return o;
        } else {
            unsigned size;
            bool high;

            if (number_of(o->mem.base, &size, &high) == (at_rdi ? INSN_RDI : INSN_RSI))
                return o;
        }
    }
    return NULL;
}

// Zydis 4.0.0 reads SIB base 101 under mod 0 as R13D behind 67 and REX.B, although SDM 2A table 2-5
// "Special Cases of REX Encodings" leaves REX.B out there, and processors have no base, but disp32.
static bool has_phantom_base(const struct reading *r, const ZydisDecodedOperand *o) {
    return o->mem.base == ZYDIS_REGISTER_R13D && r->zydis.raw.modrm.mod == 0;
}

static void check_memory(const struct reading *r, const ZydisDecodedOperand *o) {
    const struct insn *i = &r->insn;
    unsigned size;
    bool high;
    unsigned access = 0;

    expect(r, o->size == i->memory_size * 8u || i->op == INSN_HINT, "memory size");
    // 3E before a branch is a prefix of its own to Zydis; to processors without CET it is still DS.
    expect(r,
           segment_of(o->mem.segment) == i->segment ||
               r->zydis.attributes & ZYDIS_ATTRIB_HAS_NOTRACK,
           "segment");
    if (has_phantom_base(r, o)) {
        expect(r, i->base == INSN_NO_REGISTER, "no base");
        expect(r, i->disp == r->zydis.raw.disp.value, "displacement");
    } else {
        expect(r, number_of(o->mem.base, &size, &high) == i->base, "base");
        expect(r, size == 0 || size == i->address_size, "base size");
        expect(r, (o->mem.disp.has_displacement ? o->mem.disp.value : 0) == i->disp,
               "displacement");
    }
    expect(r, number_of(o->mem.index, &size, &high) == i->index, "index");
    expect(r, size == 0 || size == i->address_size, "index size");
    expect(r, i->index == INSN_NO_REGISTER || o->mem.scale == i->scale, "scale");
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
        access |= INSN_READS;
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        access |= INSN_WRITES;
    expect(r, access == i->access || i->op == INSN_HINT, "direction");
}

static bool is_vector(const struct insn *i) {
    return i->op == INSN_VMOV || i->op == INSN_MMX;
}

static bool is_shift(const struct insn *i) {
    return i->op >= INSN_ROL && i->op <= INSN_SHRD;
}

// What stands beside memory operand and register.
static void check_third(const struct reading *r, const ZydisDecodedOperand *o) {
    const struct insn *i = &r->insn;

    if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
        uint64_t mask = is_shift(i) ? UINT8_MAX : UINT64_MAX >> (64 - i->operand_size * 8u);
        expect(r, i->third == INSN_THIRD_IMMEDIATE, "a third operand, an immediate");
        expect(r, (o->imm.value.u & mask) == (i->imm & mask), "third operand");
    } else {
        expect(r, o->reg.value == ZYDIS_REGISTER_CL && i->third == INSN_THIRD_CL, "CL");
    }
}

static bool is_third(const struct reading *r, const ZydisDecodedOperand *o) {
    if (r->insn.third == INSN_THIRD_NONE)
        return false;
    if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return true;
    return o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->reg.value == ZYDIS_REGISTER_CL &&
           r->insn.third == INSN_THIRD_CL;
}

// The second source of VMOVLPS and its kin.
static bool is_merged(const struct reading *r, const ZydisDecodedOperand *o) {
    return r->insn.is_vex && r->insn.vector & INSN_VECTOR_MERGES && r->insn.access & INSN_READS &&
           o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD;
}

static void check_merged(const struct reading *r, const ZydisDecodedOperand *o) {
    unsigned size;
    bool high;

    expect(r, number_of(o->reg.value, &size, &high) == r->insn.source, "second source");
}

static void check_register(const struct reading *r, const ZydisDecodedOperand *o) {
    unsigned size;
    bool high;

    expect(r, r->insn.other == INSN_OTHER_REGISTER, "a register operand");
    expect(r, number_of(o->reg.value, &size, &high) == r->insn.reg, "register");
    expect(r, is_vector(&r->insn) || size == r->insn.operand_size, "register size");
    expect(r, high == r->insn.reg_is_high_byte, "high byte");
}

static void check_immediate(const struct reading *r, const ZydisDecodedOperand *o) {
    uint64_t mask = o->imm.is_signed || r->insn.operand_size == 8
                        ? UINT64_MAX
                        : (UINT64_C(1) << r->insn.operand_size * 8u) - 1;

    if (r->insn.op >= INSN_BT && r->insn.op <= INSN_BTC)
        mask = UINT8_MAX; // only its low bits mean anything
    expect(r, r->insn.other == INSN_OTHER_IMMEDIATE, "an immediate operand");
    expect(r, (o->imm.value.u & mask) == (r->insn.imm & mask), "immediate");
}

static void check_others(const struct reading *r, const ZydisDecodedOperand *memory) {
    bool is_string = r->insn.op >= INSN_MOVS;
    unsigned count = 0;
    unsigned thirds = 0;
    const ZydisDecodedOperand *first = NULL;

    for (unsigned k = 0; k < r->zydis.operand_count; k++) {
        const ZydisDecodedOperand *o = &r->operands[k];

        if (o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
            continue;
        if (first == NULL)
            first = o;
        if (o == memory || (is_string && o->type == ZYDIS_OPERAND_TYPE_MEMORY))
            continue;
        if (is_third(r, o)) {
            check_third(r, o);
            thirds++;
            continue;
        }
        if (is_merged(r, o)) {
            check_merged(r, o);
            continue;
        }
        count++;
        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER)
            check_register(r, o);
        else if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            check_immediate(r, o);
        else
            report(r, "an operand of another type");
    }
    expect(r, thirds == (r->insn.third != INSN_THIRD_NONE), "a third operand");
    if (!is_string) {
        expect(r, count == (r->insn.other != INSN_OTHER_NONE), "operand count");
        expect(r, (first == memory) == r->insn.memory_is_first, "operand order");
    }
}

static void check_accepted(const struct reading *r) {
    const struct insn *i = &r->insn;
    const ZydisDecodedOperand *memory;
    ZydisInstructionAttributes repeats =
        ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE;

    expect(r, r->is_valid, "validity");
    expect(r, r->zydis.length == i->length, "length");
    expect(r, op_of(r) == i->op, "mnemonic");
    expect(r, r->zydis.address_width == i->address_size * 8u, "address size");
    // Zydis gives the mode's operand size for MOVNTI, which ignores it; its operands tell the
    // truth.
    expect(r,
           r->zydis.operand_width == i->operand_size * 8u ||
               r->zydis.mnemonic == ZYDIS_MNEMONIC_MOVNTI ||
               r->zydis.mnemonic == ZYDIS_MNEMONIC_MOVDIRI || is_vector(i) || i->op == INSN_HINT ||
               i->op == INSN_CRC32 || i->op == INSN_ADCX || i->op == INSN_ADOX ||
               i->op == INSN_CMPXCHG_PAIR,
           "operand size");
    expect(r, !!(r->zydis.attributes & ZYDIS_ATTRIB_HAS_LOCK) == i->lock, "LOCK");
    expect(r, !!(r->zydis.attributes & repeats) == !!i->repeat, "repeat");
    memory = memory_operand(r, i->op);
    expect(r, memory != NULL, "a memory operand");
    check_memory(r, memory);
    check_others(r, memory);
}

// What may be refused: MOV of segment registers, MOVSXD behind 66 (see decode_table.c), moves with
// EVEX, far branches.
static void check_refused(const struct reading *r) {
    if (!r->is_valid)
        return;
    int op = op_of(r);
    if (op < 0 || op == INSN_OP_COUNT || memory_operand(r, op) == NULL)
        return;
    for (unsigned k = 0; k < r->zydis.operand_count; k++) {
        const ZydisDecodedOperand *o = &r->operands[k];

        if (o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
            o->type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return;
    }
    if (r->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ||
        r->zydis.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return;
    if (r->zydis.mnemonic == ZYDIS_MNEMONIC_MOVSXD &&
        r->zydis.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)
        return;
    report(r, "refused, but on the list");
}

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
    // What most inputs would never begin with: the escapes to the other opcode maps, and VEX.
    static const struct {
        uint8_t count, bytes[3];
    } leads[] = {{0, {0}},          {1, {0x0f}},       {2, {0x66, 0x0f}}, {2, {0xf3, 0x0f}},
                 {2, {0xf2, 0x0f}}, {2, {0x0f, 0x38}}, {1, {0xc5}},       {1, {0xc4}}};
    uint8_t padded[DECODE_BYTES], code[MOST_CODE];
    struct reading r = {0};
    ZydisDecoder decoder;

    if (size < 1)
        return 0;
    unsigned choice = data[0] % (sizeof modes / sizeof modes[0]);
    unsigned lead = data[0] / (sizeof modes / sizeof modes[0]) % (sizeof leads / sizeof leads[0]);
    unsigned lead_count = leads[lead].count;
    size = size - 1 < MOST_CODE - lead_count ? size : MOST_CODE - lead_count + 1;
    memcpy(code, leads[lead].bytes, lead_count);
    memcpy(code + lead_count, data + 1, size - 1);
    r.bytes = code;
    r.count = lead_count + size - 1;
    r.mode = modes[choice].mode;
    // What lies behind the code given is the fuzzer's choice too.
    memset(padded, data[0], sizeof padded);
    memcpy(padded, r.bytes, r.count < sizeof padded ? r.count : sizeof padded);
    r.error = decode_insn(padded, (unsigned)r.count, r.mode, &r.insn);
    if (ZYAN_FAILED(ZydisDecoderInit(&decoder, modes[choice].machine, modes[choice].stack)))
        abort();
    r.is_valid =
        ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, r.bytes, r.count, &r.zydis, r.operands));
    if (r.error == DECODE_OK)
        check_accepted(&r);
    else
        check_refused(&r);
    return 0;
}
