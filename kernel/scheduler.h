// SPDX-License-Identifier: Apache-2.0
// The scheduler: a run queue for each CPU (kernel/runqueue.h says who is next), which thread runs
// where, and the switch from one to another. Tickless: the timer is set only where a slice, a
// budget or a cap can end.
//
// Where. A pinned thread (real-time, dedicated) stays on its CPU. A shared one wakes on the CPU
// where it ran last when that is idle, else on an idle one, else where it was; a CPU that has
// nothing to do takes a waiting thread from another; at the end of a slice a CPU with more load
// than another gives a waiting thread away where that makes the two more equal, and now and then
// where it changes sides, so that three equal threads on two CPUs all get the same.
//
// A thread that was switched out may still stand on its stack: is_on_cpu says so until the switch
// is over, and until then it stays with its CPU.
//
// Locks: a CPU's (rank LOCK_SCHEDULER) protects its queue and the [q] fields of its threads. Never
// two of them at once: a thread on its way from one queue to another is in neither, and runnable.
#pragma once

#include "arch/cpu.h"
#include "include/abi.h"

// Boot: gives this CPU its idle thread; the caller becomes it. Then: runs threads, idles, for ever.
void scheduler_init_cpu(struct cpu *cpu);
_Noreturn void scheduler_run(void);

// Whether this CPU should run another thread before it goes on (thread_yield); cheap.
static inline bool scheduler_is_wanted(void) {
    return __atomic_load_n(&cpu_current()->is_wanted, __ATOMIC_RELAXED) != 0;
}
// What groups may use has changed: every CPU looks whether its threads may stay.
void scheduler_recheck(void);

// For threads that begin and end. start: one that is blocked and has no CPU yet. end_switch: what a
// thread does before its first instruction. exit: the current one never runs again; its stack is
// freed by the next.
void scheduler_start(struct thread *thread);
void scheduler_end_switch(void);
_Noreturn void scheduler_exit(void);
// The current thread's process is about to go: on to the kernel's own tables.
void scheduler_leave_space(void);
// A thread that waited for its group's budget (kernel/group.c).
void scheduler_unpark(struct thread *thread);

void scheduler_read_cpu(const struct cpu *cpu, struct abi_cpu_info *info);
