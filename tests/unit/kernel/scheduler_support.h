// SPDX-License-Identifier: Apache-2.0
// A machine of paper for kernel/scheduler.c and what lies below it: CPUs that share one virtual
// clock, each with a local timer and interrupts that come late by chance. Threads are jobs: each
// has a function that says how long it runs next, and what it does then.
//
// A CPU is a coroutine that runs the real kernel code and is put aside at any lock, clock read,
// interrupt sent and switch of stacks, so that what several CPUs do in the kernel is interleaved;
// which one goes on is drawn from a seed. There is one kernel stack a CPU: switch_stack does
// nothing, which is right because nothing but scheduler_end_switch stands behind it, and that is
// the same for all threads.
//
// Invariants are checked at every step (scheduler_support_check.c). The first one that is broken
// ends the test, with the seed.
#pragma once

#include "tests/unit/kernel/host.h"

#include "kernel/group.h"
#include "kernel/quota.h"
#include "kernel/thread.h"

#include <setjmp.h>

#define MACHINE_MS     100000UL // TSC ticks
#define MACHINE_SLICE  (5 * MACHINE_MS)
#define MACHINE_PERIOD (20 * MACHINE_MS) // of a cap
#define MACHINE_CPUS   300u              // more than a byte, or four words of a mask, can name
#define JOBS_MAX       304u
#define FOREVER        (1ULL << 60)

struct job {
    struct thread *thread;   // NULL: not yet, or no more
    struct process *process; // of its own, or shared with others
    // What happens when it has run for what it said. Returns for how long it runs next. Kernel
    // context; it may wake others, and set one of the wishes below.
    uint64_t (*next)(struct job *job);
    bool is_starting;
    bool is_waiting, wants_yield, wants_exit;
    uint32_t preempts;     // preemption points that it passes in the kernel, with 50 us before each
    uint64_t due;          // waiting: until this time at the latest
    uint32_t mail;         // waiting: until there is some
    uint64_t left;         // of what it runs
    uint64_t done;         // ticks in ring 3
    uint64_t step;         // for next()
    uint64_t a, b;         // for next()
    struct job *partner;   // of the same process; itself at first
    const char *complaint; // what next() found wrong
};

struct processor {
    struct cpu cpu;
    uint64_t entry_stack;
    enum { PROCESSOR_KERNEL, PROCESSOR_USER, PROCESSOR_HALTED } mode;
    uint64_t user_since, user_until;
    uint64_t kernel_since;       // interrupts are off
    uint64_t deadline, timer_at; // what is in the local timer, 0: nothing; when its interrupt comes
    uint64_t wake_at;            // when the interrupt of another CPU comes; 0: none
    uint64_t stalled_until;      // by the firmware
    uint64_t counted_since;      // a slice ago at most
    uint32_t interrupts;         // interrupts since then
    const struct spinlock *spins_on;
    const void *monitored;  // by MONITOR; NULL: nothing
    uint32_t loaded_domain; // whose vCPU is in its registers; 0: nobody's
    uint32_t stored_domain; // whose bytes its buffers may hold; 0: nobody's
    uint64_t unfair_since;  // it idles while somebody waits who could run here; 0: it does not
    bool has_room;          // for the stack that it frees next
    const struct thread *makes_room; // who paid for that
    uint64_t rsp;
    uint8_t *stack;
    jmp_buf exited;
};

struct machine {
    uint32_t cpu_count;
    uint64_t seed;     // as given
    uint64_t now;      // TSC
    uint64_t lateness; // of timers and interrupts, at most
    uint32_t stalls;   // one of so many steps in the kernel takes up to a millisecond; 0: none
    uint64_t patience; // rounds of all threads, as on one CPU, that a runnable one waits at most
    uint32_t interrupts_max; // of a CPU in a slice
    uint64_t idle_max;       // a CPU idles no longer beside one who waits
    bool shares_dedicated;   // others may use dedicated CPUs, too
    bool changes_domains;    // of groups that run: sibling CPUs learn of it by an interrupt
    // The worst that was seen.
    uint64_t worst_wait;       // permil of a round
    uint64_t worst_idle;       // ticks
    uint32_t worst_interrupts; // of one CPU in a slice
    uint64_t steps;
    uint64_t core_changes; // from one domain to another, of all cores
    uint32_t stacks;       // of threads, in use
    uint32_t groups;       // alive
    uint32_t released;     // vCPUs, by threads that ended
    struct quota quota;    // pays for all of them
    struct processor processor[MACHINE_CPUS];
    struct processor *inside; // whose code this is; NULL: the test's
    struct job jobs[JOBS_MAX];
    struct process *processes[JOBS_MAX]; // that have a handle
    uint32_t job_count, process_count;
};
extern struct machine machine;

void machine_start(uint32_t cpu_count, bool has_siblings, uint64_t seed);
void machine_run(uint64_t ticks);
// All jobs leave; nothing may be left of them.
void machine_end(void);
uint64_t machine_random(uint64_t below);

struct group *machine_add_group(const struct abi_group *values);
void machine_write_group(struct group *group, const struct abi_group *values);
// A process of that group; the group goes with it, as the handle of it is closed.
struct process *machine_add_process(struct group *group);
// A new thread of the process, on `cpu` or ABI_CPU_ANY.
struct job *machine_add_job(struct process *process, uint64_t (*next)(struct job *), uint32_t cpu);
// It ends, and its handle is closed.
void machine_kill(struct process *process);

// Around a call of the kernel. The test's own come from CPU 0, when no CPU is in the kernel. A
// job's are its CPU's.
void machine_begin_call(void);
void machine_end_call(void);

// For next().
uint64_t job_sleep(struct job *job, uint64_t ticks); // or until mail comes
uint64_t job_wait(struct job *job);                  // for mail
void job_post(struct job *job);                      // mail to its partner, of the same process
void job_let_go_first(struct job *job);              // the partner

struct job *job_of(const struct thread *thread);
// TSC ticks that the thread has run, the current turn included.
uint64_t job_ran(const struct job *job);

// The simulator's side of the checks. The first complaint ends the run.
void machine_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void machine_check(void);
void machine_reset_scheduler(void);
