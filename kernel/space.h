// SPDX-License-Identifier: Apache-2.0
// An address space that somebody else than the kernel has, a process or a VM: what is mapped where
// (kernel/region.h), the tables that show it, and the quota that pays for both. Who has one embeds
// it, with a space_kind that says what is different.
//
// In call order: space_create, then space_map, space_fault and space_unmap, at last space_destroy
// until it is done.
//
// Locks: space->lock (rank LOCK_MAPPING) protects [l].
#pragma once

#include "kernel/lock.h"
#include "kernel/region.h"

struct space;

struct space_kind {
    uint32_t audit;     // enum abi_audit_space
    uint32_t rights;    // enum pt_rights that each leaf has besides the region's
    unsigned root_last; // the last root entry that is the space's own
    // Makes space->pt, and what else has to be in it, from `tables`. False: no memory.
    bool (*init)(struct space *space, struct pt_memory tables);
    // Whether this may be mapped there.
    bool (*is_allowed)(const struct region *region);
    // Afterwards no CPU remembers what was unmapped.
    void (*flush)(struct space *space);
};

struct space {
    const struct space_kind *kind;
    struct spinlock lock;
    struct quota *quota;         // the owner holds the reference
    struct pagetable pt;         // [l]
    hpa_t user_root;             // of the same tables, see arch/split.h; 0: none [l]
    struct region_list *regions; // [l]
    // Where code is mapped by small pages (pt_format.is_code_small), the tables that all regions
    // can come to need are charged from space_map on: the sum of the needs, and how many of these
    // are in no use yet.
    uint64_t tables_needed;   // [l]
    uint64_t tables_reserved; // [l]
    uint64_t generation;      // counts unmaps (atomic)
    bool is_closed;           // nothing is mapped any more [l]
};

// In a zeroed struct. False: no memory; space_destroy then gives back what there is.
bool space_create(struct space *space, const struct space_kind *kind, struct quota *quota);
// A bounded part of its end, which nobody can look into any more. The tables go before the memory
// that they map. True: that was the last.
bool space_destroy(struct space *space);

// System calls. 0 or an enum abi_error; arguments are checked.
int space_map(struct space *space, struct memory *memory, uint64_t address, uint64_t offset,
              uint64_t size, uint64_t rights);
int space_unmap(struct space *space, uint64_t address, uint64_t size);

// Resolves an access that needs `right` of enum abi_rights. SPACE_FAULT_RETRY: mapped now;
// SPACE_FAULT_NONE: no region there has the right; SPACE_FAULT_SHORTAGE: no memory for the tables.
enum space_fault { SPACE_FAULT_RETRY, SPACE_FAULT_NONE, SPACE_FAULT_SHORTAGE };
enum space_fault space_fault(struct space *space, uint64_t address, uint64_t right);
