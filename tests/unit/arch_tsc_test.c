// SPDX-License-Identifier: Apache-2.0
// arch/tsc: two threads are two CPUs, whose counters differ by what the test says.
#include <criterion/criterion.h>

#include "arch/x86.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static _Thread_local bool is_other;
static int64_t other_ahead;   // of the other CPU's counter
static uint64_t other_adjust; // its IA32_TSC_ADJUST
static atomic_uint adjustments;
static bool is_adjust_without_effect;

static uint64_t paper_rdtsc(void) {
    uint64_t tsc = __builtin_ia32_rdtsc();
    return is_other ? tsc + (uint64_t)other_ahead : tsc;
}
static uint64_t paper_rdmsr(uint32_t msr) {
    cr_assert(is_other && msr == MSR_TSC_ADJUST);
    return other_adjust;
}
static void paper_wrmsr(uint32_t msr, uint64_t value) {
    cr_assert(is_other && msr == MSR_TSC_ADJUST);
    adjustments++;
    if (!is_adjust_without_effect)
        other_ahead += (int64_t)(value - other_adjust);
    other_adjust = value;
}

#define tsc_hz        tsc_test_tsc_hz
#define tsc_is_common tsc_test_tsc_is_common
#define x86_rdtsc     paper_rdtsc
#define x86_rdmsr     paper_rdmsr
#define x86_wrmsr     paper_wrmsr
#define x86_pause()   (void)sched_yield()
#include "arch/tsc.c"

static void *other_cpu(void *unused) {
    is_other = true;
    tsc_answer();
    return unused;
}

static int64_t compare(int64_t ahead, bool has_tsc_adjust) {
    pthread_t thread;
    other_ahead = ahead;
    cr_assert_eq(pthread_create(&thread, NULL, other_cpu, NULL), 0);
    int64_t seen = tsc_compare(has_tsc_adjust);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    return seen;
}

// More than any round can take on a machine that does other things, too.
#define FAR (1LL << 40)

Test(tsc, equal_counters_are_common) {
    cr_expect_eq(compare(0, true), 0);
    cr_expect(tsc_is_common && adjustments == 0);
}

Test(tsc, counter_ahead_or_behind_is_set_right) {
    const int64_t distances[] = {FAR, -FAR, 3 * FAR, -5 * FAR};
    for (unsigned i = 0; i < 4; i++) {
        unsigned before = adjustments;
        int64_t seen = compare(distances[i], true);
        cr_expect(seen / FAR == distances[i] / FAR || (seen - distances[i]) / FAR == 0);
        cr_expect(tsc_is_common, "%u", i);
        cr_expect_gt(adjustments, before);
        cr_expect(other_ahead < FAR / 1024 && other_ahead > -FAR / 1024, "%ld", other_ahead);
    }
}

// What firmware had written there before is kept, and added to.
Test(tsc, adjustment_adds_to_what_is_there) {
    other_adjust = 1000;
    compare(FAR, true);
    cr_expect_eq(other_adjust, 1000 + (uint64_t)(other_ahead - FAR));
}

Test(tsc, counter_that_cannot_be_set_is_told) {
    cr_expect_neq(compare(FAR, false), 0);
    cr_expect(!tsc_is_common && adjustments == 0);
    cr_expect_eq(compare(0, false), 0);
    cr_expect_not(tsc_is_common); // one is enough
}

Test(tsc, adjustment_without_effect_is_told) {
    is_adjust_without_effect = true;
    cr_expect_neq(compare(FAR, true), 0);
    cr_expect(!tsc_is_common && adjustments == TRIES);
}
