// SPDX-License-Identifier: Apache-2.0
// Channels: pairs of ends; what is sent into one is received from the other, message by message.
// Neither call waits. Both ends share one lock, which lives in the shared part.
// Locks: shared->lock (rank LOCK_CHANNEL).
#pragma once

#include "include/abi.h"
#include "kernel/event.h"

struct channel_shared;

struct channel {
    struct object object;
    struct quota *quota;           // referenced
    struct channel_shared *shared; // counted by both ends
    struct channel *peer;          // NULL: closed [lock]
    struct event_binding arrival;  // [lock]
    uint32_t first, count;         // of the messages to be received here [lock]
    uint8_t *messages[2];          // two pages of ABI_CHANNEL_DEPTH / 2 messages each [lock]
    uint32_t size[ABI_CHANNEL_DEPTH];
};

// False: the quota is used up.
bool channel_create(struct quota *quota, struct channel *ends[2]);
extern const struct object_kind channel_kind;
void channel_bind(struct channel *channel, struct event *event, uint64_t mask);
// 0 or an enum abi_error. The message is in kernel memory.
int channel_send(struct channel *channel, const void *message, uint32_t size);
int channel_receive(struct channel *channel, void *message, uint32_t *size);
