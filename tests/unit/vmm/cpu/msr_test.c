// SPDX-License-Identifier: Apache-2.0
// vmm/msr: the table is sorted and fits its storage; unknown registers fault; each kind of write.
#include "vmm/cpu/msr.h"

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/cpu/pvclock.h"

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
    static const uint32_t own[] = {0x10,  0x1b,       0x3b,       0x48,       0x49,      0x10b,
                                   0x174, 0x175,      0x176,      0x277,      0x6e0,     0x800,
                                   0x830, 0xc0000080, 0xc0000081, 0xc0000100, 0xc0000103};
    struct msr_state state;
    uint64_t value;
    msr_reset(&state, 0);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        cr_assert_not(msr_read(&state, own[i], &value), "%#x", own[i]);
}

Test(vmm_msr, unknown_is_refused) {
    static const uint32_t unknown[] = {0x0,   0x34,  0xc1,  0x186,      0x210,      0x345,
                                       0x38f, 0x400, 0x480, 0x4b564d02, 0xc0010015, UINT32_MAX};
    struct msr_state state, before;
    uint64_t value;
    msr_reset(&state, 0);
    before = state;
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        cr_assert_not(msr_read(&state, unknown[i], &value), "%#x", unknown[i]);
        cr_assert_not(msr_write(&state, unknown[i], 0), "%#x", unknown[i]);
    }
    cr_assert_arr_eq(&state, &before, sizeof(state));
}

// Default deny: what a guest may be told is in this list, by SDM 4 2.1 "Architectural MSRs".
Test(vmm_msr, capabilities_promise_nothing_that_guests_have_not) {
    static const uint8_t shown[] = {0,  1,  2,  3,  4,  5,  6,  8,  13, 14,
                                    15, 17, 19, 20, 24, 26, 27, 28, 62};
    uint64_t all = 0;
    for (size_t i = 0; i < sizeof(shown); i++)
        all |= 1ULL << shown[i];
    for (unsigned bit = 0; bit < 64; bit++)
        cr_expect_eq(msr_guest_capabilities(1ULL << bit), 1ULL << bit & all, "bit %u", bit);
    cr_expect_eq(msr_guest_capabilities(0x2da9fdeb), 0x0d08e16b, "Granite Rapids");
    cr_expect_eq(msr_guest_capabilities(0), 0);
}

Test(vmm_msr, capabilities_are_read_only_and_there_or_not) {
    struct msr_state state;
    uint64_t value = 0;
    msr_reset(&state, 0x2b);
    cr_assert(msr_read(&state, 0x10a, &value));
    cr_assert_eq(value, 0x2b);
    cr_assert_not(msr_write(&state, 0x10a, 0x2b));
    msr_reset(&state, 0);
    cr_assert_not(msr_read(&state, 0x10a, &value));
    cr_assert_not(msr_write(&state, 0x10a, 0));
}

// What a saved guest believes has to hold where it goes on.
Test(vmm_msr, capabilities_of_a_saved_vm_hold_here) {
    const uint64_t rdcl_no = 1, mds_no = 1 << 5, rsba = 1 << 2, rrsba = 1 << 19;
    const struct {
        uint64_t told, here;
        bool is_valid;
    } rows[] = {{0, 0, true},
                {0, rdcl_no, true},
                {rdcl_no, rdcl_no | mds_no, true},
                {rdcl_no, mds_no, false},
                {rdcl_no, 0, false},
                {rsba, 0, true}, // a warning for nothing
                {rdcl_no, rdcl_no | rsba, false},
                {rrsba | rdcl_no, rrsba | rdcl_no, true}};
    struct msr_state state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        msr_reset(&state, rows[i].told);
        cr_expect_eq(msr_state_is_valid(&state, rows[i].here), rows[i].is_valid, "row %zu", i);
    }
}

Test(vmm_msr, every_stored_register_has_its_own_place) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state, 0);
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
    cr_assert(msr_state_is_valid(&state, 0));
}

Test(vmm_msr, constants_do_not_move) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state, 0);
    cr_assert_not(msr_write(&state, 0xfe, 0)); // MTRRcap
    cr_assert_not(msr_write(&state, 0x3a, 5)); // FEATURE_CONTROL is locked
    cr_assert(msr_write(&state, 0x8b, 0));     // as Linux does before it reads the revision
    cr_assert(msr_read(&state, 0x8b, &value));
    cr_assert_eq(value, 1ULL << 32);
}

Test(vmm_msr, reserved_bits_fault_or_stay) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state, 0);
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
    msr_reset(&state, 0);
    cr_assert(msr_state_is_valid(&state, 0));
    memset(&state, 0xff, sizeof(state));
    cr_assert_not(msr_state_is_valid(&state, 0));
}

Test(vmm_msr, memory_types_that_are_none_fault) {
    static const uint8_t none[] = {2, 3, 7, 8, 0xff};
    struct msr_state state;
    msr_reset(&state, 0);
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
    msr_reset(&state, 0);
    cr_assert(msr_write(&state, MSR_KVM_WALL_CLOCK_NEW, 0x123456789abc));
    cr_assert(msr_read(&state, MSR_KVM_WALL_CLOCK_NEW, &value) && value == 0x123456789abc);
    for (uint64_t bits = 1; bits < 4; bits++)
        cr_assert_not(msr_write(&state, MSR_KVM_WALL_CLOCK_NEW, 0x1000 | bits));
}

Test(vmm_msr, clock_takes_an_aligned_address_and_its_enable) {
    struct msr_state state;
    uint64_t value;
    msr_reset(&state, 0);
    cr_assert(msr_write(&state, MSR_KVM_SYSTEM_TIME_NEW, 0x123456789abd));
    cr_assert(msr_read(&state, MSR_KVM_SYSTEM_TIME_NEW, &value) && value == 0x123456789abd);
    cr_assert_not(msr_write(&state, MSR_KVM_SYSTEM_TIME_NEW, 0x1002));
}

// ---- AMD ----------------------------------------------------------------------------------------

Test(vmm_msr, amd_registers_read_what_does_no_harm) {
    static const struct {
        uint32_t msr;
        uint64_t value;
    } rows[] = {{0xc0010000, 0}, {0xc0010007, 0}, {0xc0010010, 0},    {0xc0010015, 1 << 24},
                {0xc001001a, 0}, {0xc001001d, 0}, {0xc001001f, 0},    {0xc0010055, 0},
                {0xc0010058, 0}, {0xc0011022, 0}, {0xc0010114, 0x18}, {0xc0011029, 2}};
    uint64_t value;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cr_expect(msr_amd_read(rows[i].msr, &value), "%#x", rows[i].msr);
        cr_expect_eq(value, rows[i].value, "%#x", rows[i].msr);
        cr_expect(msr_amd_write(rows[i].msr, value), "%#x as it is", rows[i].msr);
    }
}

// IORRs, OSVW, TSC_RATIO, VM_HSAVE_PA, SMM's; LS_CFG would promise to disable store bypass.
Test(vmm_msr, amd_registers_that_promise_something_are_not_there) {
    static const uint32_t absent[] = {0xc0000080, 0xc0000104, 0xc000ffff, 0xc0010008, 0xc0010016,
                                      0xc0010111, 0xc0010112, 0xc0010117, 0xc001011f, 0xc0010140,
                                      0xc0010200, 0xc0011020, 0xc001102b};
    uint64_t value;
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
        cr_expect_not(msr_amd_read(absent[i], &value), "%#x", absent[i]);
        cr_expect_not(msr_amd_write(absent[i], 0), "%#x", absent[i]);
    }
}

Test(vmm_msr, amd_writes_are_ignored_or_fault) {
    cr_expect(msr_amd_write(0xc0010004, UINT64_MAX));
    cr_expect(msr_amd_write(0xc0011029, 0));
    cr_expect(msr_amd_write(0xc0010015, 1 << 24 | 0x48));
    cr_expect_not(msr_amd_write(0xc0010015, 1 << 24 | 1)); // SmmLock
    cr_expect(msr_amd_write(0xc0010114, 0));
    cr_expect_not(msr_amd_write(0xc0010114, 0x20));
    cr_expect_not(msr_amd_write(0xc0010058, 1));
}
