// SPDX-License-Identifier: Apache-2.0
// See kernel/lock.h. The ranks that a CPU holds are kept as a bit mask in its struct cpu.
#include "kernel/lock.h"

#include "arch/cpu.h"
#include "arch/log.h"

void lock_init(struct spinlock *lock, enum lock_rank rank) {
    *lock = (struct spinlock){.rank = (uint32_t)rank};
}

void lock_wait(struct spinlock *lock, uint16_t ticket) {
    while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket)
        x86_pause();
}

#ifdef BULKHEAD_DEBUG
void lock_take(struct spinlock *lock) {
    struct cpu *cpu = cpu_current();
    if (cpu->locks_held >= BIT(lock->rank))
        panic("lock of rank %u taken while 0x%lx are held", lock->rank, cpu->locks_held);
    cpu->locks_held |= BIT(lock->rank);
    lock_wait(lock, __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED));
}

void lock_drop(struct spinlock *lock) {
    struct cpu *cpu = cpu_current();
    if ((cpu->locks_held & BIT(lock->rank)) == 0)
        panic("lock of rank %u dropped while 0x%lx are held", lock->rank, cpu->locks_held);
    cpu->locks_held &= ~BIT(lock->rank);
    __atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}
#endif
