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

extern const struct object_kind event_kind;
// Any context.
void event_signal(struct event *event, uint64_t mask);

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
