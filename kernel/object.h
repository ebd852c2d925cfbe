// SPDX-License-Identifier: Apache-2.0
// Kernel objects: everything that a handle can name. An object is counted by its references
// (handles, mappings, and kernel structures that point at it); with the last one it is destroyed.
//
// Destruction goes in steps, each of which gives back a few dozen frames, tables, mappings or
// handles at most. It does not nest, however long the chain of objects that keep each other alive
// is: what dies meanwhile waits in a list of the thread. Objects that
// need only a few steps are gone when object_unref returns, in any context. From the first larger
// one on, the rest is destroyed on the thread's way out of the kernel, on its account, with a
// preemption point behind each step.
//
// Locks: the count is atomic; destruction runs without any lock held.
#pragma once

#include "lib/list.h"

struct thread;

enum object_type {
    OBJECT_NONE = 0,
    OBJECT_QUOTA,
    OBJECT_MEMORY,
    OBJECT_PROCESS,
    OBJECT_EVENT,
    OBJECT_VM,
    OBJECT_VCPU,
    OBJECT_SYSTEM,
    OBJECT_GROUP,
    OBJECT_INTERRUPT,
    OBJECT_PORTS,
    OBJECT_LOG,
};

struct object;
struct quota;
struct object_kind {
    uint32_t type; // enum object_type
    // Gives back what the object holds, as much of it as is bounded. True: it holds nothing any
    // more, and its page is given back, if quota_alloc_object made it. NULL: it never holds
    // anything.
    bool (*destroy)(struct object *object);
};

struct object {
    const struct object_kind *kind;
    struct quota *quota;       // that pays for its page, referenced; NULL: nobody, it is not freed
    uint32_t ref_count;        // atomic
    struct object *next_dying; // once the count is 0
    struct link listed;        // in the list of all that hold frames or map them
};

// With one reference, in the caller's memory. See quota_alloc_object.
void object_init(struct object *object, const struct object_kind *kind);
static inline void object_ref(struct object *object) {
    __atomic_fetch_add(&object->ref_count, 1, __ATOMIC_RELAXED);
}
void object_unref(struct object *object);
// The rest of what the current thread let die. Holds no lock, and may come back on another CPU.
void object_finish(void);
// What a thread that has ended still had to destroy is the current one's now.
void object_inherit(struct thread *dead);

// The list that the auditor goes through: quotas, memory, processes and VMs, from when they are
// whole until they hold nothing any more. To be read while all other CPUs stand still.
void object_list(struct object *object);
void object_unlist(struct object *object);                      // or nothing, when it is not in it
struct object *object_next_listed(const struct object *object); // NULL: the first
