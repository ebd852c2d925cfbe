// SPDX-License-Identifier: Apache-2.0
// See kernel/budget.h.
#include "kernel/budget.h"

#include "arch/x86.h"
#include "kernel/scheduler.h"
#include "kernel/thread.h"

#define PERIODS_COUNTED 100000 // half an hour of a cap's; more pay off any debt

__extension__ typedef unsigned __int128 wide;

static int64_t get_left(const struct budget *budget) {
    return __atomic_load_n(&budget->left, __ATOMIC_RELAXED);
}

// With the lock: what of the periods since the last look is there to use. A debt is paid off by as
// many as it takes; what was not used is gone.
static void count_up(struct budget *budget, uint64_t now) {
    if (now < budget->end)
        return;
    uint64_t periods = (now - budget->end) / budget->period + 1;
    budget->end += periods * budget->period;
    int64_t amount = (int64_t)__atomic_load_n(&budget->amount, __ATOMIC_RELAXED);
    int64_t added = amount - get_left(budget);
    if (periods <= PERIODS_COUNTED)
        added = MIN(added, (int64_t)periods * amount);
    __atomic_fetch_add(&budget->left, added, __ATOMIC_RELAXED);
}

bool budget_is_left(struct budget *budget, uint64_t now) {
    if (!budget_is_limited(budget) || get_left(budget) > 0)
        return true;
    lock_take(&budget->lock);
    count_up(budget, now);
    lock_drop(&budget->lock);
    return get_left(budget) > 0;
}

bool budget_park(struct budget *budget, struct thread *thread, uint64_t now) {
    lock_take(&budget->lock);
    count_up(budget, now);
    bool is_out = get_left(budget) <= 0;
    if (is_out)
        list_push_last(&budget->parked, &thread->link);
    lock_drop(&budget->lock);
    return is_out;
}

void budget_charge(struct budget *budget, uint64_t ticks) {
    if (budget_is_limited(budget))
        __atomic_fetch_sub(&budget->left, (int64_t)ticks, __ATOMIC_RELAXED);
}

void budget_arm(struct budget *budget) {
    if (__atomic_exchange_n(&budget->is_armed, 1, __ATOMIC_ACQUIRE) == 0)
        timer_arm(&budget->refill, __atomic_load_n(&budget->end, __ATOMIC_RELAXED));
}

// A period is over: all that were parked go on, or wait for the next one.
static void refill(struct timer *timer) {
    struct budget *budget = CONTAINER_OF(timer, struct budget, refill);
    struct list back;
    list_init(&back);
    __atomic_store_n(&budget->is_armed, 0, __ATOMIC_RELEASE);
    lock_take(&budget->lock);
    count_up(budget, x86_rdtsc());
    bool is_parked = !list_is_empty(&budget->parked);
    if (get_left(budget) > 0 || !budget_is_limited(budget))
        list_move_all(&back, &budget->parked);
    lock_drop(&budget->lock);
    if (is_parked && list_is_empty(&back))
        budget_arm(budget);
    for (struct link *link; (link = list_first(&back)) != NULL;) {
        link_remove(link);
        scheduler_unpark(CONTAINER_OF(link, struct thread, link));
    }
}

void budget_init(struct budget *budget, uint64_t amount, uint64_t period, uint64_t end) {
    *budget = (struct budget){.amount = amount, .period = period, .end = end};
    lock_init(&budget->lock, LOCK_GROUP);
    list_init(&budget->parked);
    budget->refill.run = refill;
}

void budget_destroy(struct budget *budget) {
    timer_cancel(&budget->refill);
    timer_cancel(&budget->refill); // the first may have met refill() before it armed again
}

// ---- of one thread ------------------------------------------------------------------------------

static void begin_period(struct budget *budget, uint64_t begin) {
    lock_take(&budget->lock);
    budget->end = begin + budget->period;
    budget->left = MIN(budget->left, 0) + (int64_t)budget->amount;
    lock_drop(&budget->lock);
}

// Would what is left, used before the deadline, be more than its share?
static bool is_ahead(const struct budget *budget, uint64_t now) {
    return budget->left > 0 && (wide)(uint64_t)budget->left * budget->period >
                                   (wide)(budget->end - now) * budget->amount;
}

void budget_wake(struct budget *budget, uint64_t now) {
    if (now >= budget->end || is_ahead(budget, now))
        begin_period(budget, now);
}

bool budget_miss(struct budget *budget, uint64_t begin, uint64_t now) {
    if (budget->left <= 0 || now < budget->end)
        return false;
    begin_period(budget, begin);
    return true;
}
