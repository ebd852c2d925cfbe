// SPDX-License-Identifier: Apache-2.0
// Events: 64 bits that anyone with the right can set and one thread at a time can wait for, or for
// some of them. Locks: event->lock (rank LOCK_EVENT).
#pragma once

#include "kernel/lock.h"
#include "kernel/object.h"

struct event {
    struct object object;
    struct spinlock lock;
    uint64_t bits;         // [lock]
    struct thread *waiter; // NULL: nobody [lock]
    uint64_t awaited;      // the bits that wake the waiter [lock]
};

struct event *event_create(struct quota *quota); // NULL: quota used up
extern const struct object_kind event_kind;
// Any context.
void event_signal(struct event *event, uint64_t mask);
// Takes bits of `mask` only: what else is set stays, and wakes nobody. 0, or ABI_ERROR_TIMEOUT,
// ABI_ERROR_AGAIN (somebody else waits), ABI_ERROR_CLOSED (the caller's process is being ended).
int event_wait(struct event *event, uint64_t mask, uint64_t deadline, uint64_t *bits);

// An event with the bits to set on it: how kernel objects tell ring 3 something. The reference is
// held; event NULL: tells nobody.
struct event_binding {
    struct event *event;
    uint64_t mask;
};
void event_bind(struct event_binding *binding, struct event *event, uint64_t mask);
void event_unbind(struct event_binding *binding);
static inline void event_notify(const struct event_binding *binding) {
    if (binding->event != NULL)
        event_signal(binding->event, binding->mask);
}
