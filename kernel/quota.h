// SPDX-License-Identifier: Apache-2.0
// Quotas: whose memory it is. Every frame that is not the kernel image's belongs to one quota, so that
// no VM can use up another's. A quota made from another takes its whole limit out of it.
//
// Kernel objects come from quota_alloc in whole pages: objects here are large and few, and a page
// belongs to one owner.
//
// Locks: quota->lock (rank LOCK_QUOTA); the frame allocator's below it.
#pragma once

#include "include/abi.h"
#include "kernel/lock.h"
#include "kernel/object.h"

struct quota {
    struct object object;
    struct spinlock lock;
    struct quota *parent; // referenced; NULL: the root
    uint64_t limit;       // bytes; const
    uint64_t used;        // bytes [lock]
    uint64_t kernel;      // of these, in kernel pages [lock]
    uint64_t found;       // of the others, by the auditor
};

// The root quota: all memory that is free at boot.
struct quota *quota_root(void);
void quota_init_root(uint64_t bytes);
// NULL: `parent` has not that much left.
struct quota *quota_create(struct quota *parent, uint64_t bytes);
void quota_destroy(struct object *object);

// False: not enough left.
bool quota_charge(struct quota *quota, uint64_t bytes);
void quota_release(struct quota *quota, uint64_t bytes);

// The same for kernel pages that the caller has from elsewhere.
bool quota_charge_kernel(struct quota *quota, uint64_t bytes);
void quota_release_kernel(struct quota *quota, uint64_t bytes);

// One zeroed frame of kernel memory, mapped in the kernel, charged to the quota. NULL: used up.
void *quota_alloc_page(struct quota *quota);
void quota_free_page(struct quota *quota, void *page);

// Memory that nobody owned became free: a boot module that is no longer needed.
void quota_grow_root(uint64_t bytes);

struct abi_quota_info quota_read(struct quota *quota);
