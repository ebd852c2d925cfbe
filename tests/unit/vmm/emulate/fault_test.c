// SPDX-License-Identifier: Apache-2.0
// What the emulator does when an instruction faults, is cut short, or does more than its access.
#include "tests/unit/vmm/emulate/support.h"

// ---- faults -------------------------------------------------------------------------------------

Test(emulate, movs_faults_before_the_device_is_read) {
    START(DECODE_64BIT, 0x48, 0xa5); // movsq
    enable_paging();
    guest.gpr[INSN_RSI] = DEVICE_LINEAR;
    guest.gpr[INSN_RDI] = 0x7008;
    expect_fault(EMULATE_PF, true, WALK_ERROR_WRITE, 0x7008);
    guest.gpr[INSN_RDI] = 0x5008;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5008);
    guest.gpr[INSN_RDI] = 0x4ffc; // the second half of the operand faults
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    cr_assert_eq(guest.read_count, 0);
    cr_assert_eq(guest.gpr[INSN_RSI], DEVICE_LINEAR);
    guest.gpr[INSN_RDI] = 0x4ff8;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, store_to_a_read_only_page) {
    START(DECODE_64BIT, 0x89, 0x08);
    enable_paging();
    guest.gpr[INSN_RAX] = 0x5000;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    guest.ram[CODE] = 0x8b;
    cr_assert_eq(run(), EMULATE_AGAIN); // it can be read
}

Test(emulate, noncanonical_addresses) {
    START(DECODE_64BIT, 0x8b, 0x08);
    enable_paging();
    guest.gpr[INSN_RAX] = UINT64_C(0x800000000000);
    expect_fault(EMULATE_GP, true, 0, 0);
    guest.gpr[INSN_RAX] = UINT64_C(0x7fffffffffff); // its last byte is
    expect_fault(EMULATE_GP, true, 0, 0);
    START(DECODE_64BIT, 0x8b, 0x4d, 0x00); // mov ecx, [rbp]
    enable_paging();
    guest.gpr[INSN_RBP] = UINT64_C(1) << 63;
    expect_fault(EMULATE_SS, true, 0, 0);
}

static void start_misaligned(bool is_user, bool has_am, bool has_ac) {
    START(DECODE_64BIT, 0xa5); // movsd
    guest.walk.cpl = is_user ? 3 : 0;
    guest.walk.cr0 = CR0_PE | (has_am ? CR0_AM : 0);
    guest.rflags |= has_ac ? FLAG_AC : 0;
    guest.gpr[INSN_RSI] = DATA + 2;
    guest.gpr[INSN_RDI] = DEVICE;
}

Test(emulate, alignment_check) {
    for (unsigned i = 0; i < 7; i++) {
        start_misaligned(i & 1, i & 2, i & 4);
        cr_assert_eq(run(), EMULATE_DONE, "case %u", i);
    }
    start_misaligned(true, true, true);
    expect_fault(EMULATE_AC, true, 0, 0);
    guest.gpr[INSN_RSI] = DATA + 4;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, undecodable_instructions) {
    START(DECODE_64BIT, 0xf0, 0x8b, 0x00);
    expect_fault(EMULATE_UD, false, 0, 0);
    START(DECODE_64BIT, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
          0x66, 0x66, 0x66, 0x8b, 0x00);
    expect_fault(EMULATE_GP, true, 0, 0);
    START(DECODE_64BIT, 0x0f, 0xae, 0x00); // FXSAVE
    cr_assert_eq(run(), EMULATE_UNHANDLED);
    cr_assert_eq(guest.insn.length, 0);
    START(DECODE_64BIT, 0x8b, 0x00);
    guest.rip = DEVICE; // code in a device
    cr_assert_eq(run(), EMULATE_UNHANDLED);
}

Test(emulate, code_that_ends_at_a_missing_page) {
    START(DECODE_64BIT, 0);
    enable_paging();
    memcpy(guest.ram + 0x6ffe, (const uint8_t[]){0x8b, 0x08}, 2);
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    guest.rip = 0x6ffe;
    cr_assert_eq(run(), EMULATE_DONE); // complete: what comes behind does not matter
    cr_assert_eq(guest.rip, 0x7000);
    guest.rip = 0x6fff;
    guest.ram[0x6fff] = 0x8b;
    cr_assert_eq(run(), EMULATE_FAULT);
    cr_assert_eq(guest.ctx.fault.vector, EMULATE_PF);
    cr_assert_eq(guest.ctx.fault.cr2, 0x7000);
}

// ---- instructions with a story ------------------------------------------------------------------

Test(emulate, rep_is_cut_and_goes_on) {
    START(DECODE_64BIT, 0xf3, 0xaa); // rep stosb
    guest.gpr[INSN_RCX] = EMULATE_STRING_ITERATIONS + 3;
    guest.gpr[INSN_RDI] = DEVICE;
    guest.gpr[INSN_RAX] = 0x99;
    guest.rflags |= FLAG_RF;
    cr_assert_eq(run(), EMULATE_AGAIN);
    cr_assert_eq(guest.gpr[INSN_RCX], 3);
    cr_assert_eq(guest.rip, CODE);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0);
    cr_assert_eq(guest.gpr[INSN_RDI], DEVICE + EMULATE_STRING_ITERATIONS + 3);
    cr_assert_eq(guest.write_count, EMULATE_STRING_ITERATIONS + 3);
    cr_assert_eq(guest.rip, CODE + 2);
    cr_assert_eq(guest.rflags & FLAG_RF, 0);
    guest.rip = CODE;
    cr_assert_eq(run(), EMULATE_DONE); // no iteration at all
    cr_assert_eq(guest.write_count, EMULATE_STRING_ITERATIONS + 3);
}

Test(emulate, rep_keeps_what_was_done_before_a_fault) {
    START(DECODE_64BIT, 0xf3, 0xa4); // rep movsb
    enable_paging();
    guest.gpr[INSN_RCX] = 10;
    guest.gpr[INSN_RSI] = DEVICE_LINEAR;
    guest.gpr[INSN_RDI] = 0x4ffd;
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x5000);
    cr_assert_eq(guest.gpr[INSN_RCX], 7);
    cr_assert_eq(guest.gpr[INSN_RDI], 0x5000);
    cr_assert_eq(guest.gpr[INSN_RSI], DEVICE_LINEAR + 3);
    cr_assert_eq(guest.read_count, 3);
}

Test(emulate, string_counters_have_the_address_size) {
    START(DECODE_64BIT, 0x67, 0xf3, 0xab); // rep stosd, ecx and edi
    guest.gpr[INSN_RCX] = UINT64_C(0x500000002);
    guest.gpr[INSN_RDI] = UINT64_C(0x700000000) | DEVICE;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0);
    cr_assert_eq(guest.gpr[INSN_RDI], DEVICE + 8);
    START(DECODE_16BIT, 0x26, 0xac); // lodsb es:[si]
    guest.segment[INSN_ES].base = DEVICE - 0xffff;
    guest.gpr[INSN_RSI] = 0xabcdffff;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSI], 0xabcd0000);
}

Test(emulate, push_and_pop) {
    uint64_t value;

    START(DECODE_64BIT, 0xff, 0x30); // push qword [rax]
    guest.gpr[INSN_RAX] = DEVICE + 8;
    device_set(8, UINT64_C(0x1122334455667788));
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK - 8);
    memcpy(&value, guest.ram + STACK - 8, sizeof value);
    cr_assert_eq(value, UINT64_C(0x1122334455667788));

    START(DECODE_64BIT, 0x8f, 0x04, 0x24); // pop qword [rsp]: the address after the increment
    guest.gpr[INSN_RSP] = RAM_SIZE - 8;
    guest.walk.cr0 = 0;
    memset(guest.ram + RAM_SIZE - 8, 0x5a, 8);
    guest.insn.length = 0;
    cr_assert_eq(decode_insn(guest.ram + CODE, 3, DECODE_64BIT, &guest.insn), DECODE_OK);
    guest.insn.disp = (int64_t)(DEVICE - RAM_SIZE);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
    cr_assert_eq(device_get(0), UINT64_C(0x5a5a5a5a5a5a5a5a));
    cr_assert_eq(guest.gpr[INSN_RSP], RAM_SIZE);
}

Test(emulate, pop_that_faults_restores_rsp) {
    START(DECODE_64BIT, 0x8f, 0x00);
    enable_paging();
    guest.gpr[INSN_RAX] = 0x7000;
    guest.gpr[INSN_RSP] = STACK;
    expect_fault(EMULATE_PF, true, WALK_ERROR_WRITE, 0x7000);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK);
}

Test(emulate, stack_size_is_the_segments) {
    START(DECODE_32BIT, 0xff, 0x30);
    guest.gpr[INSN_RAX] = DEVICE;
    guest.segment[INSN_SS].attributes = 0x93;
    guest.gpr[INSN_RSP] = 0x12340000u | STACK;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], 0x12340000u | (STACK - 4));
    guest.rip = CODE;
    guest.segment[INSN_SS].attributes = 0xc093;
    guest.gpr[INSN_RSP] = STACK;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK - 4);
}

Test(emulate, cmpxchg_that_fails_writes_back) {
    START(DECODE_64BIT, 0x0f, 0xb1, 0x0b); // cmpxchg [rbx], ecx
    guest.gpr[INSN_RBX] = DEVICE;
    guest.gpr[INSN_RAX] = UINT64_C(0xffffffff00000001);
    device_set(0, 2);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], 2);
    cr_assert_eq(guest.write_count, 1);
    cr_assert_eq(guest.rflags & FLAG_ZF, 0);
}

Test(emulate, reading_instructions_do_not_write) {
    static const uint8_t opcodes[] = {0x39, 0x3b, 0x85, 0x8b, 0x03};

    for (unsigned k = 0; k < sizeof opcodes; k++) {
        START(DECODE_64BIT, opcodes[k], 0x0b);
        guest.gpr[INSN_RBX] = DEVICE;
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert_eq(guest.read_count, 1);
        cr_assert_eq(guest.write_count, 0);
    }
    START(DECODE_64BIT, 0x89, 0x0b); // and a store does not read
    guest.gpr[INSN_RBX] = DEVICE;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.read_count, 0);
}
