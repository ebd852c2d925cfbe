// SPDX-License-Identifier: Apache-2.0
// See kernel/object.h.
#include "kernel/object.h"

#include "arch/log.h"
#include "kernel/quota.h"
#include "kernel/thread.h"

#define AT_ONCE 8u // small objects, before the thread goes on with what it does

static struct list listed = {{&listed.head, &listed.head}}; // [list_lock]
static struct spinlock list_lock = {.rank = LOCK_OBJECTS};

void object_init(struct object *object, const struct object_kind *kind) {
    object->kind = kind;
    object->ref_count = 1;
}

void object_list(struct object *object) {
    lock_take(&list_lock);
    list_push_first(&listed, &object->listed);
    lock_drop(&list_lock);
}

void object_unlist(struct object *object) {
    lock_take(&list_lock);
    if (object->listed.next != NULL)
        link_remove(&object->listed);
    lock_drop(&list_lock);
}

struct object *object_next_listed(const struct object *object) {
    struct link *next = object != NULL ? object->listed.next : listed.head.next;
    return next != &listed.head ? CONTAINER_OF(next, struct object, listed) : NULL;
}

// One step of the youngest, which stays the youngest: what dies with it waits until it is gone.
// True: it is.
static bool destroy_step(struct thread *self) {
    struct object *object = self->dying;
    self->dying = object->next_dying;
    bool has_page = object->quota != NULL; // else what is destroyed may be somebody else's by then
    self->is_destroying = true;
    bool is_gone = object->kind->destroy == NULL || object->kind->destroy(object);
    if (is_gone && has_page)
        quota_free_object(object);
    self->is_destroying = false;
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
    for (unsigned i = 0; i < AT_ONCE && !self->is_destroying && self->dying != rest; i++)
        if (!destroy_step(self))
            return; // it is large
}

void object_inherit(struct thread *dead) {
    struct thread *self = thread_current();
    while (dead->dying != NULL) {
        struct object *object = dead->dying;
        dead->dying = object->next_dying;
        object->next_dying = self->dying;
        self->dying = object;
    }
}

void object_finish(void) {
    while (thread_current()->dying != NULL) {
        (void)destroy_step(thread_current());
        thread_preempt();
    }
}
