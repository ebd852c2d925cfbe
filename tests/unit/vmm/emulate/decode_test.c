// SPDX-License-Identifier: Apache-2.0
//
// The MMIO decoder, by hand: one case for each form and each rule that is easily got wrong. The
// fuzzer in tests/fuzz/decode_fuzz.c does the breadth.

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/emulate/decode.h"

#define CODE(...)                                                                                  \
    (const uint8_t[DECODE_BYTES]){__VA_ARGS__}, (unsigned)sizeof((const uint8_t[]){__VA_ARGS__})

// Decodes exactly these bytes and expects all of them to be the instruction.
static struct insn decoded(enum decode_mode mode, const uint8_t *bytes, unsigned count) {
    struct insn insn;

    cr_assert_eq(decode_insn(bytes, count, mode, &insn), DECODE_OK);
    cr_assert_eq(insn.length, count);
    return insn;
}

static enum decode_error error_of(enum decode_mode mode, const uint8_t *bytes, unsigned count) {
    struct insn insn;

    return decode_insn(bytes, count, mode, &insn);
}

Test(decode, mov_load_64) { // mov eax, [rax+0x10]
    struct insn i = decoded(DECODE_64BIT, CODE(0x8b, 0x40, 0x10));

    cr_assert_eq(i.op, INSN_MOV);
    cr_assert_eq(i.operand_size, 4);
    cr_assert_eq(i.memory_size, 4);
    cr_assert_eq(i.address_size, 8);
    cr_assert_eq(i.segment, INSN_DS);
    cr_assert_eq(i.base, INSN_RAX);
    cr_assert_eq(i.index, INSN_NO_REGISTER);
    cr_assert_eq(i.disp, 0x10);
    cr_assert_eq(i.other, INSN_OTHER_REGISTER);
    cr_assert_eq(i.reg, INSN_RAX);
    cr_assert_eq(i.access, INSN_READS);
    cr_assert(!i.memory_is_first);
}

Test(decode, mov_store_rex_sib) { // mov gs:[r12+r9*8-0x80], r15
    struct insn i = decoded(DECODE_64BIT, CODE(0x65, 0x4f, 0x89, 0x7c, 0xcc, 0x80));

    cr_assert_eq(i.operand_size, 8);
    cr_assert_eq(i.segment, INSN_GS);
    cr_assert_eq(i.base, 12);
    cr_assert_eq(i.index, 9);
    cr_assert_eq(i.scale, 8);
    cr_assert_eq(i.disp, -0x80);
    cr_assert_eq(i.reg, 15);
    cr_assert_eq(i.access, INSN_WRITES);
    cr_assert(i.memory_is_first);
}

Test(decode, each_bit_of_rex_names_its_own_register) { // mov rax, [rax+rcx]
    const struct {
        uint8_t rex, reg, index, base;
    } cases[] = {{0x48, 0, 1, 0}, {0x49, 0, 1, 8}, {0x4a, 0, 9, 0}, {0x4c, 8, 1, 0}};

    for (unsigned k = 0; k < 4; k++) {
        struct insn i = decoded(DECODE_64BIT, CODE(cases[k].rex, 0x8b, 0x04, 0x08));

        cr_assert_eq(i.reg, cases[k].reg, "REX %#x", cases[k].rex);
        cr_assert_eq(i.index, cases[k].index, "REX %#x", cases[k].rex);
        cr_assert_eq(i.base, cases[k].base, "REX %#x", cases[k].rex);
        i = decoded(DECODE_64BIT, CODE(cases[k].rex, 0x8b, 0x40, 0x08)); // mov rax, [rax+8]
        cr_assert_eq(i.base, cases[k].base, "REX %#x", cases[k].rex);
    }
}

Test(decode, rip_relative_only_in_64_bit) { // mov dword [rip+0x11223344], 0x80000001
    const uint8_t bytes[DECODE_BYTES] = {0xc7, 0x05, 0x44, 0x33, 0x22, 0x11, 1, 0, 0, 0x80};
    struct insn i = decoded(DECODE_64BIT, bytes, 10);

    cr_assert_eq(i.base, INSN_RIP);
    cr_assert_eq(i.disp, 0x11223344);
    cr_assert_eq(i.imm, UINT64_C(0xffffffff80000001));
    i = decoded(DECODE_32BIT, bytes, 10);
    cr_assert_eq(i.base, INSN_NO_REGISTER);
    cr_assert_eq(i.disp, 0x11223344);
}

Test(decode, moffs_has_the_address_size) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x48, 0xa1, 1, 2, 3, 4, 5, 6, 7, 0x88));

    cr_assert_eq(i.disp, (int64_t)UINT64_C(0x8807060504030201));
    cr_assert_eq(i.reg, INSN_RAX);
    cr_assert_eq(i.operand_size, 8);
    cr_assert_eq(i.access, INSN_READS);
    i = decoded(DECODE_64BIT, CODE(0x67, 0xa2, 1, 2, 3, 4));
    cr_assert_eq(i.disp, 0x04030201);
    cr_assert_eq(i.operand_size, 1);
    cr_assert_eq(i.access, INSN_WRITES);
    i = decoded(DECODE_16BIT, CODE(0xa3, 0x34, 0x12));
    cr_assert_eq(i.disp, 0x1234);
    cr_assert_eq(i.address_size, 2);
}

Test(decode, addresses_of_16_bit_code) {
    struct insn i = decoded(DECODE_16BIT, CODE(0x8a, 0x62, 0xff)); // mov ah, [bp+si-1]

    cr_assert_eq(i.base, INSN_RBP);
    cr_assert_eq(i.index, INSN_RSI);
    cr_assert_eq(i.segment, INSN_SS);
    cr_assert_eq(i.disp, -1);
    cr_assert(i.reg_is_high_byte);
    cr_assert_eq(i.reg, INSN_RAX);
    i = decoded(DECODE_16BIT, CODE(0x26, 0x8b, 0x0e, 0x00, 0x80)); // mov cx, es:[0x8000]
    cr_assert_eq(i.base, INSN_NO_REGISTER);
    cr_assert_eq(i.segment, INSN_ES);
    cr_assert_eq((uint16_t)i.disp, 0x8000);
    cr_assert_eq(i.operand_size, 2);
    i = decoded(DECODE_32BIT, CODE(0x67, 0x8b, 0x07)); // mov eax, [bx]
    cr_assert_eq(i.base, INSN_RBX);
    cr_assert_eq(i.operand_size, 4);
    i = decoded(DECODE_16BIT, CODE(0x66, 0x67, 0x8b, 0x04, 0x24)); // mov eax, [esp]
    cr_assert_eq(i.base, INSN_RSP);
    cr_assert_eq(i.segment, INSN_SS);
    cr_assert_eq(i.operand_size, 4);
    cr_assert_eq(i.address_size, 4);
}

Test(decode, stack_segment_by_base) {
    cr_assert_eq(decoded(DECODE_32BIT, CODE(0x8b, 0x45, 0x00)).segment, INSN_SS);       // [ebp]
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x41, 0x8b, 0x45, 0x00)).segment, INSN_DS); // [r13]
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x41, 0x8b, 0x04, 0x24)).segment, INSN_DS); // [r12]
    cr_assert_eq(decoded(DECODE_32BIT, CODE(0x3e, 0x8b, 0x45, 0x00)).segment, INSN_DS);
}

// The processor was asked too: behind 67 and REX.B there is no R13D, whatever Zydis 4.0.0 says.
Test(decode, sib_without_base_ignores_rex_b) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x67, 0x4f, 0x8b, 0x04, 0x25, 0, 0, 0, 0x10));

    cr_assert_eq(i.base, INSN_NO_REGISTER);
    cr_assert_eq(i.index, 12);
    cr_assert_eq(i.disp, 0x10000000);
}

Test(decode, old_segments_are_ignored_in_64_bit) {
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x26, 0x8b, 0x00)).segment, INSN_DS);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x64, 0x3e, 0x8b, 0x00)).segment, INSN_FS);
}

Test(decode, rex_counts_only_right_before_the_opcode) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x4f, 0x66, 0x8b, 0x00));

    cr_assert_eq(i.operand_size, 2);
    cr_assert_eq(i.base, INSN_RAX);
    cr_assert_eq(error_of(DECODE_32BIT, CODE(0x48, 0x8b, 0x00)), DECODE_UNKNOWN);
}

Test(decode, byte_registers) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x88, 0x30)); // mov [rax], dh

    cr_assert_eq(i.reg, INSN_RDX);
    cr_assert(i.reg_is_high_byte);
    i = decoded(DECODE_64BIT, CODE(0x40, 0x88, 0x30)); // mov [rax], sil
    cr_assert_eq(i.reg, INSN_RSI);
    cr_assert(!i.reg_is_high_byte);
}

Test(decode, extensions) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x48, 0x0f, 0xb6, 0x08)); // movzx rcx, byte [rax]

    cr_assert_eq(i.op, INSN_MOVZX);
    cr_assert_eq(i.operand_size, 8);
    cr_assert_eq(i.memory_size, 1);
    i = decoded(DECODE_64BIT, CODE(0x48, 0x63, 0x08)); // movsxd rcx, dword [rax]
    cr_assert_eq(i.op, INSN_MOVSX);
    cr_assert_eq(i.memory_size, 4);
    i = decoded(DECODE_64BIT, CODE(0x66, 0x0f, 0xbf, 0x08)); // movsx cx, word [rax]
    cr_assert_eq(i.operand_size, 2);
    cr_assert_eq(i.memory_size, 2);
    cr_assert_eq(error_of(DECODE_32BIT, CODE(0x63, 0x08)), DECODE_UNKNOWN); // ARPL
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x66, 0x63, 0x08)), DECODE_UNKNOWN);
}

Test(decode, immediates) {
    struct insn i = decoded(DECODE_64BIT, CODE(0x48, 0x83, 0x08, 0xff)); // or qword [rax], -1

    cr_assert_eq(i.op, INSN_OR);
    cr_assert_eq(i.imm, UINT64_MAX);
    cr_assert_eq(i.access, INSN_READS | INSN_WRITES);
    i = decoded(DECODE_64BIT, CODE(0x66, 0x81, 0x38, 0x34, 0x12)); // cmp word [rax], 0x1234
    cr_assert_eq(i.op, INSN_CMP);
    cr_assert_eq(i.imm, 0x1234);
    cr_assert_eq(i.access, INSN_READS);
    i = decoded(DECODE_64BIT, CODE(0xf6, 0x00, 0x80)); // test byte [rax], 0x80
    cr_assert_eq(i.op, INSN_TEST);
    cr_assert_eq((uint8_t)i.imm, 0x80);
    i = decoded(DECODE_64BIT, CODE(0xf0, 0x0f, 0xba, 0x28, 0x1f)); // lock bts dword [rax], 31
    cr_assert_eq(i.op, INSN_BTS);
    cr_assert(i.lock);
}

Test(decode, strings) {
    struct insn i = decoded(DECODE_64BIT, CODE(0xf3, 0x65, 0x48, 0xa5)); // rep movsq, from gs:[rsi]

    cr_assert_eq(i.op, INSN_MOVS);
    cr_assert_eq(i.segment, INSN_GS);
    cr_assert_eq(i.base, INSN_RSI);
    cr_assert_eq(i.operand_size, 8);
    cr_assert_eq(i.repeat, INSN_REPEAT_EQUAL);
    i = decoded(DECODE_32BIT, CODE(0xf2, 0x3e, 0xae)); // repne scasb: ES whatever is said
    cr_assert_eq(i.segment, INSN_ES);
    cr_assert_eq(i.base, INSN_RDI);
    cr_assert_eq(i.repeat, INSN_REPEAT_NOT_EQUAL);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0xf3, 0x8b, 0x00)).repeat, INSN_REPEAT_NONE);
}

Test(decode, stack_operands_are_wide_in_64_bit) {
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0xff, 0x30)).operand_size, 8);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x66, 0x8f, 0x00)).operand_size, 2);
    cr_assert_eq(decoded(DECODE_32BIT, CODE(0xff, 0x30)).operand_size, 4);
}

Test(decode, mandatory_prefixes) {
    cr_assert_eq(decoded(DECODE_16BIT, CODE(0x0f, 0xc3, 0x07)).operand_size, 4); // movnti [bx], eax
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x66, 0x0f, 0xc3, 0x00)), DECODE_UNKNOWN);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x66, 0x0f, 0x38, 0xf1, 0x00)).op, INSN_MOVBE);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0xf2, 0x0f, 0x38, 0xf1, 0x00)).op, INSN_CRC32);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf3, 0x0f, 0x38, 0xf1, 0x00)), DECODE_UNKNOWN);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0xf3, 0x0f, 0xbc, 0x00)).op, INSN_TZCNT);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x66, 0xf2, 0x0f, 0x10, 0x00)).memory_size, 8);
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x66, 0x0f, 0xae, 0x30)).op, INSN_HINT); // CLWB
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x0f, 0xae, 0x30)), DECODE_UNKNOWN);    // XSAVEOPT
}

Test(decode, vex) {
    struct insn i = decoded(DECODE_64BIT, CODE(0xc4, 0x41, 0x7c, 0x10, 0x08)); // vmovups ymm9, [r8]

    cr_assert_eq(i.op, INSN_VMOV);
    cr_assert(i.is_vex);
    cr_assert_eq(i.memory_size, 32);
    cr_assert_eq(i.reg, 9);
    cr_assert_eq(i.base, 8);
    i = decoded(DECODE_64BIT, CODE(0xc5, 0xe8, 0x12, 0x08)); // vmovlps xmm1, xmm2, [rax]
    cr_assert_eq(i.source, 2);
    cr_assert_eq(i.memory_size, 8);
    i = decoded(DECODE_32BIT, CODE(0xc5, 0xf8, 0x10, 0x00));
    cr_assert_eq(i.memory_size, 16);
    cr_assert_eq(error_of(DECODE_32BIT, CODE(0xc5, 0x38, 0x10, 0x00)), DECODE_UNKNOWN);       // LDS
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x66, 0xc5, 0xf8, 0x10, 0x00)), DECODE_UNKNOWN); // #UD
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x48, 0xc5, 0xf8, 0x10, 0x00)), DECODE_UNKNOWN); // #UD
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xc5, 0xfc, 0x12, 0x00)), DECODE_UNKNOWN); // 256 bits
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xc5, 0xe8, 0x10, 0x00)), DECODE_UNKNOWN); // a source
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xc5, 0xf8, 0x6f, 0x00)), DECODE_UNKNOWN); // MMX
}

Test(decode, branches_ignore_66_in_64_bit) {
    cr_assert_eq(decoded(DECODE_64BIT, CODE(0x66, 0xff, 0x20)).operand_size, 8);
    cr_assert_eq(decoded(DECODE_32BIT, CODE(0x66, 0xff, 0x10)).operand_size, 2);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xff, 0x18)), DECODE_UNKNOWN); // far
}

Test(decode, lock_where_it_may_not_be) {
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0x8b, 0x00)), DECODE_UNDEFINED);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0x03, 0x00)), DECODE_UNDEFINED);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0x39, 0x00)), DECODE_UNDEFINED);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0xa4)), DECODE_UNDEFINED);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0x01, 0x00)), DECODE_OK);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xf0, 0x87, 0x00)), DECODE_OK);
}

Test(decode, what_is_refused) {
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x8b, 0xc0)), DECODE_UNKNOWN); // no memory
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x62, 0xf1, 0x7c, 0x48, 0x10, 0x00)),
                 DECODE_UNKNOWN);                                                 // EVEX
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x0f, 0x58, 0x00)), DECODE_UNKNOWN); // ADDPS
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x8f, 0x48, 0x00)), DECODE_UNKNOWN); // XOP
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x82, 0x00, 0x00)), DECODE_UNKNOWN);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0xc6, 0x48, 0x00)), DECODE_UNKNOWN);
    cr_assert_eq(error_of(DECODE_64BIT, CODE(0x90)), DECODE_UNKNOWN);
}

Test(decode, every_cut_is_truncated) {
    const uint8_t bytes[DECODE_BYTES] = {0x65, 0x66, 0x67, 0x49, 0x81, 0x84, 0x0c, 1,
                                         2,    3,    4,    5,    6,    7,    8};
    struct insn insn;

    for (unsigned count = 0; count < INSN_LENGTH_MAX; count++)
        cr_assert_eq(decode_insn(bytes, count, DECODE_64BIT, &insn), DECODE_TRUNCATED, "%u", count);
    cr_assert_eq(decode_insn(bytes, INSN_LENGTH_MAX, DECODE_64BIT, &insn), DECODE_OK);
    cr_assert_eq(insn.length, INSN_LENGTH_MAX);
}

Test(decode, sixteen_bytes_are_too_long) {
    const uint8_t bytes[DECODE_BYTES] = {0x3e, 0x65, 0x66, 0x67, 0x49, 0x81, 0x84, 0x0c,
                                         1,    2,    3,    4,    5,    6,    7,    8};
    uint8_t prefixes[DECODE_BYTES];
    struct insn insn;

    cr_assert_eq(decode_insn(bytes, DECODE_BYTES, DECODE_64BIT, &insn), DECODE_TOO_LONG);
    memset(prefixes, 0x66, sizeof prefixes);
    cr_assert_eq(decode_insn(prefixes, DECODE_BYTES, DECODE_64BIT, &insn), DECODE_TOO_LONG);
    cr_assert_eq(decode_insn(prefixes, 3, DECODE_64BIT, &insn), DECODE_TRUNCATED);
}
