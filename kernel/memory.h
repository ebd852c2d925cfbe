// SPDX-License-Identifier: Apache-2.0
// Memory objects: what can be mapped into processes and VMs. RAM comes in chunks of 2 MiB (an
// object below that size, and the rest of a larger one, in one shorter chunk), each contiguous and
// aligned, so that large pages can map it; where the machine has nothing in one piece any more, in
// pages. A chunk is cleared when it is first used: no one ever sees what an earlier owner left.
//
// An object may also name memory that stands where it stands: a boot module, a vCPU's page, a
// device's registers.
//
// Locks: memory->lock (rank LOCK_MEMORY) protects the chunks' cleared state.
#pragma once

#include "kernel/lock.h"
#include "kernel/object.h"

#define MEMORY_SIZE_MAX (512ULL << 30)

enum memory_kind {
    MEMORY_RAM,    // frames of its own, charged to the quota
    MEMORY_MODULE, // a boot module: frames become free memory with it
    MEMORY_DEVICE, // registers of a device, which are no RAM: mapped uncached
    MEMORY_PAGE,   // a kernel page of another object, which is referenced
};

struct memory {
    struct object object;
    struct spinlock lock;
    uint64_t size; // bytes, whole pages
    enum memory_kind kind;
    hpa_t base;                // MODULE, DEVICE, PAGE
    struct object *page_owner; // PAGE: referenced
    uint64_t **directory;      // RAM: one page of pointers to pages of 512 chunk words [lock]
};

// A contiguous piece of an object.
struct memory_run {
    hpa_t frame;     // of offset `offset`
    uint64_t offset; // in the object
    uint64_t size;
};

// NULL: the quota or the machine has not enough. Has preemption points: the caller holds no lock.
struct memory *memory_create(struct quota *quota, uint64_t size);
struct memory *memory_create_at(struct quota *quota, hpa_t base, uint64_t size,
                                enum memory_kind kind);
struct memory *memory_create_page(struct quota *quota, void *page, struct object *owner);
extern const struct object_kind memory_kind;

// The run that holds `offset`: cleared, and as long as its chunk (of one in pieces: a page) or,
// where a whole GiB of chunks is contiguous and cleared, as that. With an is_cleared, for the
// auditor, nothing is cleared: it says of RAM whether that was.
struct memory_run memory_get(struct memory *memory, uint64_t offset, bool *is_cleared);

// For the auditor. Goes through the frames that the object holds, from *offset = 0 on, which it
// moves. False: there are no more. A size of 0: none here.
bool memory_next(const struct memory *memory, uint64_t *offset, struct memory_run *run);
// Bytes that its quota pays for, but for the kernel pages.
uint64_t memory_charge(const struct memory *memory);
