// SPDX-License-Identifier: Apache-2.0
// kernel/audit_judge.c at the edges: the last byte of a quota, of a window, of a right.
#include "tests/unit/kernel/support.h"

#include "kernel/audit.h"
#include "kernel/audit_judge.h"

#include <criterion/criterion.h>

Test(audit_edges, quota_may_be_used_to_the_last_byte) {
    cr_expect_eq(audit_judge_quota(100, 100, 40, 60), ABI_AUDIT_NONE);
    cr_expect_eq(audit_judge_quota(100, 100, 100, 0), ABI_AUDIT_NONE);
    cr_expect_eq(audit_judge_quota(0, 0, 0, 0), ABI_AUDIT_NONE);
    cr_expect_eq(audit_judge_quota(99, 100, 40, 60), ABI_AUDIT_QUOTA);
    cr_expect_eq(audit_judge_quota(100, 100, 101, 0), ABI_AUDIT_QUOTA);
    cr_expect_eq(audit_judge_quota(100, 100, 40, 59), ABI_AUDIT_QUOTA);
    cr_expect_eq(audit_judge_quota(100, 10, 11, UINT64_MAX), ABI_AUDIT_QUOTA, "nothing wraps");
}

Test(audit_edges, kernel_leaf_lies_in_its_window) {
    const struct audit_window window = {.begin = 0x100000,
                                        .end = 0x104000,
                                        .owners = 1u << OWNER_KERNEL,
                                        .rights = PT_READ | PT_WRITE,
                                        .is_direct = true};
    const struct {
        uint64_t address, size, frame;
        uint32_t rights;
        uint8_t owner;
        uint32_t error;
    } cases[] = {
        {0x100000, 0x4000, 0, PT_READ | PT_WRITE, OWNER_KERNEL, ABI_AUDIT_NONE},
        {0x103000, 0x1000, 0x3000, PT_READ, OWNER_KERNEL, ABI_AUDIT_NONE},
        {0x103000, 0x2000, 0x3000, PT_READ, OWNER_KERNEL, ABI_AUDIT_KERNEL},
        {0x104000, 0x1000, 0x4000, PT_READ, OWNER_KERNEL, ABI_AUDIT_KERNEL},
        {0x101000, 0x1000, 0x2000, PT_READ, OWNER_KERNEL, ABI_AUDIT_TWICE},
        {0x101000, 0x1000, 0x1000, PT_READ | PT_EXECUTE, OWNER_KERNEL, ABI_AUDIT_RIGHTS},
        {0x101000, 0x1000, 0x1000, PT_READ | PT_USER, OWNER_KERNEL, ABI_AUDIT_RIGHTS},
        {0x101000, 0x1000, 0x1000, PT_READ, OWNER_POOL, ABI_AUDIT_FREE},
        {0x101000, 0x1000, 0x1000, PT_READ, OWNER_MEMORY, ABI_AUDIT_TWICE},
        {0x101000, 0x1000, 0x1000, PT_READ, OWNER_COUNT, ABI_AUDIT_KERNEL},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct audit_leaf leaf = {cases[i].address, cases[i].size, cases[i].frame,
                                        cases[i].rights};
        cr_expect_eq(audit_judge_host(&leaf, &window, cases[i].owner), cases[i].error, "case %u",
                     i);
        cr_expect_eq(audit_judge_host(&leaf, NULL, cases[i].owner), ABI_AUDIT_KERNEL, "case %u", i);
    }
    struct audit_window code = window;
    code.rights |= PT_EXECUTE;
    const struct audit_leaf leaf = {0x101000, 0x1000, 0x1000, PT_READ | PT_WRITE | PT_EXECUTE};
    cr_expect_eq(audit_judge_host(&leaf, &code, OWNER_KERNEL), ABI_AUDIT_RIGHTS, "never both");
}

// The owner's right is not the other's: each right of a leaf must be one of its place's.
Test(audit_edges, leaf_has_no_right_that_its_place_has_not) {
    const struct audit_place place = {0x100000, SIZE_2M, SIZE_1G, PT_READ | PT_USER, true};
    const uint32_t more[] = {PT_WRITE, PT_EXECUTE};
    for (unsigned i = 0; i < ARRAY_COUNT(more); i++) {
        const struct audit_leaf leaf = {0x100000, PAGE_SIZE, SIZE_1G, PT_READ | PT_USER | more[i]};
        cr_expect_eq(audit_judge(&leaf, &place, OWNER_MEMORY), ABI_AUDIT_RIGHTS);
    }
    struct audit_place dirty = place;
    dirty.is_cleared = false;
    const struct audit_leaf leaf = {0x100000, PAGE_SIZE, SIZE_1G, PT_READ};
    cr_expect_eq(audit_judge(&leaf, &place, OWNER_MEMORY), ABI_AUDIT_NONE);
    cr_expect_eq(audit_judge(&leaf, &dirty, OWNER_MEMORY), ABI_AUDIT_DIRTY,
                 "what another one left there");
}

// Each frame of a large leaf is looked at: here the second one is RAM, behind one that is a
// device's.
Test(audit_edges, each_frame_of_a_kernel_leaf_is_looked_at) {
    host_init_all();
    struct pt_mapping leaf = {{HOST_RAM_BASE - PAGE_SIZE}, PAGE_SIZE, PT_READ | PT_WRITE};
    host_planted_leaf = &leaf;
    host_planted_address = KERNEL_DEVICES;
    cr_expect_eq(audit_all().errors, 0);
    leaf.size = 2 * PAGE_SIZE;
    struct abi_audit report = audit_all();
    cr_expect_eq(report.errors, 1);
    cr_expect(report.space == ABI_AUDIT_HOST && report.address == KERNEL_DEVICES);
    leaf.frame.v -= PAGE_SIZE;
    cr_expect_eq(audit_all().errors, 0);
}
