// SPDX-License-Identifier: Apache-2.0
// What is mapped where, in a process or in a VM: a sorted list of regions without overlap, each a part
// of one memory object. The page tables are filled from it on demand.
//
// Locks: the owner's (process->lock or vm->lock).
#pragma once

#include "lib/types.h"

struct memory;
struct quota;

struct region {
    uint64_t base; // address in the process, or guest-physical
    uint64_t size;
    struct memory *memory; // referenced
    uint64_t offset;       // into the memory object
    uint32_t rights;       // enum abi_rights: READ, WRITE, EXECUTE
};

// One page.
struct region_page {
    uint64_t count;
    struct region region[100];
};
_Static_assert(sizeof(struct region_page) <= 4096, "one page");

struct region_list {
    struct region_page *page;
};
