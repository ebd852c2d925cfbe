// SPDX-License-Identifier: Apache-2.0
// See kernel/event.h.
#include "kernel/event.h"

#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"

int64_t call_event_create(struct call *c) {
    struct event *event = quota_alloc_object(CALL_OBJECT(c, 0, quota), &event_kind);
    if (event == NULL)
        return -ABI_ERROR_MEMORY;
    lock_init(&event->lock, LOCK_EVENT);
    return call_give(&event->object);
}

int64_t call_event_signal(struct call *c) {
    event_signal(CALL_OBJECT(c, 0, event), c->a[1]);
    return 0;
}

const struct object_kind event_kind = {OBJECT_EVENT, NULL};

void event_signal(struct event *event, uint64_t mask) {
    lock_take(&event->lock);
    event->bits |= mask;
    if (event->waiter != NULL && (event->bits & event->awaited) != 0)
        thread_wake(event->waiter);
    lock_drop(&event->lock);
}

static uint64_t take_bits(struct event *event, uint64_t mask) {
    lock_take(&event->lock);
    uint64_t bits = event->bits & mask;
    event->bits &= ~mask;
    lock_drop(&event->lock);
    return bits;
}

static bool set_waiter(struct event *event, struct thread *expected, struct thread *thread,
                       uint64_t awaited) {
    lock_take(&event->lock);
    bool is_set = event->waiter == expected;
    if (is_set) {
        event->waiter = thread;
        event->awaited = awaited;
    }
    lock_drop(&event->lock);
    return is_set;
}

// Takes bits of `mask` only: what else is set stays, and wakes nobody. 0, or ABI_ERROR_TIMEOUT,
// ABI_ERROR_AGAIN (somebody else waits), ABI_ERROR_CLOSED (the caller's process is being ended).
static int event_wait(struct event *event, uint64_t mask, uint64_t deadline, uint64_t *bits) {
    struct thread *self = thread_current();
    *bits = take_bits(event, mask);
    if (*bits != 0)
        return ABI_OK;
    if (x86_rdtsc() >= deadline)
        return ABI_ERROR_TIMEOUT;
    if (!set_waiter(event, NULL, self, mask))
        return ABI_ERROR_AGAIN;
    int error = ABI_OK;
    if (deadline != ABI_FOREVER)
        timer_arm(&self->timeout, deadline);
    while ((*bits = take_bits(event, mask)) == 0 && error == ABI_OK) {
        if (thread_is_doomed(self))
            error = ABI_ERROR_CLOSED;
        else if (x86_rdtsc() >= deadline)
            error = ABI_ERROR_TIMEOUT;
        else
            thread_block();
    }
    timer_cancel(&self->timeout);
    set_waiter(event, self, NULL, 0);
    return *bits != 0 ? ABI_OK : error;
}

int64_t call_event_wait(struct call *c) {
    return -event_wait(CALL_OBJECT(c, 0, event), c->a[1], c->a[2], &c->data.bits);
}

void event_bind(struct event_binding *binding, struct event *event, uint64_t mask) {
    event_unbind(binding);
    if (event != NULL)
        object_ref(&event->object);
    binding->event = event;
    binding->mask = mask;
}

void event_unbind(struct event_binding *binding) {
    struct event *event = binding->event;
    binding->event = NULL;
    if (event != NULL)
        object_unref(&event->object);
}
