// SPDX-License-Identifier: Apache-2.0
// See kernel/object.h.
#include "kernel/object.h"

#include "arch/cpu.h"
#include "arch/log.h"
#include "kernel/channel.h"
#include "kernel/event.h"
#include "kernel/group.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

static void system_destroy(struct object *object) {
    (void)object;
    panic("the system object lost its last reference");
}

static void (*const destroy[])(struct object *) = {
    [OBJECT_QUOTA] = quota_destroy,     [OBJECT_MEMORY] = memory_destroy,
    [OBJECT_PROCESS] = process_destroy, [OBJECT_EVENT] = event_destroy,
    [OBJECT_CHANNEL] = channel_destroy, [OBJECT_VM] = vm_destroy,
    [OBJECT_VCPU] = vcpu_destroy,       [OBJECT_SYSTEM] = system_destroy,
    [OBJECT_GROUP] = group_destroy,
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

void object_ref(struct object *object) {
    __atomic_fetch_add(&object->ref_count, 1, __ATOMIC_RELAXED);
}

void object_unref(struct object *object) {
    uint32_t before = __atomic_fetch_sub(&object->ref_count, 1, __ATOMIC_ACQ_REL);
    assert(before > 0);
    if (before > 1)
        return;
    struct cpu *cpu = cpu_current();
    object->next_dying = cpu->dying;
    cpu->dying = object;
    if (cpu->is_burying)
        return;
    cpu->is_burying = true;
    while (cpu->dying != NULL) {
        struct object *next = cpu->dying;
        cpu->dying = next->next_dying;
        destroy[next->type](next);
    }
    cpu->is_burying = false;
}
