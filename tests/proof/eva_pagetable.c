// SPDX-License-Identifier: Apache-2.0
// What Eva starts from: lib/pagetable.c with any contents of the tables, any format, any
// page-aligned range, and memory that may be used up at any time.
#include "lib/pagetable.h"
#include "tests/proof/eva.h"

#define ENTRIES     512
#define PAGES       BIT(52) // all that 64 bits can number
#define TABLE_COUNT 3

// Each its own object, so that an index beyond one of them is an error. Not defined here: of any
// contents.
extern uint64_t eva_root[ENTRIES], eva_table[ENTRIES], eva_other[ENTRIES];

static uint64_t *access(hpa_t frame) {
    (void)frame;
    uint64_t *const tables[TABLE_COUNT] = {eva_root, eva_table, eva_other};
    return tables[any_below(TABLE_COUNT)];
}

static bool alloc(void *opaque, hpa_t *frame) {
    (void)opaque;
    if (any_bool())
        return false;
    frame->v = any_u64();
    return true;
}

static void release(void *opaque, hpa_t frame) {
    (void)opaque;
    (void)frame;
}

static uint64_t leaf(hpa_t frame, uint32_t rights, unsigned level) {
    (void)frame;
    (void)rights;
    (void)level;
    return any_u64();
}

static uint64_t table(hpa_t frame) {
    (void)frame;
    return any_u64();
}

static uint32_t rights(uint64_t entry, unsigned level) {
    (void)entry;
    (void)level;
    return any_u32();
}

static bool visit_table(void *opaque, hpa_t frame) {
    (void)opaque;
    (void)frame;
    return any_bool();
}

static void visit_leaf(void *opaque, uint64_t address, const struct pt_mapping *mapping) {
    struct pt_mapping *seen = opaque;
    *seen = *mapping;
    seen->frame.v = address;
}

void eva_pagetable(void) {
    const struct pt_format format = {leaf,      table,     rights,   any_u64(),
                                     any_u64(), any_u64(), any_u32()};
    const struct pt_memory memory = {NULL, alloc, release, access};
    struct pagetable pt;
    if (!pt_init(&pt, &format, memory))
        return;
    struct pt_mapping seen;
    const struct pt_visitor visitor = {&seen, visit_table, visit_leaf};
    uint64_t address = any_below(PAGES) * PAGE_SIZE, size = any_below(PAGES) * PAGE_SIZE;
    hpa_t frame = {any_below(PAGES) * PAGE_SIZE};
    unsigned first = (unsigned)any_below(ENTRIES), last = (unsigned)any_below(ENTRIES);
    if (any_bool())
        pt_map(&pt, address, frame, size, any_u32());
    if (any_bool())
        pt_unmap(&pt, address, size);
    if (any_bool())
        pt_unmap_some(&pt, address, size, any_u64());
    if (any_bool())
        pt_split(&pt, address, any_u32());
    if (any_bool())
        *pt_entry(&pt, any_u64()) = any_u64();
    if (any_bool())
        seen = pt_lookup(&pt, any_u64());
    if (any_bool())
        pt_walk(&pt, first, last, &visitor);
    if (any_bool())
        pt_destroy(&pt, last, any_u64());
}
