// SPDX-License-Identifier: Apache-2.0
// Nested page table entries: those of long mode (APM 2 5.3 "Long-Mode Page Translation"). The
// memory type is the guest's to choose; AMD-V has no bit that overrules it.
#include "svm/npt.h"

#define NPT_PRESENT  BIT(0)
#define NPT_WRITE    BIT(1)
#define NPT_USER     BIT(2)
#define NPT_UNCACHED (BIT(3) | BIT(4)) // PWT, PCD: of the host's PAT, as after reset
#define NPT_LARGE    BIT(7)
#define NPT_NX       BIT(63)
#define NPT_ADDRESS  0x000ffffffffff000ULL

static uint64_t npt_leaf(hpa_t frame, uint32_t rights, unsigned level) {
    uint64_t entry = (frame.v & NPT_ADDRESS) | NPT_PRESENT | NPT_USER;
    entry |= rights & PT_WRITE ? NPT_WRITE : 0;
    entry |= rights & PT_EXECUTE ? 0 : NPT_NX;
    entry |= rights & PT_UNCACHED ? NPT_UNCACHED : 0;
    return entry | (level > 0 ? NPT_LARGE : 0);
}

static uint64_t npt_table(hpa_t frame) {
    return (frame.v & NPT_ADDRESS) | NPT_PRESENT | NPT_WRITE | NPT_USER;
}

static uint32_t npt_rights(uint64_t entry, unsigned level) {
    (void)level;
    uint32_t rights = PT_READ;
    rights |= entry & NPT_WRITE ? PT_WRITE : 0;
    rights |= entry & NPT_NX ? 0 : PT_EXECUTE;
    return rights | (entry & NPT_UNCACHED ? PT_UNCACHED : 0);
}

struct pt_format npt_format = {
    .leaf = npt_leaf,
    .table = npt_table,
    .rights = npt_rights,
    .present_mask = NPT_PRESENT,
    .large_bit = NPT_LARGE,
    .address_mask = NPT_ADDRESS,
    .leaf_level_max = 1,
};

void npt_init(bool has_1g_pages) {
    npt_format.leaf_level_max = has_1g_pages ? 2 : 1;
}
