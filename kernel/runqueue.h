// SPDX-License-Identifier: Apache-2.0
// Who runs next on one CPU. Pure: it knows no processor and no lock; times come in, threads come
// out. Everything costs the same however many threads there are (the heap of deadlines: its
// logarithm).
//
// Real-time threads first, earliest deadline first: the end of their budgets' periods. Whose budget
// is used up is not put in (kernel/budget.h).
//
// Shared threads in rounds (deficit round robin: Shreedhar, Varghese: "Efficient Fair Queueing
// using Deficit Round Robin", 1995): in each round each may run for its quantum, which is its part
// of its group's weight, in slices; what it overruns is missing in the next round. Whoever wakes
// with something left of its quantum goes before the others. So a thread that uses less than its
// share waits at most for the slices of those that woke before it, and hogs share by weight
// exactly.
//
// A group has a quantum of its own on each CPU, of its whole weight, from which all that its
// threads run there is taken: those that take turns at being the only one to run, or live for one
// quantum each, get no more than one that stays. Who wakes borrows from the group's next quantum,
// one at most. Whose group has nothing left before it had its turn is deferred: it goes first in
// the next round, so that others of its group cannot keep it waiting for ever.
//
// A dedicated thread is alone on its CPU: it stands in the list of shared ones and is never
// charged.
#pragma once

#include "kernel/thread.h"
#include "lib/heap.h"
#include "lib/list.h"

struct runqueue {
    struct list woken;    // were blocked, and have some of this round's quantum left
    struct list active;   // have some of it left
    struct list expired;  // wait for the next round
    struct list deferred; // the same for their group's sake: they go first then
    struct heap realtime; // by deadline
    // Ticks that a shared thread runs at a time, and the quantum of the default weight.
    uint64_t slice;
    uint64_t round;
    uint64_t load;  // of the shared threads in it: the sum of thread->share
    uint32_t count; // of all threads in it
    uint32_t cpu;   // index in its groups' tables
};

// `slice` is to be set before anybody is taken.
void runqueue_init(struct runqueue *queue, uint32_t cpu);

// A shared thread joins those that want to run, or leaves them: its group's weight is divided among
// them.
void runqueue_count(struct thread *thread, bool is_joining);

enum runqueue_place {
    RUNQUEUE_WOKEN,  // it was blocked
    RUNQUEUE_BEHIND, // it ran, or comes from another CPU
    RUNQUEUE_FIRST,  // somebody lets it go first
};
void runqueue_put(struct runqueue *queue, struct thread *thread, enum runqueue_place place);
void runqueue_remove(struct runqueue *queue, struct thread *thread);
// Takes the next one out; NULL: there is none.
struct thread *runqueue_take(struct runqueue *queue);
// Whether a thread that just came in should run instead of the one that runs.
bool runqueue_preempts(const struct runqueue *queue, const struct thread *thread,
                       const struct thread *running);

// A shared thread ran for so long while others were waiting; alone, it uses up nothing.
void runqueue_charge(const struct runqueue *queue, struct thread *thread, uint64_t ticks);
// How long it may run now, beside others.
uint64_t runqueue_slice(const struct runqueue *queue, const struct thread *thread);

// A thread to move to another CPU, for which `is_movable` says yes; it stays in the queue. Looks at
// the last few only. NULL: none.
struct thread *runqueue_find_movable(struct runqueue *queue,
                                     bool (*is_movable)(const struct thread *, const void *),
                                     const void *opaque);
