// SPDX-License-Identifier: Apache-2.0
// Kernel objects: everything that a handle can name. An object is counted by its references (handles,
// mappings, and kernel structures that point at it); with the last one it is destroyed.
//
// Locks: the count is atomic; `destroy` runs without any lock held.
#pragma once

#include "lib/types.h"

enum object_type {
    OBJECT_NONE = 0,
    OBJECT_QUOTA,
    OBJECT_MEMORY,
    OBJECT_PROCESS,
    OBJECT_EVENT,
    OBJECT_CHANNEL,
    OBJECT_VM,
    OBJECT_VCPU,
    OBJECT_SYSTEM,
};

struct object {
    uint32_t type;      // enum object_type
    uint32_t ref_count; // atomic
};

void object_init(struct object *object, enum object_type type); // with one reference
void object_ref(struct object *object);
void object_unref(struct object *object);
