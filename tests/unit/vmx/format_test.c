// SPDX-License-Identifier: Apache-2.0
// vmx/ept.c, vmx/exit.h: formats and numbers.
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

Test(vmx_exit, counters_have_room_and_numbers_are_the_manuals) {
    cr_expect_eq(VMX_EXIT_CPUID, 10);
    cr_expect_eq(VMX_EXIT_EPT_VIOLATION, 48);
    cr_expect_eq(VMX_EXIT_XSETBV, 55);
    cr_expect_eq(VMX_EXIT_SEAMCALL_AND_TDCALL, 76);
}
