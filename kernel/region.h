// SPDX-License-Identifier: Apache-2.0
// What is mapped where, in a process or in a VM: a sorted list of regions without overlap, each a
// part of one memory object. The page tables are filled from it on demand, one run of the memory
// object (its part inside the region) at a time, so that a run is mapped either whole or not at
// all.
//
// Locks: the owner's (space->lock).
#pragma once

#include "lib/pagetable.h"

struct memory;
struct quota;

struct region {
    uint64_t base; // address in the process, or guest-physical
    uint64_t size;
    struct memory *memory; // referenced
    uint64_t offset;       // into the memory object
    uint64_t rights;       // enum abi_rights: READ, WRITE, EXECUTE
};

// Regions stand in pages that are charged to the owner's quota, as many as there have to be.
#define REGION_PAGE_COUNT 102u
#define REGION_PAGES_MAX  509u

struct region_page {
    uint64_t count;
    struct region region[REGION_PAGE_COUNT];
};
_Static_assert(sizeof(struct region_page) <= PAGE_SIZE, "one page");

// One page, zeroed but for the quota. Its end: region_drop until there is none, quota_free_page.
struct region_list {
    struct quota *quota; // the owner holds the reference
    uint64_t page_count;
    struct region_page *page[REGION_PAGES_MAX];
};
_Static_assert(sizeof(struct region_list) <= PAGE_SIZE, "one page");

// NULL: nothing is mapped at `address`.
struct region *region_find(const struct region_list *list, uint64_t address);
// Takes a reference to the memory. 0, ABI_ERROR_EXISTS or ABI_ERROR_MEMORY; ABI_ERROR_ARGUMENT for
// more than ABI_SMALL_PAGES_MAX that large pages cannot map: whoever unmaps it walks each leaf.
int region_insert(struct region_list *list, const struct region *region);
// A step of the end of the region that is exactly [base, base+size): a bounded number of leaves
// from its beginning is unmapped, and what is left is a region that begins behind them. How much;
// 0: there is none. With the last step it is taken out of the list, and its reference passes to
// *memory.
uint64_t region_unmap(struct region_list *list, struct pagetable *pt, uint64_t base, uint64_t size,
                      struct memory **memory);
// Drops the last region and its reference. The page tables are the caller's. False: there is none.
bool region_drop(struct region_list *list);

// enum pt_rights of what it maps, but for PT_USER.
uint32_t region_rights(const struct region *region);

// Maps the run around `address`, which lies in `region`, with `rights` of enum pt_rights. True as
// well when it is mapped already. False: no memory for tables.
bool region_populate(const struct region *region, struct pagetable *pt, uint64_t address,
                     uint32_t rights);
