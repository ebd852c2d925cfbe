// SPDX-License-Identifier: Apache-2.0
// vmm/emulate/decode_system.c by hand: one row an encoding. The fuzzer in tests/fuzz/system_fuzz.c
// does the breadth.
#include "vmm/emulate/decode_system.h"

#include <criterion/criterion.h>

static const struct row {
    enum decode_mode mode;
    uint8_t length; // of the instruction
    enum system_op op;
    uint8_t code[DECODE_BYTES];
} rows[] = {
    {8, 3, SYSTEM_MOV_TO_CONTROL, {0x0f, 0x22, 0xc0}},
    {4, 5, SYSTEM_MOV_FROM_CONTROL, {0x66, 0xf3, 0x0f, 0x20, 0xe1}},
    {8, 4, SYSTEM_MOV_TO_CONTROL, {0x44, 0x0f, 0x22, 0xc0}},
    {2, 4, SYSTEM_MOV_TO_CONTROL, {0xf0, 0x0f, 0x22, 0xc0}},
    {8, 2, SYSTEM_CLTS, {0x0f, 0x06}},
    {8, 8, SYSTEM_LMSW, {0x0f, 0x01, 0x34, 0x25, 1, 2, 3, 4}},
    {4, 7, SYSTEM_SMSW, {0x0f, 0x01, 0x25, 1, 2, 3, 4}},
    {2, 5, SYSTEM_SMSW, {0x0f, 0x01, 0x26, 1, 2}},
    {8, 2, SYSTEM_INS, {0xf3, 0x6c}},
    {8, 3, SYSTEM_OUTS, {0x67, 0x64, 0x6f}},
    {4, 7, SYSTEM_FAR_CALL, {0x9a, 1, 2, 3, 4, 5, 6}},
    {4, 6, SYSTEM_FAR_CALL, {0x66, 0x9a, 1, 2, 3, 4}},
    {2, 5, SYSTEM_FAR_JUMP, {0xea, 1, 2, 3, 4}},
    {2, 8, SYSTEM_FAR_JUMP, {0x66, 0xea, 1, 2, 3, 4, 5, 6}},
    {4, 6, SYSTEM_FAR_JUMP, {0xff, 0x2d, 1, 2, 3, 4}},
    {4, 4, SYSTEM_FAR_CALL, {0x2e, 0xff, 0x58, 9}},
    {4, 1, SYSTEM_IRET, {0xcf}},
    {4, 2, SYSTEM_INTERRUPT, {0xcd, 0x80}},
    {4, 1, SYSTEM_INTERRUPT, {0xcc}},
    {4, 1, SYSTEM_INTERRUPT, {0xce}},
    {4, 1, SYSTEM_INTERRUPT, {0xf1}},
};

Test(vmm_decode_system, every_instruction_has_its_length) {
    struct system_insn insn;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        cr_expect_eq(decode_system(row->code, DECODE_BYTES, row->mode, &insn), DECODE_OK, "row %zu",
                     i);
        cr_expect_eq(insn.insn.length, row->length, "row %zu: %u", i, insn.insn.length);
        cr_expect_eq(insn.op, row->op, "row %zu", i);
        if (row->length > 1)
            cr_expect_eq(decode_system(row->code, row->length - 1u, row->mode, &insn),
                         DECODE_TRUNCATED, "row %zu", i);
    }
}

static enum decode_error error_of(enum decode_mode mode, const uint8_t *code) {
    struct system_insn insn;
    return decode_system(code, DECODE_BYTES, mode, &insn);
}

Test(vmm_decode_system, what_there_is_not_is_undefined) {
    static const uint8_t cr1[DECODE_BYTES] = {0x0f, 0x22, 0xc8},
                         cr9[DECODE_BYTES] = {0x44, 0x0f, 0x20, 0xc8},
                         locked_cr4[DECODE_BYTES] = {0xf0, 0x0f, 0x22, 0xe0},
                         locked_clts[DECODE_BYTES] = {0xf0, 0x0f, 0x06},
                         locked_iret[DECODE_BYTES] = {0xf0, 0xcf};
    cr_expect_eq(error_of(DECODE_64BIT, cr1), DECODE_UNDEFINED);
    cr_expect_eq(error_of(DECODE_64BIT, cr9), DECODE_UNDEFINED);
    cr_expect_eq(error_of(DECODE_64BIT, locked_cr4), DECODE_UNDEFINED);
    cr_expect_eq(error_of(DECODE_64BIT, locked_clts), DECODE_UNDEFINED);
    cr_expect_eq(error_of(DECODE_64BIT, locked_iret), DECODE_UNDEFINED);
}

Test(vmm_decode_system, the_rest_is_unknown) {
    static const uint8_t sgdt[DECODE_BYTES] = {0x0f, 0x01, 0x00}, nop[DECODE_BYTES] = {0x90},
                         far[DECODE_BYTES] = {0xea}, near[DECODE_BYTES] = {0xff, 0x20},
                         far_register[DECODE_BYTES] = {0xff, 0xe8};
    cr_expect_eq(error_of(DECODE_32BIT, sgdt), DECODE_UNKNOWN);
    cr_expect_eq(error_of(DECODE_32BIT, nop), DECODE_UNKNOWN);
    cr_expect_eq(error_of(DECODE_64BIT, far), DECODE_UNKNOWN);
    cr_expect_eq(error_of(DECODE_32BIT, near), DECODE_UNKNOWN);
    cr_expect_eq(error_of(DECODE_32BIT, far_register), DECODE_UNKNOWN);
}

Test(vmm_decode_system, longer_than_an_instruction_can_be) {
    uint8_t code[DECODE_BYTES];
    for (unsigned i = 0; i < DECODE_BYTES; i++)
        code[i] = i < 14 ? 0x66 : i == 14 ? 0x0f : 0x06;
    cr_expect_eq(error_of(DECODE_64BIT, code), DECODE_TOO_LONG);
}

Test(vmm_decode_system, strings_tell_segment_and_address_size) {
    static const uint8_t ins[DECODE_BYTES] = {0x65, 0x6d},
                         outs[DECODE_BYTES] = {0x67, 0xf2, 0x65, 0x6f},
                         plain[DECODE_BYTES] = {0x6e};
    struct system_insn insn;
    cr_assert_eq(decode_system(ins, DECODE_BYTES, DECODE_32BIT, &insn), DECODE_OK);
    cr_expect(insn.insn.segment == INSN_ES && insn.insn.address_size == 4);
    cr_assert_eq(decode_system(outs, DECODE_BYTES, DECODE_64BIT, &insn), DECODE_OK);
    cr_expect(insn.insn.segment == INSN_GS && insn.insn.address_size == 4);
    cr_expect(insn.insn.repeat != INSN_REPEAT_NONE);
    cr_assert_eq(decode_system(plain, DECODE_BYTES, DECODE_16BIT, &insn), DECODE_OK);
    cr_expect(insn.insn.segment == INSN_DS && insn.insn.address_size == 2 && !insn.insn.repeat);
}
