// SPDX-License-Identifier: Apache-2.0
// EPT entries. Memory is write-back whatever the guest's PAT and MTRRs say (IPAT): no device of
// ours reads it behind the caches, and a guest must not slow the machine down with uncached memory.
#include "vmx/ept.h"

#define EPT_READ        BIT(0)
#define EPT_WRITE       BIT(1)
#define EPT_EXECUTE     BIT(2)
#define EPT_TYPE_SHIFT  3
#define EPT_TYPE_UC     0ULL
#define EPT_TYPE_WB     6ULL
#define EPT_TYPE_MASK   (7ULL << EPT_TYPE_SHIFT)
#define EPT_IGNORE_PAT  BIT(6)
#define EPT_LARGE       BIT(7)
#define EPT_ADDRESS     0x000ffffffffff000ULL
#define EPTP_WALK_SHIFT 3
#define EPTP_LEVELS     4ULL

static uint64_t ept_leaf(hpa_t frame, uint32_t rights, unsigned level) {
    uint64_t entry = frame.v & EPT_ADDRESS;
    entry |= rights & PT_READ ? EPT_READ : 0;
    entry |= rights & PT_WRITE ? EPT_WRITE : 0;
    bool is_executable = (rights & PT_EXECUTE) && !(level > 0 && ept_format.is_code_small);
    entry |= is_executable ? EPT_EXECUTE : 0;
    entry |= level > 0 ? EPT_LARGE : 0;
    if (rights & PT_UNCACHED)
        return entry | EPT_TYPE_UC << EPT_TYPE_SHIFT;
    return entry | EPT_TYPE_WB << EPT_TYPE_SHIFT | EPT_IGNORE_PAT;
}

static uint64_t ept_table(hpa_t frame) {
    return (frame.v & EPT_ADDRESS) | EPT_READ | EPT_WRITE | EPT_EXECUTE;
}

static uint32_t ept_rights(uint64_t entry, unsigned level) {
    (void)level;
    uint32_t rights = 0;
    rights |= entry & EPT_READ ? PT_READ : 0;
    rights |= entry & EPT_WRITE ? PT_WRITE : 0;
    rights |= entry & EPT_EXECUTE ? PT_EXECUTE : 0;
    if ((entry & EPT_TYPE_MASK) == EPT_TYPE_UC << EPT_TYPE_SHIFT)
        rights |= PT_UNCACHED;
    return rights;
}

struct pt_format ept_format = {
    .leaf = ept_leaf,
    .table = ept_table,
    .rights = ept_rights,
    .present_mask = EPT_READ | EPT_WRITE | EPT_EXECUTE,
    .large_bit = EPT_LARGE,
    .address_mask = EPT_ADDRESS,
    .leaf_level_max = 0,
};

void ept_init(bool has_2m_pages, bool has_1g_pages, bool is_code_small) {
    ept_format.is_code_small = is_code_small;
    ept_format.leaf_level_max = has_1g_pages ? 2 : (has_2m_pages ? 1 : 0);
}

uint64_t ept_pointer(hpa_t root) {
    return (root.v & EPT_ADDRESS) | (EPTP_LEVELS - 1) << EPTP_WALK_SHIFT | EPT_TYPE_WB;
}
