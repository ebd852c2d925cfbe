// SPDX-License-Identifier: Apache-2.0
// Segments and addresses in the emulator: limits, types, wrapping, sizes.
#include "tests/unit/vmm/emulate/support.h"

// ---- segments -----------------------------------------------------------------------------------

static void expect_protection(uint8_t vector) {
    expect_fault(vector, true, 0, 0);
    cr_assert_eq(guest.read_count + guest.write_count, 0);
}

#define START_PROTECTED(...)                                                                       \
    START(DECODE_32BIT, __VA_ARGS__);                                                              \
    guest.walk.cr0 = 1;                                                                            \
    guest.gpr[INSN_RAX] = DEVICE

Test(emulate, segment_limits) {
    START_PROTECTED(0x8b, 0x08); // mov ecx, [eax]
    guest.segment[INSN_DS].limit = (uint32_t)DEVICE + 2;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].limit++;
    cr_assert_eq(run(), EMULATE_DONE);
    START_PROTECTED(0x36, 0x8b, 0x08); // ss:
    guest.segment[INSN_SS].limit = 0xffff;
    expect_protection(EMULATE_SS);
    guest.segment[INSN_SS] =
        (struct vcpu_segment){.limit = (uint32_t)DEVICE - 1, .attributes = 0x4097};
    cr_assert_eq(run(), EMULATE_DONE); // expands down
    guest.rip = CODE;
    guest.read_count = 0;
    guest.segment[INSN_SS].limit++;
    expect_protection(EMULATE_SS);
    guest.segment[INSN_SS] = (struct vcpu_segment){.limit = 0, .attributes = 0x97};
    expect_protection(EMULATE_SS);         // down from 64 KiB
    START(DECODE_16BIT, 0xa0, 0x10, 0x00); // mov al, [0x10] in real mode
    guest.segment[INSN_DS] =
        (struct vcpu_segment){.base = DEVICE, .limit = 0xf, .attributes = 0x93};
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].limit = 0x10;
    cr_assert_eq(run(), EMULATE_DONE);
}

Test(emulate, segment_types) {
    START_PROTECTED(0x89, 0x08);
    guest.segment[INSN_DS].attributes = 0xc091; // read-only
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc09b; // code
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc093 | VCPU_SEGMENT_UNUSABLE;
    expect_protection(EMULATE_GP);
    guest.ram[CODE] = 0x8b;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc099; // code that cannot be read
    expect_protection(EMULATE_GP);
    guest.segment[INSN_DS].attributes = 0xc09b;
    cr_assert_eq(run(), EMULATE_DONE);
    START(DECODE_16BIT, 0x2e, 0xa2, 0x10, 0x00); // cs:, which real mode may write
    guest.segment[INSN_CS].base = DEVICE;
    guest.walk.cr0 = 0;
    cr_assert_eq(decode_insn(guest.ram + CODE, 4, DECODE_16BIT, &guest.insn), DECODE_OK);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
}

Test(emulate, segments_of_strings_and_the_stack) {
    START_PROTECTED(0xa5); // movsd
    guest.gpr[INSN_RSI] = DEVICE;
    guest.gpr[INSN_RDI] = DATA;
    guest.segment[INSN_ES].limit = DATA + 2;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_ES] = (struct vcpu_segment){.limit = UINT32_MAX, .attributes = 0xc091};
    expect_protection(EMULATE_GP);
    START_PROTECTED(0xff, 0x30); // push [eax]
    guest.segment[INSN_SS].limit = STACK - 5;
    expect_protection(EMULATE_SS);
    cr_assert_eq(guest.gpr[INSN_RSP], STACK);
}

Test(emulate, code_beyond_its_segment) {
    START_PROTECTED(0x8b, 0x08);
    guest.segment[INSN_CS].limit = CODE;
    expect_protection(EMULATE_GP);
    guest.segment[INSN_CS].limit = CODE + 1;
    cr_assert_eq(run(), EMULATE_DONE);
}

// ---- addresses ----------------------------------------------------------------------------------

// In compatibility mode, too, whose paging is that of long mode, linear addresses have 32 bits.
Test(emulate, code_wraps_at_4g) {
    START(DECODE_32BIT, 0x8b, 0x08);
    enable_paging();
    guest.walk.efer = EFER_LMA;
    tables_above_4g(0x89); // mov [eax], ecx, where the code would be without the cut
    guest.segment[INSN_CS].base = 0xfffff000;
    guest.rip = CODE + 0x1000;
    guest.gpr[INSN_RAX] = DEVICE_LINEAR;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.write_count, 0);
    cr_assert_eq(guest.read_count, 1);
}

// The second half of an instruction at the end of the 4 GiB is at 0.
Test(emulate, code_across_4g) {
    struct walk_code code;

    START(DECODE_32BIT, 0);
    enable_paging();
    guest.walk.efer = EFER_LMA;
    tables_above_4g(0x89);
    memset(guest.ram + DATA, 0x5a, 4096);
    walk_fetch(&guest.walk, UINT64_C(0xfffffffc), false, &code);
    cr_assert_eq(code.count, WALK_CODE_BYTES);
    cr_assert_eq(memcmp(code.bytes, guest.ram + DATA + 0xffc, 4), 0);
    cr_assert_eq(memcmp(code.bytes + 4, guest.ram, 12), 0);
}

Test(emulate, rip_relative_counts_from_the_next_instruction) {
    START(DECODE_64BIT, 0x66, 0xc7, 0x05, 0, 0, 0, 0, 0x34, 0x12);
    guest.rip = DEVICE + 0x20 - 9;
    cr_assert_eq(decode_insn((const uint8_t[16]){0x66, 0xc7, 0x05, 0, 0, 0, 0, 0x34, 0x12}, 9,
                             DECODE_64BIT, &guest.insn),
                 DECODE_OK);
    cr_assert_eq(emulate_mmio(&guest.insn, &guest.ctx), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE + 0x20);
    cr_assert_eq(device_get(0x20), 0x1234);
}

Test(emulate, segments_and_sizes_of_addresses) {
    START(DECODE_64BIT, 0x64, 0x67, 0x8a, 0x04, 0x48); // mov al, fs:[eax+ecx*2]
    guest.segment[INSN_FS].base = DEVICE;
    guest.segment[INSN_DS].base = 0x1111; // means nothing in 64-bit code
    guest.gpr[INSN_RAX] = UINT64_C(0xaaaaaaaafffffff0);
    guest.gpr[INSN_RCX] = UINT64_C(0xbbbbbbbb00000010);
    guest.device[0x10] = 0x5a;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], UINT64_C(0xaaaaaaaaffffff5a));

    START(DECODE_16BIT, 0x26, 0xa2, 0x10, 0x00); // mov es:[0x10], al
    guest.segment[INSN_ES].base = DEVICE;
    guest.gpr[INSN_RAX] = 0x77;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.device[0x10], 0x77);

    START(DECODE_32BIT, 0x89, 0x00); // mov [eax], eax: linear addresses wrap at 4 GiB
    guest.segment[INSN_DS].base = 0xfffff000;
    guest.gpr[INSN_RAX] = (DEVICE & UINT32_MAX) + 0x1000;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.last.gpa, DEVICE);
}

Test(emulate, code_segment_base) {
    START(DECODE_16BIT, 0);
    guest.ram[CODE + 0x30] = 0xa0; // mov al, [0x0010]
    guest.ram[CODE + 0x31] = 0x10;
    guest.segment[INSN_CS].base = CODE;
    guest.segment[INSN_DS].base = DEVICE;
    guest.rip = 0x30;
    guest.device[0x10] = 0x42;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RAX], 0x42);
    cr_assert_eq(guest.rip, 0x33);
}

// One half is RAM, the other the device: 3 bytes are read as 1 and 2.
Test(emulate, access_across_pages_is_split) {
    START(DECODE_64BIT, 0x8b, 0x08); // mov ecx, [rax]
    enable_paging();
    guest.gpr[INSN_RAX] = DEVICE_LINEAR - 1;
    ((uint64_t *)(void *)(guest.ram + 0x2000))[1] = 0x6000 | 3; // a second page table, for 0x3ff000
    ((uint64_t *)(void *)(guest.ram + 0x6000))[511] = DATA | 3;
    guest.ram[DATA + 0xfff] = 0x11;
    device_set(0, 0x44332255);
    tell_exit(DEVICE_LINEAR - 1, DATA + 0xfff, VCPU_ACCESS_READ); // good for its first byte only
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.gpr[INSN_RCX], 0x33225511);
    cr_assert_eq(guest.read_count, 2);

    guest.ram[CODE] = 0x89; // and back
    guest.rip = CODE;
    guest.gpr[INSN_RCX] = 0xddccbbaa;
    cr_assert_eq(run(), EMULATE_DONE);
    cr_assert_eq(guest.ram[DATA + 0xfff], 0xaa);
    cr_assert_eq(device_get(0), 0x44ddccbb);
}
