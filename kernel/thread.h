// SPDX-License-Identifier: Apache-2.0
// Threads of ring 3: their life, blocking and waking. Who of them runs where and when is
// kernel/scheduler.h's.
//
// Blocking is a loop around a condition: `while (!condition) thread_block();`, and whoever makes
// the condition true calls thread_wake: a wake that comes first is not lost. A thread may come back
// from blocking, yielding or being preempted on another CPU.
//
// A thread ends at its way out of the kernel (trap_before_user), never inside it: whoever waits in
// a loop looks at thread_is_doomed.
//
// Locks: the queue of thread->cpu has one (rank LOCK_SCHEDULER) that protects [q]; [a] is atomic.
#pragma once

#include "arch/cpu.h"
#include "kernel/budget.h"
#include "kernel/group.h"
#include "kernel/process.h"
#include "kernel/timer.h"
#include "lib/heap.h"
#include "lib/list.h"

enum thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_BLOCKED, THREAD_DEAD };
enum thread_class { THREAD_SHARED, THREAD_REALTIME, THREAD_DEDICATED };

// Lies at the top of its own kernel stack, just below the word that names the CPU.
struct thread {
    uint64_t rsp;                // saved while it does not run
    uint64_t stack_top;          // of the stack's memory, for kspace_stack_free
    struct process *process;     // referenced; NULL: an idle thread
    struct group *group;         // the process's
    struct cpu *cpu;             // whose queue it belongs to [q, a]
    struct thread *process_next; // process->lock
    uint32_t state;              // enum thread_state [q]
    uint32_t class;              // enum thread_class, const
    bool has_wake;               // woken while it was not blocked [q]
    bool is_queued;              // it is in its CPU's queue [q]
    bool is_woken;               // it has not run for a slice since it was woken [q]
    uint32_t is_on_cpu;          // somebody still stands on its stack [a]
    struct object *dying;        // what it has to destroy, see kernel/object.h
    bool is_destroying;          // it is about that
    struct timer timeout;
    struct vcpu *vcpu; // that this thread runs; referenced; written with process->lock
    uint64_t run_handle, run_closings; // by which it ran it last, and the process's by then

    // Scheduling, see kernel/runqueue.h [q]
    struct link link;             // in a list of the queue, or the budget's of parked ones
    struct heap_node deadline;    // real-time: in the queue's heap
    struct budget *budget;        // its group's cap, or its own
    struct budget own;            // of a pinned thread: dedicated ones have no limit
    struct group_share own_share; // its quantum, beside what its group has here
    uint64_t share;               // of its group's weight
    uint64_t since;               // TSC when it began to wait, or to run

    // Accounting: TSC ticks and counts [q]
    uint64_t run, wait, throttled;
    uint64_t switches, migrations, deadline_misses;
};

static inline struct thread *thread_current(void) {
    return cpu_current()->current;
}

// Starts a thread in the process with these registers, on `cpu` or ABI_CPU_ANY. 0 or an enum
// abi_error.
int thread_create(struct process *process, uint64_t entry, uint64_t stack, uint64_t argument,
                  uint32_t cpu);
_Noreturn void thread_exit(void);

// The current thread waits for a thread_wake; returns at once when one came since the last call.
void thread_block(void);
// Any context, any CPU.
void thread_wake(struct thread *thread);
// Which vCPU it runs, for thread_interrupt.
void thread_set_vcpu(struct thread *thread, struct vcpu *vcpu);
// Makes it leave whatever wait it is in, as its process is ending. With process->lock held.
void thread_interrupt(struct thread *thread);
bool thread_is_doomed(const struct thread *thread);
void thread_yield(void);
// A preemption point of something long: interrupts that wait are taken, and others run if it is
// their turn. The caller holds no lock, nor anything of this CPU's; before there are threads it
// does nothing.
void thread_preempt(void);
// One that waits for this very CPU goes next. False: it does not wait, or not here.
bool thread_yield_to(struct thread *thread);
// Adds what it used.
void thread_add_usage(const struct thread *thread, struct abi_usage *usage);
