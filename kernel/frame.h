// SPDX-License-Identifier: Apache-2.0
// Physical memory: who owns no frame yet, and the frames that the kernel itself may touch.
//
// Two allocators, each with bitmaps of all RAM. Frames are handed out in aligned, contiguous runs;
// the kernel does not map them. Kernel pages come from a pool: runs of 2 MiB of frames, mapped in
// the direct map when the pool grows, so that only what belongs to the kernel is mapped there.
// Pages are taken from runs that are partly in use first. What is in no use can be given back when
// somebody else needs it: whole runs, and if that is not enough, pages, so that a page in use keeps
// no other frame from anybody.
//
// In call order: frame_init (boot), then the rest. Locks: one, rank LOCK_FRAMES, inside.
#pragma once

#include "arch/paging.h"
#include "include/abi.h"
#include "include/boot.h"

// Takes the sorted memory map; the bitmaps and the first pool pages go where info->pool is. Runs on
// the boot tables, whose direct map has all of the first 4 GiB.
void frame_init(const struct boot_info *info, const struct boot_memory *map);
// Gives [base, base+size) to the allocator: memory that the boot left behind.
void frame_add(hpa_t base, uint64_t size);

// A run of `size` bytes, a multiple of a page, of these addresses alone, whatever they are; {0, 0}
// is all memory. From 2 MiB on the size is a power of two, at most 1 GiB, and the run is aligned to
// it. Not cleared. False: no such run is free.
bool frame_alloc(struct abi_range within, uint64_t size, hpa_t *base);
#define FRAME_ANYWHERE ((struct abi_range){0, 0})
// Bytes of these addresses in whole runs of 2 MiB that are free. The caller holds no lock.
uint64_t frame_count_free(struct abi_range within);
void frame_free(hpa_t base, uint64_t size);
// A frame of RAM whose memory is broken: who has it keeps it, and once it is freed nobody gets it
// again.
void frame_withdraw(hpa_t frame);
// Gives runs of 2 MiB of the pool that are in no use, but for the pool's reserve, to the allocator,
// once no CPU remembers a mapping of them: a few at a time, with one flush for all. Single pages
// when there is no run and it may break up the pool. The caller holds no lock, and calls again
// while what it needs is not free. False: there were none, and none are on their way.
bool frame_reclaim(bool may_break_up);

// One zeroed page of kernel memory; NULL: none left. Not charged: use quota_alloc_page.
void *kernel_page_alloc(void);
void kernel_page_free(void *page);

// For kernel/kspace.c. A zeroed page for a table of the kernel's own, from the reserve that
// kernel_page_alloc keeps; the caller holds the lock: it runs inside frame_with_tables or pool
// growth.
void *frame_table_alloc(void);
// pt_map on the kernel's own tables, with the allocator's lock held.
bool frame_with_tables(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                       uint32_t rights);

// Between a kernel page and its physical address.
static inline void *frame_to_kernel(hpa_t frame) {
    return (void *)(KERNEL_DIRECT + frame.v);
}
static inline hpa_t frame_of_kernel(const void *page) {
    return (hpa_t){(uint64_t)page - KERNEL_DIRECT};
}

// For the auditor, with all other CPUs standing still: its map, a byte a frame of RAM, and how
// many; what is free; which kernel pages are in no use.
uint8_t *frame_owners(uint64_t *count);
void frame_each(bool is_pooled, void (*run)(void *opaque, hpa_t base, uint64_t size), void *opaque);

struct frame_totals {
    uint64_t total;  // bytes of RAM in the map that the kernel may use
    uint64_t free;   // bytes in no use
    uint64_t kernel; // bytes of the pool in use, and the maps of all frames
};
struct frame_totals frame_totals(void);
