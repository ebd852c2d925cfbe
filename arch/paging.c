// SPDX-License-Identifier: Apache-2.0
// See arch/paging.h.
#include "arch/paging.h"

#include "arch/x86.h"

static uint64_t leaf(hpa_t frame, uint32_t rights, unsigned level) {
    uint64_t entry = frame.v | PTE_PRESENT;
    entry |= level > 0 ? PTE_LARGE : 0;
    entry |= (rights & PT_WRITE) != 0 ? PTE_WRITE : 0;
    entry |= (rights & PT_USER) != 0 ? PTE_USER : 0;
    entry |= (rights & PT_GLOBAL) != 0 ? PTE_GLOBAL : 0;
    entry |= (rights & PT_UNCACHED) != 0 ? PTE_PCD | PTE_PWT : 0;
    entry |= (rights & PT_EXECUTE) == 0 ? PTE_NX : 0;
    return entry;
}

static uint64_t table(hpa_t frame) {
    return frame.v | PTE_PRESENT | PTE_WRITE | PTE_USER;
}

static uint32_t rights(uint64_t entry, unsigned level) {
    (void)level;
    return PT_READ | ((entry & PTE_WRITE) != 0 ? PT_WRITE : 0) |
           ((entry & PTE_USER) != 0 ? PT_USER : 0) | ((entry & PTE_GLOBAL) != 0 ? PT_GLOBAL : 0) |
           ((entry & PTE_PCD) != 0 ? PT_UNCACHED : 0) | ((entry & PTE_NX) == 0 ? PT_EXECUTE : 0);
}

struct pt_format paging_format = {
    .leaf = leaf,
    .table = table,
    .rights = rights,
    .present_mask = PTE_PRESENT,
    .large_bit = PTE_LARGE,
    .address_mask = PTE_ADDRESS,
    .leaf_level_max = 1,
};

void paging_load_root(hpa_t root) {
    x86_write_cr3(root.v);
}
