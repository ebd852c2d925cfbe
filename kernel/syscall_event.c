// SPDX-License-Identifier: Apache-2.0
// The system calls on events and channels (include/calls.h).
#include "arch/traps.h"
#include "kernel/channel.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "lib/string.h"

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

int64_t call_channel_create(struct call *c) {
    struct channel *ends[2];
    if (!channel_create(CALL_OBJECT(c, 0, quota), ends))
        return -ABI_ERROR_MEMORY;
    int64_t first = call_give(&ends[0]->object), second = call_give(&ends[1]->object);
    c->data.ends = (struct abi_channel_ends){{(uint32_t)first, (uint32_t)second}};
    if (first > 0 && second > 0)
        return 0;
    if (first > 0)
        handle_close(thread_current()->process, (uint64_t)first);
    if (second > 0)
        handle_close(thread_current()->process, (uint64_t)second);
    return MIN(first, second);
}

int64_t call_channel_bind(struct call *c) {
    channel_bind(CALL_OBJECT(c, 0, channel), call_event(c, 1), c->a[2]);
    return 0;
}

int64_t call_channel_send(struct call *c) {
    if (c->a[2] == 0 || c->a[2] > sizeof(c->data.message))
        return -ABI_ERROR_ARGUMENT;
    if (!user_read(c->data.message, c->a[1], c->a[2]))
        return -ABI_ERROR_ADDRESS;
    return -channel_send(CALL_OBJECT(c, 0, channel), c->data.message, (uint32_t)c->a[2]);
}

int64_t call_channel_receive(struct call *c) {
    uint32_t size = 0;
    if (c->a[2] < sizeof(c->data.message))
        return -ABI_ERROR_ARGUMENT;
    memset(c->data.message, 0, sizeof(c->data.message));
    if (!user_write(c->a[1], c->data.message, sizeof(c->data.message)))
        return -ABI_ERROR_ADDRESS;
    int error = channel_receive(CALL_OBJECT(c, 0, channel), c->data.message, &size);
    if (error == ABI_OK && !user_write(c->a[1], c->data.message, size))
        error = ABI_ERROR_ADDRESS;
    return error == ABI_OK ? (int64_t)size : -error;
}
