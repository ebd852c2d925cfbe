// SPDX-License-Identifier: Apache-2.0
// kernel/core.c: hardware threads of one core never run two domains at a time, and each domain has its turn.
#include "kernel_support.h"

#include "kernel/core.h"

#include <criterion/criterion.h>

#define SLICE 100u

static uint64_t retry;

// CPUs 0 and 1 are one core, 2 and 3 another.
static void set_up(void) {
    host_init(NULL, 0);
    for (uint32_t i = 0; i < 4; i++) {
        host_cpu(i)->core = i / 2;
        host_cpu(i)->sibling = host_cpu(i ^ 1);
    }
}

TestSuite(kernel_core, .init = set_up);

static enum core_answer enter(uint32_t cpu, uint32_t domain, uint64_t now) {
    return core_enter(host_cpu(cpu), domain, false, now, SLICE, &retry);
}

Test(kernel_core, one_domain_at_a_time) {
    cr_expect_eq(enter(0, 7, 0), CORE_ENTERED);
    cr_expect_eq(enter(1, 8, 1), CORE_LATER);
    cr_expect_eq(retry, SLICE);
    cr_expect_eq(enter(1, 7, 1), CORE_ENTERED, "more of the same may");
    cr_expect_eq(enter(2, 8, 1), CORE_ENTERED, "on another core everybody may");
    cr_expect_eq(core_get_domain(host_cpu(1)), 7);
}

Test(kernel_core, the_other_domain_has_its_turn_after_a_slice) {
    enter(0, 7, 0);
    cr_expect_eq(enter(1, 8, SLICE), CORE_TELL, "promised");
    cr_expect_eq(core_get_domain(host_cpu(1)), 0);
    cr_expect_eq(enter(0, 7, SLICE + 1), CORE_TELL, "it leaves, and says so");
    cr_expect_eq(enter(0, 7, SLICE + 1), CORE_LATER, "once, and cannot come back");
    cr_expect_eq(enter(1, 8, SLICE + 2), CORE_ENTERED);
    cr_expect_eq(enter(0, 7, SLICE + 3), CORE_LATER);
    cr_expect_eq(enter(0, 7, 2 * SLICE + 2), CORE_TELL, "then it is the first one's again");
    cr_expect_not(core_leave(host_cpu(0)), "who was not inside leaves nothing behind");
    cr_expect(core_leave(host_cpu(1)), "the last one out");
    cr_expect_eq(enter(0, 7, 2 * SLICE + 3), CORE_ENTERED);
}

Test(kernel_core, owners_that_take_turns_keep_nobody_waiting) {
    uint64_t now = 0;
    enter(0, 7, 0);
    cr_expect_eq(enter(1, 9, 1), CORE_LATER);
    // CPU 0 has two domains in its queue.
    for (uint32_t turn = 0; now < SLICE; turn++)
        cr_assert_eq(enter(0, turn % 2 == 0 ? 8 : 7, now += SLICE / 4), CORE_ENTERED);
    cr_expect_leq(retry, SLICE + 1);
    cr_expect_eq(enter(1, 9, SLICE + 1), CORE_TELL);
    cr_expect_eq(enter(0, 7, SLICE + 2), CORE_TELL);
    cr_expect_eq(enter(1, 9, SLICE + 3), CORE_ENTERED);
}

Test(kernel_core, it_is_urgent_only_while_a_realtime_thread_runs) {
    core_enter(host_cpu(0), 7, true, 0, SLICE, &retry);
    enter(1, 7, 0);
    cr_expect_eq(enter(0, 8, SLICE / 2), CORE_LATER, "who was urgent is out, but not yet a slice");
    cr_expect_eq(enter(0, 8, SLICE), CORE_TELL);
    cr_expect_eq(enter(1, 7, SLICE + 1), CORE_TELL);
    cr_expect_eq(enter(0, 8, SLICE + 2), CORE_ENTERED);
}

Test(kernel_core, an_idle_core_is_anybodys) {
    enter(0, 7, 0);
    cr_expect_not(core_leave(host_cpu(0)), "nobody waits");
    cr_expect_eq(enter(1, 8, 1), CORE_ENTERED);
}

Test(kernel_core, a_promise_that_nobody_takes_up_is_void) {
    enter(0, 7, 0);
    enter(1, 8, SLICE);
    cr_expect(core_leave(host_cpu(0)));
    cr_expect_neq(enter(0, 7, SLICE + 1), CORE_ENTERED);
    cr_expect_eq(enter(0, 7, 2 * SLICE), CORE_ENTERED, "its thread went elsewhere");
}

Test(kernel_core, realtime_does_not_wait_for_the_slice) {
    enter(0, 7, 0);
    cr_expect_eq(core_enter(host_cpu(1), 8, true, 1, SLICE, &retry), CORE_TELL);
    cr_expect_eq(enter(0, 7, 2), CORE_TELL);
    cr_expect_eq(core_enter(host_cpu(1), 8, true, 3, SLICE, &retry), CORE_ENTERED);
    cr_expect_eq(enter(0, 7, 10 * SLICE), CORE_LATER, "nobody takes the core from it");
    core_leave(host_cpu(1));
    cr_expect_eq(enter(0, 7, 10 * SLICE + 1), CORE_ENTERED);
}

// Two CPUs with a domain each that both always want to run: never both inside, and both have their turns.
Test(kernel_core, two_domains_take_turns) {
    bool is_in[2] = {false, false};
    unsigned turns[2] = {0, 0};
    uint64_t state = 88172645463325252ULL;
    for (uint64_t now = 0; now < 1000 * SLICE; now += 1 + host_random(&state) % 30) {
        uint32_t cpu = (uint32_t)(host_random(&state) & 1);
        bool was_in = is_in[cpu];
        is_in[cpu] = enter(cpu, 7 + cpu, now) == CORE_ENTERED;
        cr_assert_not(is_in[0] && is_in[1]);
        turns[cpu] += is_in[cpu] && !was_in;
    }
    cr_expect_geq(turns[0], 100, "%u %u", turns[0], turns[1]);
    cr_expect_geq(turns[1], 100);
}
