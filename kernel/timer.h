// SPDX-License-Identifier: Apache-2.0
// One-shot timers on the host's TSC, one queue a CPU, tickless: the local APIC is programmed for
// the earliest deadline only, and for nothing when there is none. A guest's local APIC timer is one
// of them (kernel/vlapic_timer.c); its PIT, RTC and PM timer are deadlines in its VMM
// (vmm/io.c).
//
// A timer fires on the CPU that armed it, with interrupts off, in interrupt context: its function
// may post to vCPUs and signal events, no more.
//
// Locks: the queue's (rank LOCK_TIMER); `run` is called without it.
#pragma once

#include "lib/heap.h"

struct cpu;

struct timer {
    struct heap_node node; // the key is the deadline, host TSC [queue]
    struct cpu *cpu;       // the queue it is in, NULL: none [queue]
    struct cpu *home;      // the queue it was in last: where `run` may still be running [queue]
    bool is_guests;        // what a guest armed: no work of ours
    void (*run)(struct timer *timer);
};

// Arms (again) for `deadline`. One that has passed fires at once, as the next interrupt.
void timer_arm(struct timer *timer, uint64_t deadline);
// One that is armed on another CPU comes to this one.
void timer_follow(struct timer *timer);
// Afterwards `run` is not running and will not run. Any CPU; not from `run` itself.
void timer_cancel(struct timer *timer);

void timer_init_cpu(struct cpu *cpu); // before the CPU arms its first timer
void timer_interrupt(void);           // VECTOR_TIMER: runs what has expired, programs the next
