// SPDX-License-Identifier: Apache-2.0
// Quotas: whose memory it is. Every frame that is not the kernel image's belongs to one quota, so
// that no VM can use up another's. A quota made from another takes its whole limit out of it.
//
// Kernel objects come from quota_alloc_object in whole pages: objects here are large and few, and a
// page belongs to one owner.
//
// What a quota has left, it gets, whatever others do inside theirs: a page in use keeps only itself
// from them, since the kernel gives back its free pages one by one (frame_reclaim), and
// memory objects take what is there (kernel/memory.c).
//
// Locks: quota->lock (rank LOCK_QUOTA); the frame allocator's below it.
#pragma once

#include "include/abi.h"
#include "kernel/event.h"
#include "kernel/lock.h"
#include "kernel/object.h"

struct quota {
    struct object object;
    struct spinlock lock;
    struct quota *parent;       // referenced; NULL: the root
    uint64_t limit;             // bytes; const
    uint64_t used;              // bytes [lock]
    uint64_t kernel;            // of these, in kernel pages [lock]
    uint64_t found;             // of the others, by the auditor
    struct abi_home home;       // of its memory objects: any mixture of two that were set is one
    struct event_binding empty; // told when nothing is charged any more; const once it has a handle
};

/*@ predicate are_books_right(struct quota *quota) =
        quota->kernel <= quota->used <= quota->limit; */

// The root quota: all memory that is free at boot, but for what the kernel's own tables and the
// stacks in no use may take of it.
struct quota *quota_root(void);
#define QUOTA_STACKS_ASIDE (16ULL * 8192) // bytes: kernel/kspace.c keeps no more
void quota_init_root(uint64_t bytes);
// NULL: `parent` has not that much left.
struct quota *quota_create(struct quota *parent, uint64_t bytes);
extern const struct object_kind quota_kind;

// `kernel` is how much of it is in kernel pages that the caller has from elsewhere. False: not
// enough left.
/*@ requires \valid(quota) && are_books_right(quota) && kernel <= bytes;
    assigns quota->used, quota->kernel, quota->lock;
    ensures are_books_right(quota);
    ensures exact: \result <==> \old(quota->used) + bytes <= quota->limit;
    ensures quota->used == \old(quota->used) + (\result ? bytes : 0);
    ensures quota->kernel == \old(quota->kernel) + (\result ? kernel : 0); */
bool quota_charge(struct quota *quota, uint64_t bytes, uint64_t kernel);
/*@ requires \valid(quota) && are_books_right(quota) && kernel <= bytes;
    requires kernel <= quota->kernel && quota->kernel - kernel <= quota->used - bytes;
    assigns quota->used, quota->kernel, quota->lock;
    ensures are_books_right(quota);
    ensures quota->used == \old(quota->used) - bytes;
    ensures quota->kernel == \old(quota->kernel) - kernel; */
void quota_release(struct quota *quota, uint64_t bytes, uint64_t kernel);

// Who gave back the last of some object tells who waits for the quota's end. No lock of rank
// LOCK_EVENT or above.
void quota_tell(struct quota *quota);

// One zeroed frame of kernel memory, mapped in the kernel, charged to the quota. NULL: used up.
void *quota_alloc_page(struct quota *quota);
void quota_free_page(struct quota *quota, void *page); // NULL: nothing
// A kernel object at the start of such a page, with one reference to it and one to the quota. NULL:
// used up. It goes with its last reference, or by quota_free_object when it was never whole.
void *quota_alloc_object(struct quota *quota, const struct object_kind *kind);
void quota_free_object(struct object *object);
// The same as quota_alloc_page of bytes that are charged already. NULL: none is free, and all stays
// as it was.
void *quota_take_page(struct quota *quota);

// Memory that nobody owned became free: a boot module that is no longer needed.
void quota_grow_root(uint64_t bytes);
