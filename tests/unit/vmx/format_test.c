// SPDX-License-Identifier: Apache-2.0
// vmx/ept.c, vmx/exit.h: formats.
#include <criterion/criterion.h>

#include "vmx/ept.c"
#include "vmx/exit.h"
#include "vmx/vmcs.h"

Test(vmx_ept, leaf_has_frame_rights_and_type) {
    hpa_t frame = {0x123456000};
    cr_expect_eq(ept_format.leaf(frame, PT_READ | PT_WRITE | PT_EXECUTE, 0), 0x123456077);
    cr_expect_eq(ept_format.leaf(frame, PT_READ, 0), 0x123456071);
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_2M}, PT_READ | PT_EXECUTE, 1), SIZE_2M | 0xf5);
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_1G}, PT_READ | PT_WRITE | PT_UNCACHED, 2),
                 SIZE_1G | 0x83);
    cr_expect_eq(ept_format.table(frame), 0x123456007);
}

Test(vmx_ept, rights_come_back) {
    const uint32_t rights[] = {PT_READ, PT_READ | PT_WRITE, PT_READ | PT_EXECUTE,
                               PT_READ | PT_WRITE | PT_EXECUTE, PT_READ | PT_UNCACHED};
    for (size_t i = 0; i < ARRAY_COUNT(rights); i++)
        for (unsigned level = 0; level <= 2; level++) {
            uint64_t entry = ept_format.leaf((hpa_t){SIZE_1G}, rights[i], level);
            cr_expect_eq(ept_format.rights(entry, level), rights[i]);
            cr_expect_eq(entry & ept_format.address_mask, SIZE_1G);
            cr_expect_neq(entry & ept_format.present_mask, 0);
            cr_expect_eq((entry & ept_format.large_bit) != 0, level > 0);
        }
}

Test(vmx_ept, leaf_sizes_follow_the_processor) {
    ept_init(true, true, false);
    cr_expect_eq(ept_format.leaf_level_max, 2);
    ept_init(true, false, false);
    cr_expect_eq(ept_format.leaf_level_max, 1);
    ept_init(false, false, false);
    cr_expect_eq(ept_format.leaf_level_max, 0);
}

Test(vmx_ept, large_leaves_have_no_code_where_it_must_be_small) {
    ept_init(true, true, true);
    cr_expect(ept_format.is_code_small);
    const uint32_t rwx = PT_READ | PT_WRITE | PT_EXECUTE;
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_1G}, rwx, 0), SIZE_1G | 0x77);
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_1G}, rwx, 1), SIZE_1G | 0xf3);
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_1G}, rwx, 2), SIZE_1G | 0xf3);
    ept_init(true, true, false);
    cr_expect_eq(ept_format.leaf((hpa_t){SIZE_1G}, rwx, 2), SIZE_1G | 0xf7);
}

Test(vmx_ept, pointer_says_four_levels_write_back) {
    cr_expect_eq(ept_pointer((hpa_t){0x7000}), 0x701e);
}

Test(vmx_decode, io_qualification) {
    // OUT DX, AL to 0x3f8; IN EAX, 0xcf8; REP OUTSW.
    struct vcpu_exit_io out = io_decode(0x03f80000);
    cr_expect(out.port == 0x3f8 && out.size == 1 && !out.is_in && !out.is_string);
    struct vcpu_exit_io in = io_decode(0x0cf8004b);
    cr_expect(in.port == 0xcf8 && in.size == 4 && in.is_in && !in.is_string && !in.is_repeated);
    struct vcpu_exit_io outs = io_decode(0x01f00031);
    cr_expect(outs.is_string && outs.is_repeated && outs.size == 2 && !outs.is_in);
    struct vcpu_exit_io ins = io_decode(0x01f00038);
    cr_expect(ins.is_string && ins.is_in && ins.size == 1);
}

Test(vmx_decode, cr_qualification) {
    struct cr_access to_cr4_from_r9 = cr_access_decode(0x904);
    cr_expect(to_cr4_from_r9.number == 4 && to_cr4_from_r9.gpr == 9 &&
              to_cr4_from_r9.type == CR_ACCESS_MOV_TO);
    struct cr_access from_cr8 = cr_access_decode(0x018);
    cr_expect(from_cr8.number == 8 && from_cr8.type == CR_ACCESS_MOV_FROM && from_cr8.gpr == 0);
    struct cr_access lmsw = cr_access_decode(0x00010030);
    cr_expect_eq(lmsw.type, CR_ACCESS_LMSW);
}

Test(vmx_decode, ept_violation_qualification) {
    struct vcpu_exit_memory write = ept_violation_decode(0x182, 0x1000, 0x2000);
    cr_expect(write.access == VCPU_ACCESS_WRITE && write.has_gva && !write.is_walk);
    cr_expect(write.gpa == 0x1000 && write.gva == 0x2000);
    struct vcpu_exit_memory walk = ept_violation_decode(0x081, 0x1000, 0x2000);
    cr_expect(walk.access == VCPU_ACCESS_READ && walk.is_walk);
    struct vcpu_exit_memory pdpte = ept_violation_decode(0x001, 0x1000, 0x2000);
    cr_expect(!pdpte.has_gva && !pdpte.is_walk && pdpte.gva == 0);
}

Test(vmx_exit, counters_have_room_and_numbers_are_the_manuals) {
    cr_expect_eq(VMX_EXIT_CPUID, 10);
    cr_expect_eq(VMX_EXIT_EPT_VIOLATION, 48);
    cr_expect_eq(VMX_EXIT_XSETBV, 55);
    cr_expect_eq(VMX_EXIT_SEAMCALL_AND_TDCALL, 76);
}
