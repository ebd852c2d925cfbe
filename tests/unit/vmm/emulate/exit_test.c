// SPDX-License-Identifier: Apache-2.0
// What the exit told of an access saves the emulator the walk, where it is of that access.
#include "tests/unit/vmm/emulate/support.h"

Test(emulate, exit_address_saves_the_walk) {
    START(DECODE_64BIT, 0x8b, 0x48, 0x10); // mov ecx, [rax+0x10]
    enable_paging();
    guest.gpr[INSN_RAX] = UINT64_C(0xffffc90000000000); // mapped nowhere in our tables
    guest.gpr[INSN_RCX] = UINT64_MAX;
    device_set(0x10, 0x12345678);
    tell_exit(UINT64_C(0xffffc90000000010), DEVICE + 0x10, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0x12345678);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
    cr_assert_eq(guest.read_count, 1);
    cr_assert_eq(guest.rip, CODE + 3);
}

// What a device does with it is the bus's matter; a page's end alone cuts it.
Test(emulate, misaligned_access_reaches_the_device_whole) {
    const bool is_told[] = {true, false};
    for (unsigned i = 0; i < 2; i++) {
        START(DECODE_64BIT, 0x89, 0x08); // mov [rax], ecx
        enable_paging();
        guest.gpr[INSN_RAX] = DEVICE_LINEAR + 0x11;
        guest.gpr[INSN_RCX] = 0x12345678;
        if (is_told[i])
            tell_exit(DEVICE_LINEAR + 0x11, DEVICE + 0x11, VCPU_ACCESS_WRITE);
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert(guest.write_count == 1 && guest.last.size == 4 &&
                  guest.last.gpa == DEVICE + 0x11);
        START(DECODE_64BIT, 0x8b, 0x08); // mov ecx, [rax]
        enable_paging();
        guest.gpr[INSN_RAX] = DEVICE_LINEAR + 0x13;
        if (is_told[i])
            tell_exit(DEVICE_LINEAR + 0x13, DEVICE + 0x13, VCPU_ACCESS_READ);
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert(guest.read_count == 1 && guest.last.size == 4 && guest.last.gpa == DEVICE + 0x13);
    }
}

Test(emulate, exit_address_of_another_access_is_not_used) {
    START(DECODE_64BIT, 0x8b, 0x48, 0x10);
    enable_paging();
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    tell_exit(DEVICE_LINEAR + 0x14, DEVICE + 0x14, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
    guest.rip = CODE;
    tell_exit(DEVICE_LINEAR + 0x3010, DEVICE + 0x3010, VCPU_ACCESS_READ);
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x10);
}

Test(emulate, operand_in_ram_is_the_processors) {
    START(DECODE_64BIT, 0xf0, 0x01, 0x08); // lock add [rax], ecx
    guest.gpr[INSN_RAX] = DATA;
    guest.gpr[INSN_RCX] = 5;
    cr_assert_eq(run(), EMULATE_AGAIN);
    cr_assert_eq(guest.rip, CODE);
    cr_assert_eq(guest.ram[DATA], 0);
}

// Another vCPU has rewritten the code since the processor checked its access.
static void become(uint8_t opcode, uint8_t access) {
    START(DECODE_64BIT, opcode, 0x08); // [rax], ecx
    enable_paging();
    memcpy(guest.ram + 0x3000 + 8 * 6, &(uint64_t){DEVICE | 1}, 8); // the page at 0x6000: read-only
    guest.gpr[INSN_RAX] = 0x6010;
    tell_exit(0x6010, DEVICE + 0x10, access);
}

Test(emulate, load_that_became_a_store_is_checked) {
    become(0x89, VCPU_ACCESS_READ);
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x6010);
    become(0x01, VCPU_ACCESS_READ); // ADD
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_WRITE, 0x6010);
    cr_assert_eq(guest.write_count, 0);
    become(0x89, VCPU_ACCESS_WRITE); // the processor allowed it: the tables changed later
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.write_count, 1);
}

Test(emulate, store_that_became_a_load_is_checked) {
    become(0x8b, VCPU_ACCESS_WRITE);
    cr_assert_eq(run(), EMULATE_DONE);
    become(0x8b, VCPU_ACCESS_WRITE);
    memset(guest.ram + 0x3000 + 8 * 6, 0, 8);
    expect_fault(EMULATE_PF, true, 0, 0x6010);
    cr_assert_eq(guest.read_count, 0);
}

// The exit was the processor's own reading of a descriptor, where a user may not go.
Test(emulate, user_code_is_always_checked) {
    become(0x8b, VCPU_ACCESS_READ);
    guest.walk.cpl = 3;
    memcpy(guest.ram + 0x7000, &(uint64_t){0x2007}, 8);
    memcpy(guest.ram, &(uint64_t){0x7007}, 8);
    memcpy(guest.ram + 0x2000, &(uint64_t){0x3007}, 8);
    memcpy(guest.ram + 0x3000 + 8 * (CODE >> 12), &(uint64_t){CODE | 5}, 8);
    expect_fault(EMULATE_PF, true, WALK_ERROR_PRESENT | WALK_ERROR_USER, 0x6010);
    cr_assert_eq(guest.read_count, 0);
}

// Decoding is remembered by RIP, but told by bytes and mode.
Test(emulate, remembered_instruction_is_not_another) {
    static struct emulate_recent recent[EMULATE_RECENT];
    const enum decode_mode modes[] = {DECODE_64BIT, DECODE_32BIT, DECODE_16BIT};
    START(DECODE_64BIT, 0x8b, 0x08); // mov ecx, [rax]
    guest.ctx.recent = recent;
    device_set(0, 0x1111222233334444);
    for (unsigned i = 0; i < 2; i++) {
        guest.gpr[INSN_RAX] = DEVICE;
        guest.rip = CODE;
        cr_assert_eq(run(), EMULATE_DONE);
        cr_assert(guest.gpr[INSN_RCX] == 0x33334444 && guest.rip == CODE + 2);
        cr_assert(guest.insn.length == 2 && guest.insn.op == INSN_MOV);
    }
    guest.ram[CODE] = 0x8a; // mov cl, [rax]
    guest.gpr[INSN_RCX] = 0x5500;
    guest.rip = CODE;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0x5544);
    guest.ram[CODE] = 0xf4; // hlt: not to be taken for what was there, now or next time
    for (unsigned i = 0; i < 2; i++) {
        guest.rip = CODE;
        cr_assert_eq(run(), EMULATE_UNHANDLED);
    }
    memcpy(guest.ram + CODE, (const uint8_t[]){0x8b, 0x0c, 0x25, 0, 0, 0, 0, 0x90}, 8);
    for (unsigned i = 0; i < 3; i++) { // other lengths: SIB without a base; the same with DS; [si]
        guest.rip = CODE;
        guest.ctx.mode = modes[i];
        guest.segment[INSN_DS].base = DEVICE;
        guest.gpr[INSN_RSI] = 0;
        (void)run();
        cr_assert_eq(guest.insn.length, i == 2 ? 2 : 7);
    }
}
