// SPDX-License-Identifier: Apache-2.0
// The slow path of the lock; the interface is told in lock.h.
#include "vmm/lock.h"

#include "lib/syscall.h"

#define SPINS_BEFORE_YIELD 100

void lock_acquire_contended(struct lock *lock) {
    for (unsigned spins = 0;; spins++) {
        if (atomic_load_explicit(&lock->is_held, memory_order_relaxed) == 0 &&
            atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) == 0)
            return;
        if (spins < SPINS_BEFORE_YIELD)
            __builtin_ia32_pause();
        else
            sys_thread_yield();
    }
}
