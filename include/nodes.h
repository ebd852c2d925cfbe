// SPDX-License-Identifier: Apache-2.0
// What the firmware's tables tell of nodes: a module that the boot application makes where there
// are two or more of them. It is for the supervisor; ring 0 knows no nodes.
#pragma once

#include <stdint.h>

#define NODES_MODULE     "nodes" // struct boot_module.name, struct abi_start_module.name
#define NODES_MAX        64
#define NODES_RANGES_MAX 192
#define NODES_CPUS_MAX   1024
#define NODES_NONE       UINT32_MAX // the tables name no node

// RAM of one node, and nothing of another: there may be holes.
struct nodes_range {
    uint64_t base, size;
    uint64_t memory; // bytes of it that are RAM
    uint32_t node;
    uint32_t reserved;
};

struct nodes_cpu {
    uint32_t apic_id;
    uint32_t node; // or NODES_NONE
};

struct nodes {
    uint32_t count; // 2 to NODES_MAX
    uint32_t range_count;
    uint32_t cpu_count;
    uint32_t reserved;
    struct nodes_range range[NODES_RANGES_MAX]; // sorted by base, without overlap
    struct nodes_cpu cpu[NODES_CPUS_MAX];
    uint8_t distance[NODES_MAX][NODES_MAX]; // 10 is "here", 0 is not told
};

_Static_assert(sizeof(struct nodes_range) == 32, "layout of struct nodes_range");
_Static_assert(sizeof(struct nodes) == 16 + 192 * 32 + 1024 * 8 + 64 * 64,
               "layout of struct nodes");
