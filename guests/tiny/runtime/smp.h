// SPDX-License-Identifier: Apache-2.0
// More than one processor: SDM 3A 8.4 "Multiple-Processor (MP) Initialization". A guest starts the
// others once, and then has each of them run functions, with a stack, a TSS and an
// interrupt-enabled idle loop of its own:
//
//     smp_start(cmdline_has("x2apic"));
//     smp_run(2, work);   // on processor 2, beside us
//     smp_join(2);
//
// A processor's number is its APIC ID; numbers go from 0 (who starts the others) to smp_count - 1.
// Where the VM has only one, because the host cannot virtualize real mode, smp_start ends the guest
// with debug-exit SMP_TOO_FEW.
//
// On all processors: page tables, IDT, trap handlers, checks, print. On one at a time: TRY and
// user_run.
#pragma once

#include "lib/types.h"

#define SMP_CPUS_MAX 64u
#define SMP_TOO_FEW  2u

// The runtime's own interrupts.
#define SMP_WAKE_VECTOR 0x31u
#define SMP_NAP_VECTOR  0x32u

#define SMP_TRAMPOLINE 0x10000u // below 1 MiB, a page
#define SMP_STACK_SIZE 0x2000u  // each; they lie behind the guest's image

// How many processors the MADT names as usable. After smp_start: all have started.
extern uint32_t smp_count;
// Counts them, and starts none.
void smp_find(void);

// What a processor runs, with interrupts on.
typedef void smp_function(void);

struct smp_cpu {
    uint32_t index;
    volatile uint32_t start_count; // how often it came through the trampoline
    volatile uint32_t is_busy;     // has a function to run, or runs one
    volatile uint32_t
        is_called; // the interrupt that says so has come: it will wake nobody from a HLT any more
    smp_function *volatile function;
    uint32_t first_svr, first_tpr; // of its local APIC, as the last start found them
    uint64_t first_apic_base;
};
extern struct smp_cpu smp_cpus[SMP_CPUS_MAX];

// Puts our own local APIC on, in x2APIC mode or not, and starts all others by INIT and SIPI;
// returns when all of them idle. The number of processors must be the one that `cpus=N` on the
// command line says.
void smp_start(bool is_x2apic);

// Who we are.
static inline uint32_t smp_self(void) {
    uint32_t index;
    __asm__ volatile("movl %%gs:0, %0" : "=r"(index));
    return index;
}

// Has an idle processor run a function; waits until it is done with it; both on all of them, us
// included.
void smp_run(uint32_t cpu, smp_function *function);
void smp_join(uint32_t cpu);
void smp_run_all(smp_function *function);
// The same, but on all others only, and without waiting.
void smp_run_others(smp_function *function);
void smp_join_others(void);

// Waits until *counter has reached `count`: spins a little, then naps by our own local APIC's
// timer, so that a processor of the host that we share with others is free for them. Interrupts
// must be on. False: a long time is over.
bool smp_wait_for(const volatile uint32_t *counter, uint32_t count);
// Waits, likewise, for this many microseconds.
void smp_nap_us(uint32_t us);
// All `count` processors that call it leave it together. Interrupts on.
struct smp_barrier {
    volatile uint32_t arrived, round;
};
void smp_barrier(struct smp_barrier *barrier, uint32_t count);

static inline void smp_pause(void) {
    __asm__ volatile("pause" ::: "memory");
}
static inline void smp_add(volatile uint32_t *counter) {
    __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
}
