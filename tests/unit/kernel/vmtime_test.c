// SPDX-License-Identifier: Apache-2.0
// kernel/vmtime.c against a host clock of paper: what the VM's clock shows, and when it will.
#include <criterion/criterion.h>
#include <stdlib.h>

#define vmtime_ratio vmtime_test_ratio
#define vmtime_host  vmtime_test_host
#include "kernel/vm.h"

#include "arch/x86.h"

static uint64_t vmtime_now;
#define x86_rdtsc() vmtime_now
#include "kernel/vmtime.c"

#define ONE BIT(VMTIME_RATIO_BITS)

static struct vm vmtime_vm;

static uint64_t random64(void) {
    uint64_t value = 0;
    for (unsigned i = 0; i < 4; i++)
        value = value << 16 ^ (uint64_t)rand();
    return value;
}

// Over a second, a rate is what was asked for, to a part in 2^32 or a tick.
Test(vmtime, ratio_gives_the_rate) {
    const uint64_t rates[] = {50000000,   49996123,   1000000000, 2400000000,
                              2893202000, 3999999999, 4300000000, 8000000000};
    for (unsigned i = 0; i < ARRAY_COUNT(rates); i++) {
        for (unsigned k = 0; k < ARRAY_COUNT(rates); k++) {
            vmtime_vm.tsc_ratio = vmtime_ratio(rates[i], rates[k]);
            cr_assert_neq(vmtime_vm.tsc_ratio, 0);
            uint64_t shows = vmtime_at(&vmtime_vm, rates[k]);
            uint64_t off = shows > rates[i] ? shows - rates[i] : rates[i] - shows;
            cr_expect_leq(off, 1 + (rates[k] >> 32), "%lu of %lu: %lu", rates[i], rates[k], shows);
        }
    }
    cr_expect_eq(vmtime_ratio(12345, 12345), ONE);
}

Test(vmtime, ratio_has_bounds) {
    cr_expect_eq(vmtime_ratio(256000000, 1000000), 0);
    cr_expect_neq(vmtime_ratio(255999999, 1000000), 0);
    cr_expect_neq(vmtime_ratio(1000000, 256000000), 0);
    cr_expect_eq(vmtime_ratio(1000000, 257000000), 0);
    for (unsigned shift = 40; shift < 64; shift++)
        cr_expect_eq(vmtime_ratio(UINT64_MAX >> (63 - shift), 50000000), 0, "2^%u", shift);
    cr_expect_eq(vmtime_ratio(1, 50000000), 0);
}

Test(vmtime, without_a_ratio_the_clock_is_the_hosts) {
    vmtime_vm.tsc_ratio = 0;
    cr_expect_eq(vmtime_at(&vmtime_vm, 12345), 12345);
    cr_expect_eq(vmtime_host(&vmtime_vm, 12345), 12345);
}

// Exactly: neither a tick early nor a tick late.
Test(vmtime, host_time_is_when_the_clock_shows_it) {
    srand(1);
    for (unsigned i = 0; i < 1000000; i++) {
        vmtime_vm.tsc_ratio = RATIO_MIN + random64() % (RATIO_MAX - RATIO_MIN);
        vmtime_now = random64() >> 9; // nothing wraps
        uint64_t ahead = 1 + (random64() >> (23 + rand() % 40));
        uint64_t at = vmtime_at(&vmtime_vm, vmtime_now) + ahead;
        uint64_t host = vmtime_host(&vmtime_vm, at);
        cr_assert(vmtime_at(&vmtime_vm, host) >= at && vmtime_at(&vmtime_vm, host - 1) < at,
                  "ratio %lx now %lx ahead %lx", vmtime_vm.tsc_ratio, vmtime_now, ahead);
    }
}

Test(vmtime, clocks_may_wrap) {
    vmtime_vm.tsc_ratio = ONE / 2 * 5;
    vmtime_now = UINT64_MAX / 5 * 2 - 1000;
    cr_expect_eq(vmtime_host(&vmtime_vm, vmtime_at(&vmtime_vm, vmtime_now) + 5000),
                 vmtime_now + 2000);
}

Test(vmtime, what_has_passed_or_is_years_away_does_no_harm) {
    vmtime_now = 1000;
    vmtime_vm.tsc_ratio = ONE / 3;
    cr_expect_eq(vmtime_host(&vmtime_vm, 10), 1000);
    cr_expect_eq(vmtime_host(&vmtime_vm, vmtime_at(&vmtime_vm, 1000)), 1000);
    for (unsigned shift = 55; shift < 64; shift++) {
        vmtime_vm.tsc_ratio = RATIO_MIN;
        cr_expect_geq(vmtime_host(&vmtime_vm, BIT(shift) - 1), BIT(60), "2^%u", shift);
        vmtime_vm.tsc_ratio = RATIO_MAX;
        cr_expect_geq(vmtime_host(&vmtime_vm, BIT(shift) - 1), BIT(shift - 9), "2^%u", shift);
    }
}
