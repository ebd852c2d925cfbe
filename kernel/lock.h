// SPDX-License-Identifier: Apache-2.0
// Spinlocks with ranks. A CPU may only take a lock of a higher rank than all that it holds, and
// drop one that it holds; debug builds check both. The kernel runs with interrupts off, so a lock
// never has to care about them. CPUs get a lock in the order in which they came, so that two that
// take one again and again keep no third from it.
#pragma once

#include "lib/types.h"

// In the order in which they may be taken, outermost first.
enum lock_rank {
    LOCK_PROCESS = 1, // handle table and threads of a process
    LOCK_VM,          // doorbells and vCPU list of a VM
    LOCK_MAPPING,     // what is mapped in a process or VM
    LOCK_MEMORY,      // a memory object's state of its pages
    LOCK_VCPU,        // a vCPU's local APIC state
    LOCK_DEVICE,      // who has which interrupt, and the I/O APICs
    LOCK_LOG,
    LOCK_EVENT,
    LOCK_SCHEDULER, // a CPU's run queue
    LOCK_CORE,      // whose domain runs on a core
    LOCK_GROUP,     // what is left of a group's budget; the reservations
    LOCK_TIMER,     // a CPU's timer queue
    LOCK_SPACE,     // the kernel's own windows and stacks
    LOCK_QUOTA,
    LOCK_FRAMES,
    LOCK_OBJECTS, // the list of what the auditor looks at
};

struct spinlock {
    uint16_t next;    // ticket of the CPU that comes next (atomic)
    uint16_t serving; // ticket of the one that has the lock, or may take it (atomic)
    uint32_t rank;    // enum lock_rank
};

void lock_init(struct spinlock *lock, enum lock_rank rank);
void lock_wait(struct spinlock *lock, uint16_t ticket);
#if defined(BULKHEAD_DEBUG) || __STDC_HOSTED__ // which tests take for their own
//@ assigns lock->next, lock->serving;
void lock_take(struct spinlock *lock);
//@ assigns lock->next, lock->serving;
void lock_drop(struct spinlock *lock);
#else
static inline void lock_take(struct spinlock *lock) {
    uint16_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    if (__builtin_expect(__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket, 0))
        lock_wait(lock, ticket);
}

static inline void lock_drop(struct spinlock *lock) {
    __atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}
#endif
