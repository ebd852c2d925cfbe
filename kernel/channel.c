// SPDX-License-Identifier: Apache-2.0
// See kernel/channel.h.
#include "kernel/channel.h"

#include "kernel/quota.h"
#include "lib/string.h"

#define MESSAGES_IN_PAGE (ABI_CHANNEL_DEPTH / 2)
_Static_assert(MESSAGES_IN_PAGE *ABI_MESSAGE_MAX <= ABI_PAGE, "fits");

struct channel_shared {
    struct spinlock lock;
    uint32_t end_count; // atomic
};

static void end_free(struct channel *end) {
    struct quota *quota = end->quota;
    for (unsigned i = 0; i < 2; i++)
        if (end->messages[i] != NULL)
            quota_free_page(quota, end->messages[i]);
    quota_free_page(quota, end);
    object_unref(&quota->object);
}

static struct channel *end_create(struct quota *quota, struct channel_shared *shared) {
    struct channel *end = quota_alloc_page(quota);
    if (end == NULL)
        return NULL;
    object_init(&end->object, &channel_kind);
    object_ref(&quota->object);
    end->quota = quota;
    end->shared = shared;
    for (unsigned i = 0; i < 2; i++)
        end->messages[i] = quota_alloc_page(quota);
    if (end->messages[0] != NULL && end->messages[1] != NULL)
        return end;
    end_free(end);
    return NULL;
}

bool channel_create(struct quota *quota, struct channel *ends[2]) {
    struct channel_shared *shared = quota_alloc_page(quota);
    if (shared == NULL)
        return false;
    lock_init(&shared->lock, LOCK_CHANNEL);
    shared->end_count = 2;
    ends[0] = end_create(quota, shared);
    ends[1] = ends[0] != NULL ? end_create(quota, shared) : NULL;
    if (ends[1] == NULL) {
        if (ends[0] != NULL)
            end_free(ends[0]);
        quota_free_page(quota, shared);
        return false;
    }
    ends[0]->peer = ends[1];
    ends[1]->peer = ends[0];
    return true;
}

static bool channel_destroy(struct object *object) {
    struct channel *end = CONTAINER_OF(object, struct channel, object);
    struct channel_shared *shared = end->shared;
    lock_take(&shared->lock);
    struct channel *peer = end->peer;
    if (peer != NULL) {
        peer->peer = NULL;
        event_notify(&peer->arrival);
    }
    lock_drop(&shared->lock);
    event_unbind(&end->arrival);
    if (__atomic_sub_fetch(&shared->end_count, 1, __ATOMIC_ACQ_REL) == 0)
        quota_free_page(end->quota, shared);
    end_free(end);
    return true;
}

const struct object_kind channel_kind = {OBJECT_CHANNEL, channel_destroy};

void channel_bind(struct channel *channel, struct event *event, uint64_t mask) {
    struct event_binding old, binding = {NULL, 0};
    event_bind(&binding, event, mask);
    lock_take(&channel->shared->lock);
    old = channel->arrival;
    channel->arrival = binding;
    bool is_late = channel->count > 0 || channel->peer == NULL;
    if (is_late)
        event_notify(&channel->arrival);
    lock_drop(&channel->shared->lock);
    event_unbind(&old);
}

static uint8_t *message_slot(struct channel *end, uint32_t index) {
    uint32_t i = index % ABI_CHANNEL_DEPTH;
    return end->messages[i / MESSAGES_IN_PAGE] + i % MESSAGES_IN_PAGE * ABI_MESSAGE_MAX;
}

int channel_send(struct channel *channel, const void *message, uint32_t size) {
    int error = ABI_OK;
    lock_take(&channel->shared->lock);
    struct channel *peer = channel->peer;
    if (peer == NULL)
        error = ABI_ERROR_CLOSED;
    else if (peer->count == ABI_CHANNEL_DEPTH)
        error = ABI_ERROR_AGAIN;
    if (error == ABI_OK) {
        uint32_t index = peer->first + peer->count++;
        memcpy(message_slot(peer, index), message, size);
        peer->size[index % ABI_CHANNEL_DEPTH] = size;
        event_notify(&peer->arrival);
    }
    lock_drop(&channel->shared->lock);
    return error;
}

int channel_receive(struct channel *channel, void *message, uint32_t *size) {
    int error = ABI_OK;
    lock_take(&channel->shared->lock);
    if (channel->count == 0) {
        error = channel->peer == NULL ? ABI_ERROR_CLOSED : ABI_ERROR_AGAIN;
    } else {
        *size = channel->size[channel->first % ABI_CHANNEL_DEPTH];
        memcpy(message, message_slot(channel, channel->first), *size);
        channel->first++;
        channel->count--;
    }
    lock_drop(&channel->shared->lock);
    return error;
}
