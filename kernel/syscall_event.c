// SPDX-License-Identifier: Apache-2.0
// The system calls on events (include/calls.h).
#include "kernel/event.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"

int64_t call_event_create(struct call *c) {
    struct event *event = event_create(CALL_OBJECT(c, 0, quota));
    return event != NULL ? call_give(&event->object) : -ABI_ERROR_MEMORY;
}

int64_t call_event_signal(struct call *c) {
    event_signal(CALL_OBJECT(c, 0, event), c->a[1]);
    return 0;
}

int64_t call_event_wait(struct call *c) {
    return -event_wait(CALL_OBJECT(c, 0, event), c->a[1], c->a[2], &c->data.bits);
}
