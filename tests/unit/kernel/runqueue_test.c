// SPDX-License-Identifier: Apache-2.0
// kernel/runqueue.c in a simulated CPU: a clock that jumps from decision to decision. Shares follow
// the weights, sleepers come through, nobody starves, real-time threads get what admission
// promised.
#include "tests/unit/kernel/support.h"

#include "kernel/group.h"
#include "kernel/runqueue.h"

#include <criterion/criterion.h>

#define SLICE   1000u
#define THREADS 64u

static struct runqueue queue;
static struct group groups[THREADS];
static struct group_share shares[THREADS][GROUP_SHARES];
static struct thread threads[THREADS];
static struct budget budgets[THREADS];
static uint64_t now;

static void set_up(void) {
    host_init_all();
    runqueue_init(&queue, 3);
    queue.slice = SLICE;
    for (unsigned i = 0; i < THREADS; i++)
        groups[i].shares[0] = shares[i];
    now = 0;
}

TestSuite(kernel_runqueue, .init = set_up);

// Here as below the scheduler's part is played. False: its budget is used up.
static bool put(struct thread *thread, enum runqueue_place place) {
    if (thread->class == THREAD_REALTIME && place == RUNQUEUE_WOKEN)
        budget_wake(thread->budget, now);
    if (!budget_is_left(thread->budget, now))
        return false;
    runqueue_put(&queue, thread, place);
    return true;
}

static void charge(struct thread *thread, uint64_t ticks, bool is_contended) {
    thread->run += ticks;
    if (thread->class == THREAD_REALTIME)
        thread->deadline_misses += budget_miss(thread->budget, now - ticks, now);
    else if (is_contended)
        runqueue_charge(&queue, thread, ticks);
    budget_charge(thread->budget, ticks);
}

static struct thread *add(unsigned i, struct group *group, uint32_t weight) {
    group->weight = weight;
    threads[i].group = group;
    threads[i].budget = &group->cap;
    runqueue_count(&threads[i], true);
    cr_assert(put(&threads[i], RUNQUEUE_BEHIND));
    return &threads[i];
}

static struct thread *add_realtime(unsigned i, uint64_t budget, uint64_t period) {
    budget_init(&budgets[i], budget, period, 0);
    threads[i].class = THREAD_REALTIME;
    threads[i].group = &groups[i];
    threads[i].budget = &budgets[i];
    cr_assert(put(&threads[i], RUNQUEUE_WOKEN));
    return &threads[i];
}

static uint64_t get_slice(const struct thread *thread) {
    return thread->class == THREAD_REALTIME ? (uint64_t)thread->budget->left
                                            : runqueue_slice(&queue, thread);
}

// Lets the next thread run for what it may, `late` ticks longer. Returns it; it is out of the
// queue.
static struct thread *step(uint64_t late) {
    struct thread *thread = runqueue_take(&queue);
    bool is_contended = queue.count > 0;
    uint64_t ticks = get_slice(thread) + late;
    now += ticks;
    charge(thread, ticks, is_contended);
    return thread;
}

// All are hogs.
static void run_until(uint64_t end, uint64_t late) {
    while (now < end)
        cr_assert(put(step(late), RUNQUEUE_BEHIND));
}

// |part / whole - expected| in permil.
static uint64_t error_permil(uint64_t part, uint64_t whole, uint64_t expected_permil) {
    uint64_t permil = part * 1000 / whole;
    return permil > expected_permil ? permil - expected_permil : expected_permil - permil;
}

Test(kernel_runqueue, hogs_share_by_weight) {
    const struct thread *one = add(0, &groups[0], 100), *two = add(1, &groups[1], 200);
    const struct thread *four = add(2, &groups[2], 400);
    run_until(2000 * SLICE, 0);
    cr_expect_leq(error_permil(one->run, now, 1000 / 7), 3);
    cr_expect_leq(error_permil(two->run, now, 2000 / 7), 3);
    cr_expect_leq(error_permil(four->run, now, 4000 / 7), 3);
}

Test(kernel_runqueue, overruns_do_not_change_the_shares) {
    const struct thread *one = add(0, &groups[0], 100), *four = add(1, &groups[1], 400);
    run_until(2000 * SLICE, SLICE / 3);
    cr_expect_leq(error_permil(one->run, now, 200), 4);
    cr_expect_leq(error_permil(four->run, now, 800), 4);
}

Test(kernel_runqueue, smallest_and_largest_weight_both_run) {
    const struct thread *small = add(0, &groups[0], 1), *large = add(1, &groups[1], 10000);
    run_until(100000 * SLICE, 0);
    cr_expect_gt(small->run, 0);
    // The least quantum is a hundredth of a slice: exactly this weight's.
    cr_expect_leq(error_permil(large->run, now, 999), 1);
}

Test(kernel_runqueue, threads_of_a_group_share_its_weight) {
    for (unsigned i = 0; i < 3; i++)
        add(i, &groups[0], 100);
    const struct thread *other = add(3, &groups[1], 100);
    run_until(3000 * SLICE, 0);
    cr_expect_leq(error_permil(other->run, now, 500), 5);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_leq(error_permil(threads[i].run, now, 166), 5);
}

Test(kernel_runqueue, a_sleeper_waits_for_nobody_but_earlier_sleepers) {
    for (unsigned i = 0; i < 40; i++)
        add(i, &groups[i], 100);
    struct thread *sleeper = add(50, &groups[50], 100);
    for (struct thread *thread = step(0); thread != sleeper; thread = step(0))
        put(thread, RUNQUEUE_BEHIND);
    runqueue_count(sleeper, false);
    for (unsigned round = 0; round < 500; round++) {
        cr_assert(put(step(0), RUNQUEUE_BEHIND));
        runqueue_count(sleeper, true);
        cr_assert(put(sleeper, RUNQUEUE_WOKEN));
        if (sleeper->own_share.credit <= 0)
            continue; // it has used its share of the round: below
        cr_assert(sleeper->is_woken);
        cr_assert_eq(runqueue_take(&queue), sleeper);
        now += SLICE / 100;
        charge(sleeper, SLICE / 100, true);
        runqueue_count(sleeper, false);
    }
    cr_expect_gt(sleeper->own_share.credit, 0,
                 "one hundredth of a slice at each of 40 turns is below its share");
}

Test(kernel_runqueue, waking_often_gives_no_more_than_the_share) {
    add(0, &groups[0], 100);
    struct thread *restless = add(1, &groups[1], 100);
    while (now < 2000 * SLICE) {
        struct thread *thread = runqueue_take(&queue);
        uint64_t slice = runqueue_slice(&queue, thread);
        uint64_t ticks = thread == restless ? MIN(slice, SLICE / 10) : slice;
        now += ticks;
        charge(thread, ticks, true);
        bool is_restless = thread == restless;
        cr_assert(put(thread, is_restless ? RUNQUEUE_WOKEN : RUNQUEUE_BEHIND));
    }
    cr_expect_leq(error_permil(restless->run, now, 500), 5);
}

Test(kernel_runqueue, a_woken_thread_does_not_preempt_another) {
    struct thread *a = add(0, &groups[0], 100), *b = add(1, &groups[1], 100);
    runqueue_remove(&queue, a);
    runqueue_remove(&queue, b);
    put(a, RUNQUEUE_WOKEN);
    put(b, RUNQUEUE_WOKEN);
    cr_expect_eq(runqueue_take(&queue), a);
    cr_expect_not(runqueue_preempts(&queue, b, a));
    put(a, RUNQUEUE_BEHIND);
    cr_expect(runqueue_preempts(&queue, b, a), "but one that had its turn");
}

// The first has used up the group's quantum, the others have slept until now.
static void use_up(unsigned count) {
    struct thread *first = add(0, &groups[0], 100);
    add(9, &groups[9], 100);
    cr_assert_eq(step(0), first);
    runqueue_count(first, false);
    for (unsigned i = 1; i <= count; i++) {
        threads[i].group = &groups[0];
        threads[i].budget = &groups[0].cap;
        runqueue_count(&threads[i], true);
        cr_assert(put(&threads[i], RUNQUEUE_WOKEN));
    }
}

Test(kernel_runqueue, who_wakes_borrows_one_quantum_from_its_groups_next) {
    use_up(2);
    cr_expect_eq(step(0), &threads[1]);
    cr_expect_eq(group_share(&groups[0], 3)->credit, -(int64_t)SLICE);
    cr_expect_eq(step(0), &threads[9], "the group has borrowed what it may");
}

Test(kernel_runqueue, who_was_passed_over_goes_first_in_the_next_round) {
    use_up(2);
    put(step(0), RUNQUEUE_BEHIND);
    cr_expect_not(runqueue_preempts(&queue, &threads[2], &threads[9]));
    put(step(0), RUNQUEUE_BEHIND);
    cr_expect_eq(runqueue_take(&queue), &threads[2]);
    cr_expect(threads[2].is_woken, "nobody who wakes preempts it");
}

// What its group has left is for the shared ones of it.
Test(kernel_runqueue, who_is_not_shared_does_not_ask_its_group) {
    struct thread *thread = add(0, &groups[0], 100);
    thread->class = THREAD_DEDICATED;
    thread->own_share.credit = 100;
    group_share(&groups[0], 3)->credit = -5;
    runqueue_charge(&queue, thread, 30);
    cr_expect_eq(thread->own_share.credit, 70);
}

Test(kernel_runqueue, a_group_in_debt_is_served_when_it_is_alone) {
    use_up(1);
    group_share(&groups[0], 3)->credit = -20 * (int64_t)SLICE;
    runqueue_remove(&queue, &threads[9]);
    cr_expect_eq(runqueue_take(&queue), &threads[1]);
    cr_expect_null(runqueue_take(&queue));
}

Test(kernel_runqueue, who_is_let_go_first_goes_first) {
    for (unsigned i = 0; i < 5; i++)
        add(i, &groups[i], 100);
    runqueue_remove(&queue, &threads[3]);
    put(&threads[3], RUNQUEUE_FIRST);
    cr_expect_eq(runqueue_take(&queue), &threads[3]);
}

Test(kernel_runqueue, running_alone_uses_nothing_up) {
    struct thread *thread = add(0, &groups[0], 100);
    for (unsigned i = 0; i < 100; i++)
        put(step(1000 * SLICE), RUNQUEUE_BEHIND);
    cr_expect_gt(thread->own_share.credit, 0);
}

// Who has others work for him runs so much less.
Test(kernel_runqueue, what_was_charged_comes_out_of_the_share) {
    const struct thread *one = add(0, &groups[0], 100), *two = add(1, &groups[1], 100);
    uint64_t charged = 0;
    for (unsigned i = 0; now < 2000 * SLICE; i++) {
        if (i % 4 == 0) {
            groups[1].owed += SLICE / 2;
            charged += SLICE / 2;
        }
        cr_assert(put(step(0), RUNQUEUE_BEHIND));
    }
    cr_expect_gt(charged, now / 10);
    cr_expect_leq(error_permil(two->run + charged, one->run, 1000), 5);
    cr_expect_leq(groups[1].owed, SLICE);
}

// Nobody looks for a thread that may run in a thousand rounds.
Test(kernel_runqueue, what_is_owed_is_paid_in_small_parts) {
    for (unsigned i = 0; i < 40; i++)
        add(i, &groups[0], 1);
    for (unsigned i = 0; i < 100; i++) {
        groups[0].owed = 1000 * SLICE;
        uint64_t round = queue.round;
        cr_assert(put(step(0), RUNQUEUE_BEHIND));
        cr_assert_leq(queue.round - round, 4);
    }
}

// A thread that wakes for a moment elsewhere does not pay for one that computes here.
Test(kernel_runqueue, a_short_run_pays_little) {
    struct thread *thread = add(0, &groups[0], 100);
    add(1, &groups[1], 100);
    cr_assert_eq(runqueue_take(&queue), thread);
    groups[0].owed = 50 * SLICE;
    runqueue_charge(&queue, thread, 10);
    cr_expect_eq(groups[0].owed, 50 * SLICE - 10);
    cr_expect_eq(group_share(&groups[0], 3)->credit, SLICE - 20);
}

Test(kernel_runqueue, load_is_the_sum_of_what_waits) {
    cr_expect_eq(queue.load, 0);
    add(0, &groups[0], 100);
    add(1, &groups[1], 300);
    cr_expect_eq(queue.load, 4000);
    struct thread *thread = runqueue_take(&queue);
    cr_expect_eq(queue.load + thread->share, 4000);
    runqueue_remove(&queue, thread == &threads[0] ? &threads[1] : &threads[0]);
    cr_expect(queue.load == 0 && queue.count == 0);
}

// Where all others wait for the core it is taken out of its turn.
Test(kernel_runqueue, in_debt_it_runs_for_a_slice_not_for_a_tick) {
    struct thread *thread = add(0, &groups[0], 100);
    runqueue_remove(&queue, thread);
    charge(thread, 3 * SLICE, true);
    cr_assert_lt(thread->own_share.credit, 0);
    cr_expect_eq(runqueue_slice(&queue, thread), SLICE);
    int64_t credit = thread->own_share.credit;
    charge(thread, SLICE, true);
    cr_expect_eq(thread->own_share.credit, credit, "nobody else could have run");
}

// ---- real-time ----------------------------------------------------------------------------------

// Two with 90 % together beside a hog: each job of full budget is done by its deadline.
Test(kernel_runqueue, realtime_meets_every_deadline_beside_hogs) {
    const uint64_t period[2] = {10 * SLICE, 35 * SLICE}, budget[2] = {4 * SLICE, 17 * SLICE};
    uint64_t release[2] = {0, 0}, done[2] = {0, 0};
    for (unsigned i = 0; i < 2; i++)
        add_realtime(i, budget[i], period[i]);
    add(5, &groups[5], 10000);
    while (now < 20000 * SLICE) {
        for (unsigned i = 0; i < 2; i++) // a new job at each period's begin
            if (done[i] == budget[i] && now >= release[i] + period[i]) {
                release[i] += period[i];
                done[i] = 0;
                cr_assert(put(&threads[i], RUNQUEUE_WOKEN));
            }
        struct thread *thread = runqueue_take(&queue);
        uint64_t ticks = MIN(get_slice(thread), SLICE / 4);
        now += ticks;
        charge(thread, ticks, true);
        if (thread->class == THREAD_SHARED) {
            put(thread, RUNQUEUE_BEHIND);
            continue;
        }
        unsigned i = (unsigned)(thread - threads);
        done[i] += ticks;
        cr_assert_leq(now, release[i] + period[i] + SLICE / 4, "job of %u late", i);
        if (done[i] < budget[i])
            cr_assert(put(thread, RUNQUEUE_BEHIND));
    }
    cr_expect_eq(threads[0].deadline_misses + threads[1].deadline_misses, 0);
    cr_expect_gt(threads[5].run, 0);
}

Test(kernel_runqueue, realtime_gets_no_more_than_its_budget) {
    struct thread *thread = add_realtime(0, 3 * SLICE, 10 * SLICE);
    add(1, &groups[1], 100);
    bool is_out = false;
    while (now < 10000 * SLICE) {
        if (is_out)
            is_out = !put(thread, RUNQUEUE_BEHIND);
        struct thread *next = step(0);
        is_out = !put(next, RUNQUEUE_BEHIND) || is_out;
    }
    cr_expect_leq(error_permil(thread->run, now, 300), 5);
    cr_expect_eq(thread->deadline_misses, 0);
}

Test(kernel_runqueue, realtime_that_slept_on_its_budget_begins_anew) {
    struct thread *thread = add_realtime(0, 2 * SLICE, 10 * SLICE);
    cr_expect_eq(runqueue_take(&queue), thread);
    // At 9 of 10 with all of it left: used now it would be 2 in 1.
    now = 9 * SLICE;
    cr_assert(put(thread, RUNQUEUE_WOKEN));
    cr_expect_eq(thread->deadline.key, 19 * SLICE);
    cr_expect_eq(thread->budget->left, 2 * SLICE);
}

Test(kernel_runqueue, realtime_that_came_too_late_is_counted) {
    struct thread *thread = add_realtime(0, 2 * SLICE, 10 * SLICE);
    cr_expect_eq(runqueue_take(&queue), thread);
    now = 11 * SLICE;
    charge(thread, SLICE, true);
    cr_expect_eq(thread->deadline_misses, 1);
}

Test(kernel_runqueue, earliest_deadline_first) {
    add_realtime(0, SLICE, 30 * SLICE);
    add_realtime(1, SLICE, 10 * SLICE);
    add_realtime(2, SLICE, 20 * SLICE);
    cr_expect_eq(runqueue_take(&queue), &threads[1]);
    cr_expect_eq(runqueue_take(&queue), &threads[2]);
    cr_expect(runqueue_preempts(&queue, &threads[2], &threads[0]) &&
              !runqueue_preempts(&queue, &threads[0], &threads[2]));
}

// ---- moving -------------------------------------------------------------------------------------

static bool is_the_one(const struct thread *thread, const void *opaque) {
    return thread == opaque;
}

Test(kernel_runqueue, only_shared_threads_move) {
    add_realtime(0, SLICE, 10 * SLICE);
    struct thread *shared = add(1, &groups[1], 100);
    cr_expect_null(runqueue_find_movable(&queue, is_the_one, &threads[0]));
    cr_expect_eq(runqueue_find_movable(&queue, is_the_one, shared), shared);
}
