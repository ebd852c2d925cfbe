// SPDX-License-Identifier: Apache-2.0
// The one lock of a VMM. It protects the board with all its devices, the console, the reports
// and the I/O thread's deadline (the fields marked [l] in machine.h and process.h).
//
// Free, it costs one atomic exchange. Sections are short and never wait, so who finds it taken
// spins a little and then lets the holder, which may be waiting for this very CPU, run.
#pragma once

#include <stdatomic.h>

struct lock {
    atomic_uint is_held;
};

// What lock_acquire does when the lock is taken.
void lock_acquire_contended(struct lock *lock);

static inline void lock_acquire(struct lock *lock) {
    if (atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire) != 0)
        lock_acquire_contended(lock);
}

static inline void lock_release(struct lock *lock) {
    atomic_store_explicit(&lock->is_held, 0, memory_order_release);
}
