// SPDX-License-Identifier: Apache-2.0
// Four-level radix page tables with 512 entries a level: the shape that x86-64 paging, EPT, NPT and
// the IOMMUs' second level share. What differs is the encoding of an entry, a struct pt_format.
//
// In call order: pt_init, pt_map, pt_split, pt_unmap, pt_lookup, pt_destroy.
//
// Invariants: a table is owned by exactly one entry; an entry is written in one store; a leaf that
// maps more than the range to be unmapped is split first, so neighbours never lose their mapping.
// Nothing here flushes a TLB: the callers know who caches the tables.
//
// Locks: the owner of the struct pagetable.
#pragma once

#include "lib/types.h"

enum pt_rights {
    PT_READ = 1u << 0,
    PT_WRITE = 1u << 1,
    PT_EXECUTE = 1u << 2,
    PT_USER = 1u << 3,     // x86-64 only: ring 3 may use it
    PT_UNCACHED = 1u << 4, // device memory
    PT_GLOBAL = 1u << 5,   // x86-64 only
};

// `level` counts from the leaf: 0 = 4 KiB, 1 = 2 MiB, 2 = 1 GiB, 3 = the root.
struct pt_format {
    uint64_t (*leaf)(hpa_t frame, uint32_t rights, unsigned level);
    uint64_t (*table)(hpa_t frame);
    uint32_t (*rights)(uint64_t entry, unsigned level); // of a leaf
    uint64_t present_mask;                              // any of these: the entry is in use
    uint64_t large_bit;                                 // a leaf above level 0
    uint64_t address_mask;                              // frame in a table or leaf entry
    unsigned leaf_level_max;                            // 1, or 2 where the CPU has 1 GiB pages
    bool is_code_small; // `leaf` leaves PT_EXECUTE out above level 0: pt_split where code runs
};

// Where tables come from: zeroed frames that `access` makes readable and writable.
struct pt_memory {
    void *opaque;
    bool (*alloc)(void *opaque, hpa_t *frame); // zeroed; false: none left
    void (*free)(void *opaque, hpa_t frame);
    uint64_t *(*access)(hpa_t frame);
};

struct pagetable {
    hpa_t root;
    const struct pt_format *format;
    struct pt_memory memory;
};

struct pt_mapping {
    hpa_t frame;     // of the address asked for, rounded down to the leaf's size
    uint64_t size;   // 4 KiB, 2 MiB or 1 GiB; where nothing is mapped, the size of the hole's entry
    uint32_t rights; // enum pt_rights; 0: nothing mapped
};

/*@ predicate is_paged(integer value) = value % 0x1000 == 0;
    predicate is_usable(struct pagetable *pt) =
        \valid_read(pt) && \valid_read(pt->format) &&
        \separated(pt, &pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]) &&
        \separated(pt->format, &pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]); */

// False: no memory for the root.
bool pt_init(struct pagetable *pt, const struct pt_format *format, struct pt_memory memory);

// Maps [address, address+size) to [frame, frame+size) with the largest leaves that alignment and
// format allow. All three are page-aligned. False: no memory for tables, or something is mapped
// there already; what was mapped by this call is undone.
/*@ requires is_usable(pt);
    requires is_paged(address) && is_paged(size) && is_paged(frame.v);
    requires size <= 0x1000000000000;
    requires address + size <= UINT64_MAX && frame.v + size <= UINT64_MAX;
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]; */
bool pt_map(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size, uint32_t rights);

// Removes what is mapped in the page-aligned range. Splitting a large leaf may need a table: false
// then, and that leaf stays whole while all before it is gone. Ranges that do not cut a leaf in two
// never fail. Tables that become empty stay until pt_destroy, since a processor may still walk
// them.
/*@ requires is_usable(pt);
    requires is_paged(address) && is_paged(size);
    requires size <= 0x1000000000000 && address + size <= UINT64_MAX;
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]; */
bool pt_unmap(struct pagetable *pt, uint64_t address, uint64_t size);

// The same for at most `max` leaves and holes from the beginning on: up to where, from `address`.
// 0: pt_unmap's false.
/*@ requires is_usable(pt);
    requires is_paged(address) && is_paged(size);
    requires size <= 0x1000000000000 && address + size <= UINT64_MAX;
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
    ensures \result <= size; */
uint64_t pt_unmap_some(struct pagetable *pt, uint64_t address, uint64_t size, uint64_t max);

// Whatever large leaf maps `address` becomes leaves of 4 KiB that map the same with `rights`, for
// all of its 2 MiB. A hole stays one. False: no memory for the tables, and what is mapped is as
// before, if perhaps by smaller leaves.
/*@ requires is_usable(pt) && is_paged(address);
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]; */
bool pt_split(struct pagetable *pt, uint64_t address, uint32_t rights);

// The entry of level 0 for `address`, whose table must exist (map a page there first).
uint64_t *pt_entry(const struct pagetable *pt, uint64_t address);

struct pt_mapping pt_lookup(const struct pagetable *pt, uint64_t address);

// What pt_walk shows: each table but the root, before what is in it (false: it is not looked into;
// NULL: all are), and each leaf, with the address that it maps from.
struct pt_visitor {
    void *opaque;
    bool (*table)(void *opaque, hpa_t frame);
    void (*leaf)(void *opaque, uint64_t address, const struct pt_mapping *mapping);
};
void pt_walk(const struct pagetable *pt, unsigned first_root, unsigned last_root,
             const struct pt_visitor *visitor);

// Frees at most `max` tables of root entries [0, last_root], the root itself last, never what they
// map. True: there are none left, and pt->root is 0. Until then the rest is whole, and nothing may
// be mapped.
bool pt_destroy(struct pagetable *pt, unsigned last_root, uint64_t max);
