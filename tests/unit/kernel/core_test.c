// SPDX-License-Identifier: Apache-2.0
// kernel/core.c: hardware threads of one core never run two domains at a time, and each domain has
// its turn.
#include <criterion/criterion.h>

#include "tests/unit/kernel/support.h"

static void evict_paper(void);
static void empty_paper(void);
#define vcpu_evict               evict_paper
#define mitigation_clear_buffers empty_paper
#include "kernel/core.c"

#define SLICE 100u

// By CPU: evictions, and how often its buffers were emptied. Each sees the core still as its last
// owner's.
static struct {
    uint32_t evictions, emptied, owner;
    bool is_inside;
} left[4];

static void evict_paper(void) {
    uint32_t i = cpu_current()->index;
    left[i].evictions++;
    left[i].owner = cores[i / 2].domain;
    left[i].is_inside = is_inside[i] && cores[i / 2].lock.serving != cores[i / 2].lock.next;
}
static void empty_paper(void) {
    uint32_t i = cpu_current()->index;
    cr_expect_eq(left[i].evictions, ++left[i].emptied, "emptied before the eviction");
}

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

static enum core_answer try_enter(uint32_t cpu, uint32_t domain, uint64_t now) {
    host_run_on(cpu);
    return core_enter(host_cpu(cpu), domain, false, now, SLICE, &retry);
}

static bool try_leave(uint32_t cpu) {
    host_run_on(cpu);
    return core_leave(host_cpu(cpu));
}

Test(kernel_core, one_domain_at_a_time) {
    cr_expect_eq(try_enter(0, 7, 0), CORE_ENTERED);
    cr_expect_eq(try_enter(1, 8, 1), CORE_LATER);
    cr_expect_eq(retry, SLICE);
    cr_expect_eq(try_enter(1, 7, 1), CORE_ENTERED, "more of the same may");
    cr_expect_eq(try_enter(2, 8, 1), CORE_ENTERED, "on another core everybody may");
    cr_expect_eq(core_get_domain(host_cpu(1)), 7);
}

Test(kernel_core, the_other_domain_has_its_turn_after_a_slice) {
    try_enter(0, 7, 0);
    cr_expect_eq(try_enter(1, 8, SLICE), CORE_TELL, "promised");
    cr_expect_eq(core_get_domain(host_cpu(1)), 0);
    cr_expect_eq(try_enter(0, 7, SLICE + 1), CORE_TELL, "it leaves, and says so");
    cr_expect_eq(try_enter(0, 7, SLICE + 1), CORE_LATER, "once, and cannot come back");
    cr_expect_eq(try_enter(1, 8, SLICE + 2), CORE_ENTERED);
    cr_expect_eq(try_enter(0, 7, SLICE + 3), CORE_LATER);
    cr_expect_eq(try_enter(0, 7, 2 * SLICE + 2), CORE_TELL, "then it is the first one's again");
    cr_expect_not(try_leave(0), "who was not inside leaves nothing behind");
    cr_expect(try_leave(1), "the last one out");
    cr_expect_eq(try_enter(0, 7, 2 * SLICE + 3), CORE_ENTERED);
}

Test(kernel_core, owners_that_take_turns_keep_nobody_waiting) {
    uint64_t now = 0;
    try_enter(0, 7, 0);
    cr_expect_eq(try_enter(1, 9, 1), CORE_LATER);
    // CPU 0 has two domains in its queue.
    for (uint32_t turn = 0; now < SLICE; turn++)
        cr_assert_eq(try_enter(0, turn % 2 == 0 ? 8 : 7, now += SLICE / 4), CORE_ENTERED);
    cr_expect_leq(retry, SLICE + 1);
    cr_expect_eq(try_enter(1, 9, SLICE + 1), CORE_TELL);
    cr_expect_eq(try_enter(0, 7, SLICE + 2), CORE_TELL);
    cr_expect_eq(try_enter(1, 9, SLICE + 3), CORE_ENTERED);
}

Test(kernel_core, it_is_urgent_only_while_a_realtime_thread_runs) {
    core_enter(host_cpu(0), 7, true, 0, SLICE, &retry);
    try_enter(1, 7, 0);
    cr_expect_eq(try_enter(0, 8, SLICE / 2), CORE_LATER,
                 "who was urgent is out, but not yet a slice");
    cr_expect_eq(try_enter(0, 8, SLICE), CORE_TELL);
    cr_expect_eq(try_enter(1, 7, SLICE + 1), CORE_TELL);
    cr_expect_eq(try_enter(0, 8, SLICE + 2), CORE_ENTERED);
}

Test(kernel_core, an_idle_core_is_anybodys) {
    try_enter(0, 7, 0);
    cr_expect_not(try_leave(0), "nobody waits");
    cr_expect_eq(try_enter(1, 8, 1), CORE_ENTERED);
}

Test(kernel_core, a_promise_that_nobody_takes_up_is_void) {
    try_enter(0, 7, 0);
    try_enter(1, 8, SLICE);
    cr_expect(try_leave(0));
    cr_expect_neq(try_enter(0, 7, SLICE + 1), CORE_ENTERED);
    cr_expect_eq(try_enter(0, 7, 2 * SLICE), CORE_ENTERED, "its thread went elsewhere");
}

Test(kernel_core, realtime_does_not_wait_for_the_slice) {
    try_enter(0, 7, 0);
    cr_expect_eq(core_enter(host_cpu(1), 8, true, 1, SLICE, &retry), CORE_TELL);
    cr_expect_eq(try_enter(0, 7, 2), CORE_TELL);
    cr_expect_eq(core_enter(host_cpu(1), 8, true, 3, SLICE, &retry), CORE_ENTERED);
    cr_expect_eq(try_enter(0, 7, 10 * SLICE), CORE_LATER, "nobody takes the core from it");
    try_leave(1);
    cr_expect_eq(try_enter(0, 7, 10 * SLICE + 1), CORE_ENTERED);
}

// Two CPUs with a domain each that both always want to run: never both inside, and both have their
// turns.
Test(kernel_core, two_domains_take_turns) {
    bool is_in[2] = {false, false};
    unsigned turns[2] = {0, 0};
    uint64_t state = 88172645463325252ULL;
    for (uint64_t now = 0; now < 1000 * SLICE; now += 1 + host_random(&state) % 30) {
        uint32_t cpu = (uint32_t)(host_random(&state) & 1);
        bool was_in = is_in[cpu];
        is_in[cpu] = try_enter(cpu, 7 + cpu, now) == CORE_ENTERED;
        cr_assert_not(is_in[0] && is_in[1]);
        turns[cpu] += is_in[cpu] && !was_in;
    }
    cr_expect_geq(turns[0], 100, "%u %u", turns[0], turns[1]);
    cr_expect_geq(turns[1], 100);
}

// What a barrier stands between: cpu->domain is what it was at this CPU's last one.
static void have_barrier(uint32_t cpu, uint32_t domain) {
    host_cpu(cpu)->domain = domain;
}

Test(kernel_core, each_cpu_of_a_core_that_changed_domains_has_a_barrier_to_come) {
    try_enter(0, 7, 0);
    have_barrier(0, 7);
    try_enter(1, 7, 0);
    have_barrier(1, 7);
    host_cpu(2)->domain = 7;
    try_leave(0);
    try_leave(1);
    try_enter(0, 7, 1);
    cr_expect_eq(host_cpu(0)->domain, 7, "nobody else was here");
    try_leave(0);
    cr_expect_eq(try_enter(1, 8, 2), CORE_ENTERED);
    cr_expect_neq(host_cpu(1)->domain, 8);
    have_barrier(1, 8);
    try_leave(1);
    // CPU 0 ran nobody but 7 all the time.
    cr_expect_eq(try_enter(0, 7, 3), CORE_ENTERED);
    cr_expect_neq(host_cpu(0)->domain, 7);
    cr_expect_neq(host_cpu(1)->domain, 8, "nor is CPU 1 the same when it comes back");
    cr_expect_eq(host_cpu(2)->domain, 7, "another core");
}

static void expect_evictions(uint32_t cpu, uint32_t count, uint32_t owner) {
    cr_expect_eq(left[cpu].evictions, count, "%u: %u", cpu, left[cpu].evictions);
    cr_expect_eq(left[cpu].emptied, count);
    cr_expect(count == 0 || (left[cpu].owner == owner && left[cpu].is_inside), "%u", cpu);
}

Test(kernel_core, a_vcpu_is_evicted_while_the_core_is_still_its_domains) {
    try_enter(0, 7, 0);
    try_enter(1, 7, 0);
    try_enter(0, 7, 1);
    expect_evictions(0, 0, 0); // more of the same
    try_leave(0);
    expect_evictions(0, 1, 7);
    try_leave(0);
    expect_evictions(0, 1, 7); // it was out
    try_enter(0, 7, 2);
    cr_expect_eq(try_enter(0, 8, 2), CORE_LATER, "CPU 1 is inside");
    expect_evictions(0, 2, 7);
    try_leave(1);
    expect_evictions(1, 1, 7);
    cr_expect_eq(try_enter(0, 8, 3), CORE_ENTERED);
    expect_evictions(0, 2, 7);
    cr_expect_eq(try_enter(0, 9, 4), CORE_ENTERED, "alone inside: from one domain to the next");
    expect_evictions(0, 3, 8);
    cr_expect_eq(try_enter(1, 7, 4 + SLICE), CORE_TELL);
    cr_expect_eq(try_enter(0, 9, 5 + SLICE), CORE_TELL, "promised away: out, though it is its own");
    expect_evictions(0, 4, 9);
}

Test(kernel_core, a_cpu_alone_keeps_what_it_has) {
    host_cpu(0)->sibling = NULL;
    try_enter(0, 7, 0);
    have_barrier(0, 7);
    try_leave(0);
    try_enter(0, 8, 1);
    cr_expect_eq(host_cpu(0)->domain, 7);
    expect_evictions(0, 0, 0);
}
