// SPDX-License-Identifier: Apache-2.0
// See kernel/object.h.
#include "kernel/object.h"

#include "arch/log.h"
#include "kernel/channel.h"
#include "kernel/event.h"
#include "kernel/group.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#define AT_ONCE 8u // small objects, before the thread goes on with what it does

static void system_destroy(struct object *object) {
    (void)object;
    panic("the system object lost its last reference");
}

// Of bounded length.
static void (*const destroy[])(struct object *) = {
    [OBJECT_QUOTA] = quota_destroy,     [OBJECT_EVENT] = event_destroy,
    [OBJECT_CHANNEL] = channel_destroy, [OBJECT_VCPU] = vcpu_destroy,
    [OBJECT_SYSTEM] = system_destroy,   [OBJECT_GROUP] = group_destroy,
};

// As much of it as is bounded. True: the object is gone.
static bool (*const destroy_step[OBJECT_GROUP + 1])(struct object *) = {
    [OBJECT_MEMORY] = memory_destroy,
    [OBJECT_PROCESS] = process_destroy,
    [OBJECT_VM] = vm_destroy,
};

static struct object *listed; // [list_lock]
static struct spinlock list_lock = {.rank = LOCK_OBJECTS};

void object_init(struct object *object, enum object_type type) {
    object->type = (uint32_t)type;
    object->ref_count = 1;
    object->listed_at = NULL;
}

void object_list(struct object *object) {
    lock_take(&list_lock);
    object->listed = listed;
    object->listed_at = &listed;
    if (listed != NULL)
        listed->listed_at = &object->listed;
    listed = object;
    lock_drop(&list_lock);
}

void object_unlist(struct object *object) {
    lock_take(&list_lock);
    if (object->listed_at != NULL) {
        *object->listed_at = object->listed;
        if (object->listed != NULL)
            object->listed->listed_at = object->listed_at;
        object->listed_at = NULL;
    }
    lock_drop(&list_lock);
}

struct object *object_first_listed(void) {
    return listed;
}

// One step of the youngest, which stays the youngest: what dies with it waits until it is gone.
// True: it is.
static bool bury_step(struct thread *self) {
    struct object *object = self->dying;
    self->dying = object->next_dying;
    self->is_burying = true;
    bool is_gone = true;
    if (destroy_step[object->type] != NULL)
        is_gone = destroy_step[object->type](object);
    else
        destroy[object->type](object);
    self->is_burying = false;
    if (is_gone)
        return true;
    object->next_dying = self->dying;
    self->dying = object;
    return false;
}

void object_unref(struct object *object) {
    uint32_t before = __atomic_fetch_sub(&object->ref_count, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before > 1)
        return;
    struct thread *self = thread_current();
    struct object *rest = self->dying; // may be of what an interrupt came into
    object->next_dying = rest;
    self->dying = object;
    for (unsigned i = 0; i < AT_ONCE && !self->is_burying && self->dying != rest; i++)
        if (!bury_step(self))
            return; // it is large
}

void object_take_over(struct thread *dead) {
    struct thread *self = thread_current();
    while (dead->dying != NULL) {
        struct object *object = dead->dying;
        dead->dying = object->next_dying;
        object->next_dying = self->dying;
        self->dying = object;
    }
}

void object_bury(void) {
    while (thread_current()->dying != NULL) {
        (void)bury_step(thread_current());
        thread_preempt();
    }
}
