// SPDX-License-Identifier: Apache-2.0
// arch/tsc: two threads are two CPUs, whose counters differ by what the test says.
#include <criterion/criterion.h>

#include "arch/x86.h"

#include <pthread.h>
#include <sched.h>

static _Thread_local bool is_other;
static int64_t other_ahead; // of the other CPU's counter

static uint64_t paper_rdtsc(void) {
    uint64_t tsc = __builtin_ia32_rdtsc();
    return is_other ? tsc + (uint64_t)other_ahead : tsc;
}
#define tsc_hz        tsc_test_tsc_hz
#define tsc_is_common tsc_test_tsc_is_common
#define x86_rdtsc     paper_rdtsc
#define x86_pause()   (void)sched_yield()
#include "arch/tsc.c"

static void *other_cpu(void *unused) {
    is_other = true;
    tsc_answer();
    return unused;
}

static int64_t compare(int64_t ahead) {
    pthread_t thread;
    other_ahead = ahead;
    cr_assert_eq(pthread_create(&thread, NULL, other_cpu, NULL), 0);
    int64_t seen = tsc_compare();
    cr_assert_eq(pthread_join(thread, NULL), 0);
    return seen;
}

// More than any round can take on a machine that does other things, too.
#define FAR (1LL << 40)

Test(tsc, equal_counters_are_common) {
    cr_expect_eq(compare(0), 0);
    cr_expect(tsc_is_common);
}

Test(tsc, counter_ahead_or_behind_is_told) {
    const int64_t distances[] = {FAR, -FAR, 3 * FAR, -5 * FAR};
    for (unsigned i = 0; i < 4; i++) {
        tsc_is_common = true;
        int64_t seen = compare(distances[i]);
        cr_expect(seen / FAR == distances[i] / FAR || (seen - distances[i]) / FAR == 0);
        cr_expect_not(tsc_is_common, "%u", i);
    }
    cr_expect_eq(compare(0), 0);
    cr_expect_not(tsc_is_common, "one is enough");
}
