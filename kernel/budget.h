// SPDX-License-Identifier: Apache-2.0
// A budget: so many ticks in each period. One notion for both that have it: a group's cap, which
// all its shared threads use up together, and the reservation of one real-time thread.
//
// What is overrun is missing in the next period, so a budget holds over time; what is left over is
// gone. A thread whose budget has nothing left is parked: the refill timer brings all that wait for
// it back when the period ends. Periods that nobody waited for are counted up when somebody looks,
// so that who is idle costs nothing.
//
// A real-time thread's period ends at its deadline. When it wakes it goes on with what is left of
// both, or begins a new period where that would give it more than its share (Abeni, Buttazzo:
// "Integrating Multimedia Applications in Hard Real-Time Systems", 1998: constant-bandwidth
// server).
//
// Locks: budget->lock (rank LOCK_GROUP) protects [b]. [a] is atomic.
#pragma once

#include "kernel/lock.h"
#include "kernel/timer.h"
#include "lib/list.h"

struct thread;

struct budget {
    struct spinlock lock;
    uint64_t amount;    // ticks in each period; 0: no limit [a]
    uint64_t period;    // ticks, const
    int64_t left;       // of this period's; below 0: overrun [a]
    uint64_t end;       // TSC, of this period [b]
    struct list parked; // threads, by thread->link [b]
    uint32_t is_armed;  // the timer is, or somebody is about to arm it [a]
    struct timer refill;
};

// The first period has ended at `end`, with nothing left.
void budget_init(struct budget *budget, uint64_t amount, uint64_t period, uint64_t end);
// Afterwards nobody comes back. Nobody parks here any more.
void budget_destroy(struct budget *budget);

static inline bool budget_is_limited(const struct budget *budget) {
    return __atomic_load_n(&budget->amount, __ATOMIC_RELAXED) != 0;
}

// True: whoever has it may run now. Else the caller parks its thread: budget_park says whether it
// did, false when the next period has begun meanwhile.
bool budget_is_left(struct budget *budget, uint64_t now);
bool budget_park(struct budget *budget, struct thread *thread, uint64_t now);
// After budget_park, when no lock is held.
void budget_arm(struct budget *budget);
void budget_charge(struct budget *budget, uint64_t ticks);

// Of one thread. wake: it was blocked. miss: it ran from `begin` to `now`. True: its deadline
// passed before it had all of its budget, and a new period began.
void budget_wake(struct budget *budget, uint64_t now);
bool budget_miss(struct budget *budget, uint64_t begin, uint64_t now);
