// SPDX-License-Identifier: Apache-2.0
// kernel/budget.c: a budget holds in the long run, whoever has it, and a real-time thread gets no
// more than its share.
#include "tests/unit/kernel/support.h"

#include "arch/tsc.h"
#include "kernel/budget.h"
#include "kernel/timer.h"

#include <criterion/criterion.h>
#include <string.h>

#define PERIOD (tsc_hz / 50)

static struct budget budget;

static void set_up(void) {
    host_init_all();
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        timer_init_cpu(host_cpu(i));
}

TestSuite(kernel_budget, .init = set_up);

// One hog runs whenever it may, in pieces that overrun what is left. Returns permil.
static uint64_t run_hog(uint64_t ticks, uint64_t piece) {
    static struct thread hog;
    uint64_t ran = 0, end = host_now + ticks;
    memset(&hog, 0, sizeof(hog));
    while (host_now < end) {
        if (budget_is_left(&budget, host_now)) {
            ran += piece;
            host_now += piece;
            budget_charge(&budget, piece);
        } else if (budget_park(&budget, &hog, host_now)) {
            budget_arm(&budget);
            uint32_t before = host_unparked_count;
            while (host_unparked_count == before) {
                cr_assert_neq(host_deadline[0], 0, "parked and nobody will wake it");
                host_now = MAX(host_now, host_deadline[0]);
                timer_interrupt();
            }
            cr_assert_eq(host_unparked[before % HOST_UNPARKED_MAX], &hog);
        }
    }
    return ran * 1000 / ticks;
}

Test(kernel_budget, holds_in_the_long_run) {
    const uint32_t percent[] = {1, 10, 25, 50, 99};
    for (unsigned i = 0; i < ARRAY_COUNT(percent); i++) {
        budget_init(&budget, PERIOD * percent[i] / 100, PERIOD, 0);
        uint64_t permil = run_hog(tsc_hz * 20, tsc_hz / 700);
        cr_expect_leq(permil, percent[i] * 10 + 5, "%u: %lu permil", percent[i], permil);
        cr_expect_geq(permil, percent[i] * 10 - 5, "%u: %lu permil", percent[i], permil);
        budget_destroy(&budget);
    }
}

Test(kernel_budget, who_is_idle_saves_up_one_period_at_most) {
    budget_init(&budget, PERIOD / 2, PERIOD, 0);
    cr_assert(budget_is_left(&budget, host_now));
    host_now += 100 * tsc_hz;
    budget_charge(&budget, (uint64_t)budget.left);
    cr_assert(budget_is_left(&budget, host_now));
    cr_expect_eq(budget.left, (int64_t)(PERIOD / 2));
    // A debt of ten periods takes ten of them.
    budget_charge(&budget, PERIOD / 2 * 11);
    cr_expect_not(budget_is_left(&budget, budget.end + 8 * PERIOD));
    cr_expect(budget_is_left(&budget, budget.end + PERIOD));
}

Test(kernel_budget, may_be_changed_and_lifted) {
    budget_init(&budget, PERIOD / 10, PERIOD, 0);
    cr_expect_leq(run_hog(tsc_hz * 5, tsc_hz / 1000), 105);
    budget.amount = PERIOD * 8 / 10;
    cr_expect_geq(run_hog(tsc_hz * 5, tsc_hz / 1000), 790);
    budget.amount = 0;
    budget.left = -1000000000;
    cr_expect(budget_is_left(&budget, host_now));
}

Test(kernel_budget, parked_threads_come_back_when_it_is_lifted) {
    static struct thread thread;
    budget_init(&budget, PERIOD / 10, PERIOD, host_now + PERIOD);
    budget_charge(&budget, PERIOD);
    cr_assert(budget_park(&budget, &thread, host_now));
    budget_arm(&budget);
    budget.amount = 0;
    host_now = host_deadline[0];
    timer_interrupt();
    cr_expect(host_unparked_count == 1 && host_unparked[0] == &thread);
}

// ---- of one thread ------------------------------------------------------------------------------

Test(kernel_budget, who_slept_on_it_begins_anew) {
    budget_init(&budget, 2000, 10000, host_now + 10000);
    cr_expect_not(budget_is_left(&budget, host_now), "the first comes a period later");
    uint64_t begin = host_now += 10000;
    cr_assert(budget_is_left(&budget, begin));
    budget_charge(&budget, 500);
    // Left: 1500, which until the deadline would be more than a fifth.
    budget_wake(&budget, begin + 9000);
    cr_expect(budget.left == 2000 && budget.end == begin + 19000);
}

Test(kernel_budget, who_wakes_within_its_share_goes_on) {
    budget_init(&budget, 2000, 10000, host_now);
    uint64_t begin = host_now;
    cr_assert(budget_is_left(&budget, begin));
    budget_charge(&budget, 1900);
    budget_wake(&budget, begin + 9000);
    cr_expect(budget.left == 100 && budget.end == begin + 10000);
    budget_wake(&budget, begin + 10000);
    cr_expect(budget.left == 2000 && budget.end == begin + 20000, "due");
}

Test(kernel_budget, a_debt_outlives_a_new_period) {
    budget_init(&budget, 2000, 10000, host_now);
    budget_charge(&budget, 500);
    budget_wake(&budget, host_now + 100);
    cr_expect_eq(budget.left, 1500);
}

Test(kernel_budget, who_came_too_late_is_told) {
    budget_init(&budget, 2000, 10000, host_now);
    uint64_t begin = host_now;
    cr_assert(budget_is_left(&budget, begin));
    cr_expect_not(budget_miss(&budget, begin, begin + 9999));
    cr_expect(budget_miss(&budget, begin + 9000, begin + 11000));
    cr_expect(budget.left == 2000 && budget.end == begin + 19000, "from where it ran");
    budget_charge(&budget, 2000);
    cr_expect_not(budget_miss(&budget, begin + 18000, begin + 20000), "it had all of it");
}
