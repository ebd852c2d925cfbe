// SPDX-License-Identifier: Apache-2.0
// vmx/msr_bitmap.c, vmx/ept.c, vmx/exit.h: tables and formats.
#include <criterion/criterion.h>

#include "kernel/frame.h"

static void *vmx_policy_test_page(void) {
    static uint8_t page[4][PAGE_SIZE];
    static unsigned count;
    return page[count++];
}
static hpa_t vmx_policy_test_address(const void *page) {
    return (hpa_t){(uint64_t)page};
}
#define kernel_page_alloc vmx_policy_test_page
#define frame_of_kernel   vmx_policy_test_address
#include "vmx/ept.c"
#include "vmx/exit.h"
#include "vmx/msr_bitmap.c"
#include "vmx/vmcs.h"

#define HAS_ALL (MSR_NEEDS_RDTSCP | MSR_NEEDS_PRED_CMD | MSR_NEEDS_FLUSH_CMD)

Test(vmx_policy, rules_are_sorted_without_overlap) {
    for (size_t i = 0; i < msr_rule_count; i++) {
        cr_expect_leq(msr_rules[i].first, msr_rules[i].last);
        cr_expect_neq(msr_rules[i].pass, 0);
        if (i > 0)
            cr_expect_gt(msr_rules[i].first, msr_rules[i - 1].last, "row %zu", i);
    }
}

Test(vmx_policy, what_is_not_named_exits) {
    static uint8_t bitmap[PAGE_SIZE];
    msr_bitmap_fill(bitmap, HAS_ALL);
    size_t open = 0;
    for (size_t i = 0; i < PAGE_SIZE * 8; i++)
        open += !((bitmap[i / 8] >> (i % 8)) & 1);
    size_t named = 0;
    for (size_t i = 0; i < msr_rule_count; i++)
        named += (msr_rules[i].last - msr_rules[i].first + 1) *
                 (msr_rules[i].pass == MSR_PASS_BOTH ? 2u : 1u);
    cr_expect_eq(open, named);
    cr_expect(msr_bitmap_exits(bitmap, MSR_EFER, true));
    cr_expect(msr_bitmap_exits(bitmap, MSR_EFER, false));
    cr_expect(msr_bitmap_exits(bitmap, MSR_APIC_BASE, true));
    cr_expect(msr_bitmap_exits(bitmap, MSR_FEATURE_CONTROL, false));
    cr_expect(msr_bitmap_exits(bitmap, MSR_TSC_DEADLINE, true));
    cr_expect(msr_bitmap_exits(bitmap, 0x40000000, false));
}

Test(vmx_policy, closed_addresses_exit_on_writes_only) {
    static const uint32_t addresses[] = {0x175,      0x176,      0xc0000082, 0xc0000083,
                                         0xc0000100, 0xc0000101, 0xc0000102};
    static uint8_t bitmap[PAGE_SIZE];
    msr_bitmap_fill(bitmap, HAS_ALL);
    msr_bitmap_close_addresses(bitmap);
    for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        cr_expect(msr_bitmap_exits(bitmap, addresses[i], true), "MSR 0x%x", addresses[i]);
        cr_expect_not(msr_bitmap_exits(bitmap, addresses[i], false), "MSR 0x%x", addresses[i]);
    }
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_SYSENTER_CS, true));
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_STAR, true));
}

Test(vmx_policy, named_ones_pass) {
    static uint8_t bitmap[PAGE_SIZE];
    msr_bitmap_fill(bitmap, HAS_ALL);
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_LSTAR, true));
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_SYSENTER_EIP, true));
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_KERNEL_GS_BASE, false));
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_TSC, false));
    cr_expect(msr_bitmap_exits(bitmap, MSR_TSC, true));
    cr_expect_not(msr_bitmap_exits(bitmap, MSR_TSC_AUX, true));
    // SDM 3C 25.6.9: reads of the upper range start at byte 1024, writes at 3072.
    cr_expect_not((bitmap[1024 + 0x82 / 8] >> (0x82 % 8)) & 1);
    cr_expect_not((bitmap[3072 + 0x82 / 8] >> (0x82 % 8)) & 1);
}

Test(vmx_policy, no_tsc_aux_without_rdtscp) {
    static uint8_t bitmap[PAGE_SIZE];
    msr_bitmap_fill(bitmap, HAS_ALL & ~(uint32_t)MSR_NEEDS_RDTSCP);
    cr_expect(msr_bitmap_exits(bitmap, MSR_TSC_AUX, false));
    cr_expect(msr_bitmap_exits(bitmap, MSR_TSC_AUX, true));
}

// Orders to the predictors and the cache pass where they are, and are never read; the register that
// holds something passes for who has one of his own.
Test(vmx_policy, speculation_controls_pass_where_they_are) {
    static uint8_t bitmap[PAGE_SIZE];
    msr_bitmap_fill(bitmap, HAS_ALL);
    cr_expect_not(msr_bitmap_exits(bitmap, 0x49, true));
    cr_expect_not(msr_bitmap_exits(bitmap, 0x10b, true));
    cr_expect(msr_bitmap_exits(bitmap, 0x49, false));
    cr_expect(msr_bitmap_exits(bitmap, 0x10b, false));
    for (int is_write = 0; is_write < 2; is_write++) {
        cr_expect(msr_bitmap_exits(bitmap, 0x48, is_write));
        cr_expect(msr_bitmap_exits(bitmap, 0x10a, is_write));
    }
    msr_bitmap_open_spec(bitmap);
    for (int is_write = 0; is_write < 2; is_write++) {
        cr_expect_not(msr_bitmap_exits(bitmap, 0x48, is_write));
        cr_expect(msr_bitmap_exits(bitmap, 0x10a, is_write));
    }
    msr_bitmap_fill(bitmap, MSR_NEEDS_PRED_CMD);
    cr_expect_not(msr_bitmap_exits(bitmap, 0x49, true));
    cr_expect(msr_bitmap_exits(bitmap, 0x10b, true));
    msr_bitmap_fill(bitmap, MSR_NEEDS_FLUSH_CMD);
    cr_expect(msr_bitmap_exits(bitmap, 0x49, true));
    cr_expect_not(msr_bitmap_exits(bitmap, 0x10b, true));
}

static uint8_t *open_page(bool is_apic_open, bool is_spec_open) {
    return (uint8_t *)msr_bitmap_get(is_apic_open, is_spec_open).v;
}

Test(vmx_policy, each_of_the_four_bitmaps_opens_what_it_says) {
    vmx_caps.apic = APIC_REGISTERS;
    vmx_caps.has_spec_ctrl = true;
    vmx_caps.has_pred_cmd = true;
    vmx_caps.has_flush_cmd = vmx_caps.has_rdtscp = false;
    cr_assert(msr_bitmap_init());
    for (int apic = 0; apic < 2; apic++)
        for (int spec = 0; spec < 2; spec++) {
            const uint8_t *page = open_page(apic, spec);
            cr_expect_eq(msr_bitmap_exits(page, MSR_X2APIC(VLAPIC_EOI), true), !apic);
            cr_expect_eq(msr_bitmap_exits(page, 0x48, true), !spec);
            cr_expect_not(msr_bitmap_exits(page, 0x49, true));
            cr_expect(msr_bitmap_exits(page, 0x10b, true));
            cr_expect(msr_bitmap_exits(page, MSR_TSC_AUX, false));
        }
}

static void open_bitmap(uint8_t *bitmap, enum apic_level level) {
    msr_bitmap_fill(bitmap, HAS_ALL);
    msr_bitmap_open_apic(bitmap, level);
}

static size_t count_open(const uint8_t *bitmap, bool is_write) {
    size_t count = 0;
    for (uint32_t msr = MSR_X2APIC_FIRST; msr <= MSR_X2APIC_LAST; msr++)
        count += !msr_bitmap_exits(bitmap, msr, is_write);
    return count;
}

Test(vmx_policy, tpr_alone_passes_with_its_shadow_alone) {
    static uint8_t bitmap[PAGE_SIZE];
    open_bitmap(bitmap, APIC_TPR);
    cr_expect_not(msr_bitmap_exits(bitmap, 0x808, false));
    cr_expect_not(msr_bitmap_exits(bitmap, 0x808, true));
    cr_expect_eq(count_open(bitmap, false), 1);
    cr_expect_eq(count_open(bitmap, true), 1);
}

Test(vmx_policy, registers_that_stand_in_the_page_pass) {
    static uint8_t bitmap[PAGE_SIZE];
    open_bitmap(bitmap, APIC_REGISTERS);
    const uint32_t passes[] = {0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f, 0x810, 0x817, 0x818,
                               0x81f, 0x820, 0x827, 0x828, 0x832, 0x837, 0x838, 0x83e};
    const uint32_t exits[] = {0x800, 0x804, 0x809, 0x80b, 0x80e, 0x830, 0x831, 0x839, 0x83f, 0x8ff};
    for (size_t i = 0; i < ARRAY_COUNT(passes); i++)
        cr_expect_not(msr_bitmap_exits(bitmap, passes[i], false), "%x", passes[i]);
    for (size_t i = 0; i < ARRAY_COUNT(exits); i++)
        cr_expect(msr_bitmap_exits(bitmap, exits[i], false), "%x", exits[i]);
    cr_expect_not(msr_bitmap_exits(bitmap, 0x808, true));
    cr_expect_not(msr_bitmap_exits(bitmap, 0x80b, true));
    cr_expect_not(msr_bitmap_exits(bitmap, 0x83f, true));
    cr_expect_eq(count_open(bitmap, true), 3);
}

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
    io_decode_string(&outs, 2u << 7 | 3u << 15);
    cr_expect(outs.is_string && outs.is_repeated && outs.size == 2 && !outs.is_in);
    cr_expect(outs.address_size == 8 && outs.segment == VMCS_DS);
    struct vcpu_exit_io ins = io_decode(0x01f00038);
    io_decode_string(&ins, 1u << 7 | 4u << 15);
    cr_expect(ins.is_in && ins.address_size == 4 && ins.segment == VMCS_ES, "INS uses ES only");
}

Test(vmx_decode, cr_qualification) {
    struct cr_access to_cr4_from_r9 = cr_access_decode(0x904);
    cr_expect(to_cr4_from_r9.number == 4 && to_cr4_from_r9.gpr == 9 &&
              to_cr4_from_r9.type == CR_ACCESS_MOV_TO);
    struct cr_access from_cr8 = cr_access_decode(0x018);
    cr_expect(from_cr8.number == 8 && from_cr8.type == CR_ACCESS_MOV_FROM && from_cr8.gpr == 0);
    struct cr_access lmsw = cr_access_decode(0x00010030);
    cr_expect(lmsw.type == CR_ACCESS_LMSW && lmsw.lmsw_source == 1 && !lmsw.is_memory);
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
    cr_expect_eq(VMX_EXIT_NOTIFY, 75);
}
