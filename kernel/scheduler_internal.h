// SPDX-License-Identifier: Apache-2.0
// What kernel/scheduler.c (turns and switches) and kernel/balance.c (where) share.
#pragma once

#include "kernel/runqueue.h"
#include "kernel/scheduler.h"

struct scheduler {
    struct spinlock lock;
    struct runqueue queue;   // [lock]
    struct thread *running;  // [lock]
    uint64_t running_load;   // its share; 0: idle [a]
    struct thread *previous; // whose stack was left last
    struct thread *dead;     // left the CPU for good: its stack is free after the next switch
    bool is_contended;       // others wait while `running` runs
    uint32_t rotation;       // slices until a thread changes sides
    uint32_t chance;         // a linear congruential generator's state
    uint32_t next_look;      // at which CPU
    uint64_t switches;
    uint64_t born; // TSC
    struct timer slice;
    struct thread idle;
};

extern struct scheduler *schedulers[CPU_COUNT_MAX];

static inline struct scheduler *scheduler_of(const struct cpu *cpu) {
    return schedulers[cpu->index];
}

static inline bool scheduler_is_idle(const struct thread *thread) {
    return thread->process == NULL;
}

// The CPU looks at its queue again.
void scheduler_request(struct cpu *cpu);
// A runnable thread in no queue goes into that of another CPU. With the lock of the one that it
// leaves, which is dropped.
void scheduler_put_on(struct scheduler *s, struct thread *thread, struct cpu *cpu,
                      enum runqueue_place place);

// ---- balance.c ----------------------------------------------------------------------------------

bool balance_is_on_cpu(const struct thread *thread);
void balance_mark_idle(const struct cpu *cpu, bool is_idle_now);
// An idle CPU that the thread's group may use; it is the caller's to give it something to do. NULL:
// none.
struct cpu *balance_find_idle(const struct thread *thread);
// Any, the first from number `from` on.
struct cpu *balance_find_cpu(const struct thread *thread, uint32_t from);
// Where the thread should wait.
struct cpu *balance_choose_cpu(const struct thread *thread);
// At the end of a slice: to a CPU with less load.
void balance_give_away(struct scheduler *s, struct cpu *self);
// True: a thread that waited elsewhere is in our queue now.
bool balance_steal(struct cpu *self);
