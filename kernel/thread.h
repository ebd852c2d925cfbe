// SPDX-License-Identifier: Apache-2.0
// Threads of ring 3 and the scheduler that shares each CPU among its threads.
//
// A thread belongs to one CPU. The runnable ones stand in that CPU's queue, ordered by the CPU time
// they have had (least first); the running one gives way after a slice, or when a woken thread has
// had less. Blocking is a loop around a condition: `while (!condition) thread_block();`, and whoever
// makes the condition true calls thread_wake: a wake that comes first is not lost.
//
// A thread ends at its way out of the kernel (trap_before_user), never inside it: whoever waits in a
// loop looks at thread_is_doomed.
//
// Locks: each CPU's queue has one (rank LOCK_SCHEDULER) that protects [q].
#pragma once

#include "arch/cpu.h"
#include "kernel/lock.h"
#include "kernel/process.h"
#include "kernel/timer.h"

struct vcpu;

enum thread_state { THREAD_RUNNABLE, THREAD_RUNNING, THREAD_BLOCKED, THREAD_DEAD };

// Lies at the top of its own kernel stack, just below the word that names the CPU.
struct thread {
    uint64_t rsp;                // saved while it does not run
    uint64_t stack_top;          // of the stack's memory, for space_stack_free
    struct process *process;     // referenced
    struct cpu *cpu;             // const
    struct thread *next;         // in the queue [q]
    struct thread *process_next; // process->lock
    uint32_t state;              // enum thread_state [q]
    bool has_wake;               // woken while it was not blocked [q]
    uint32_t is_interrupted;     // atomic: leave waits, look at the process
    uint64_t runtime;            // TSC ticks that it ran, never less than its queue's floor [q]
    uint64_t since;              // TSC when it last began to wait for its CPU [q]
    uint64_t wait;               // TSC ticks that it was runnable and did not run [q]
    struct timer timeout;
    struct vcpu *vcpu; // that this thread runs; referenced; written with process->lock
};

static inline struct thread *thread_current(void) {
    return cpu_current()->current;
}

// Boot: gives this CPU its idle thread; the caller becomes it. Then: runs threads, idles, for ever.
void scheduler_init_cpu(struct cpu *cpu);
_Noreturn void scheduler_run(void);

// TSC ticks that it was runnable and another one ran. For the thread itself, while it runs.
static inline uint64_t thread_wait_ticks(const struct thread *thread) {
    return thread->wait;
}

// Starts a thread in the process with these registers. 0 or an enum abi_error.
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
// A thread_wake at that time; ABI_FOREVER: none.
void thread_set_timeout(struct thread *thread, uint64_t deadline);
void thread_clear_timeout(struct thread *thread);

// Whether this CPU should run another thread before it goes on; cheap.
static inline bool scheduler_is_wanted(void) {
    return __atomic_load_n(&cpu_current()->pending, __ATOMIC_RELAXED) != 0;
}
// Does what scheduler_is_wanted asked for.
void scheduler_check(void);
