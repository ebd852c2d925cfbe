// SPDX-License-Identifier: Apache-2.0
// vmm/msr: the table is sorted and fits its storage; unknown registers fault; each kind of write.
#include "vmm/msr.h"

#include <criterion/criterion.h>
#include <string.h>

Test(vmm_msr, table_is_sorted_without_overlap) {
    for (size_t i = 0; i < msr_rule_count; i++) {
        cr_assert_leq(msr_rules[i].first, msr_rules[i].last);
        if (i > 0)
            cr_assert_gt(msr_rules[i].first, msr_rules[i - 1].last);
    }
}

Test(vmm_msr, storage_fits) {
    size_t stored = 0;
    for (size_t i = 0; i < msr_rule_count; i++)
        if (msr_rules[i].write == MSR_WRITE_STORED || msr_rules[i].write == MSR_WRITE_MASKED)
            stored += msr_rules[i].last - msr_rules[i].first + 1;
    cr_assert_leq(stored, MSR_STORED_MAX);
}

Test(vmm_msr, kernels_own_are_not_here) {
    static const uint32_t own[] = {0x10,       0x1b,       0x3b,       0x174,     0x175,
                                   0x176,      0x277,      0x6e0,      0x800,     0x830,
                                   0xc0000080, 0xc0000081, 0xc0000100, 0xc0000103};
    struct msr_state state;
    uint64_t value;
    msr_reset(&state);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        cr_assert_not(msr_read(&state, own[i], &value), "%#x", own[i]);
}

Test(vmm_msr, unknown_is_refused) {
    static const uint32_t unknown[] = {0x0,   0x34,  0xc1,  0x186,      0x210,      0x345,
                                       0x38f, 0x400, 0x480, 0x4b564d02, 0xc0010015, UINT32_MAX};
    struct msr_state state, before;
    uint64_t value;
    msr_reset(&state);
    before = state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        cr_assert_not(msr_read(&state, unknown[i], &value), "%#x", unknown[i]);
        cr_assert_not(msr_write(&state, unknown[i], 0), "%#x", unknown[i]);
    }
    cr_assert_arr_eq(&state, &before, sizeof(state));
}

Test(vmm_msr, every_stored_register_has_its_own_place) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state);
    for (uint32_t msr = 0x200; msr <= 0x20f; msr++)
        cr_assert(msr_write(&state, msr, 0x1234000 + msr * 0x100));
    for (uint32_t msr = 0x268; msr <= 0x26f; msr++)
        cr_assert(msr_write(&state, msr, 0x0606000000000000 + msr % 2));
    cr_assert(msr_read(&state, 0x1a0, &value));
    cr_assert_eq(value, 0x1801);
    cr_assert(msr_read(&state, 0x2ff, &value));
    cr_assert_eq(value, 0xc06);
    for (uint32_t msr = 0x200; msr <= 0x20f; msr++) {
        cr_assert(msr_read(&state, msr, &value));
        cr_assert_eq(value, 0x1234000 + msr * 0x100);
    }
    cr_assert(msr_state_is_valid(&state));
}

Test(vmm_msr, constants_do_not_move) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state);
    cr_assert_not(msr_write(&state, 0xfe, 0)); // MTRRcap
    cr_assert_not(msr_write(&state, 0x3a, 5)); // FEATURE_CONTROL is locked
    cr_assert(msr_write(&state, 0x8b, 0));     // as Linux does before it reads the revision
    cr_assert(msr_read(&state, 0x8b, &value));
    cr_assert_eq(value, 1ULL << 32);
}

Test(vmm_msr, reserved_bits_fault_or_stay) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state);
    cr_assert_not(msr_write(&state, 0x2ff, 1ULL << 12)); // stored: reserved bit
    cr_assert(msr_write(&state, 0x2ff, 0));
    cr_assert(msr_write(&state, 0x1a0, ~0ULL)); // masked: fast strings only
    cr_assert(msr_read(&state, 0x1a0, &value));
    cr_assert_eq(value, 0x1801);
    cr_assert(msr_write(&state, 0x1a0, 0));
    cr_assert(msr_read(&state, 0x1a0, &value));
    cr_assert_eq(value, 0x1800);
}

Test(vmm_msr, impossible_saved_state_is_refused) {
    struct msr_state state;
    msr_reset(&state);
    cr_assert(msr_state_is_valid(&state));
    memset(&state, 0xff, sizeof(state));
    cr_assert_not(msr_state_is_valid(&state));
}

Test(vmm_msr, memory_types_that_are_none_fault) {
    static const uint8_t none[] = {2, 3, 7, 8, 0xff};
    struct msr_state state;
    msr_reset(&state);
    for (size_t i = 0; i < sizeof(none); i++) {
        cr_assert_not(msr_write(&state, 0x2ff, none[i] | 0xc00u));
        cr_assert_not(msr_write(&state, 0x200, none[i] | 0x10000u));
        for (unsigned byte = 0; byte < 8; byte++)
            cr_assert_not(msr_write(&state, 0x268, (uint64_t)none[i] << 8 * byte));
    }
    cr_assert(msr_write(&state, 0x268, 0x0001040506060504));
}

Test(vmm_msr, wall_clock_takes_an_aligned_address) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state);
    cr_assert(msr_write(&state, MSR_KVM_WALL_CLOCK_NEW, 0x123456789abc));
    cr_assert(msr_read(&state, MSR_KVM_WALL_CLOCK_NEW, &value) && value == 0x123456789abc);
    for (uint64_t bits = 1; bits < 4; bits++)
        cr_assert_not(msr_write(&state, MSR_KVM_WALL_CLOCK_NEW, 0x1000 | bits));
}
