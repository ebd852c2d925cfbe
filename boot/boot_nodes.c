// SPDX-License-Identifier: Apache-2.0
// See boot/boot_nodes.h.
#include "boot/boot_nodes.h"

#include "lib/string.h"

_Static_assert(NODES_MAX == BOOT_NODES_MAX && NODES_CPUS_MAX == BOOT_CPUS_MAX &&
                   NODES_NONE == BOOT_NODE_NONE,
               "one form");

static void add_ranges(struct nodes *nodes, const struct boot_memory *map, uint32_t count) {
    uint32_t last = NODES_NONE; // the node of the range that may be joined
    for (uint32_t i = 0; i < count; i++) {
        if (map[i].type > BOOT_MEMORY_ACPI) // no RAM that anybody gets
            continue;
        bool is_new = map[i].node != last;
        last = map[i].node;
        if (last != NODES_NONE && is_new && nodes->range_count == NODES_RANGES_MAX)
            last = NODES_NONE;
        if (last == NODES_NONE)
            continue;
        if (is_new)
            nodes->range[nodes->range_count++] =
                (struct nodes_range){.base = map[i].base, .node = last};
        struct nodes_range *range = &nodes->range[nodes->range_count - 1];
        range->size = map[i].base + map[i].length - range->base;
        range->memory += map[i].length;
    }
}

void boot_nodes_fill(struct nodes *nodes, const struct boot_info *info,
                     const struct boot_memory *map, uint32_t count) {
    nodes->count = info->platform->node_count;
    add_ranges(nodes, map, count);
    nodes->cpu_count = info->cpu_count;
    for (uint32_t i = 0; i < info->cpu_count; i++)
        nodes->cpu[i] = (struct nodes_cpu){info->cpu[i].apic_id, info->cpu[i].node};
    memcpy(nodes->distance, info->platform->distance, sizeof(nodes->distance));
}
