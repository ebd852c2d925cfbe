// SPDX-License-Identifier: Apache-2.0
// boot/boot_nodes: what the supervisor is told of nodes, of good maps and of bad ones.
#include "boot/boot_nodes.h"

#include <criterion/criterion.h>

#define RAM(at, pages, on)                                                                         \
    { (at) * BOOT_PAGE, (pages)*BOOT_PAGE, BOOT_MEMORY_FREE, (on) }

static struct platform platform;
static struct boot_info info;
static struct nodes nodes;

static void fill(uint32_t node_count, const struct boot_memory *map, uint32_t count) {
    platform.node_count = node_count;
    info.platform = &platform;
    nodes = (struct nodes){0};
    boot_nodes_fill(&nodes, &info, map, count);
}

static void expect_range(uint32_t i, uint64_t page, uint64_t pages, uint64_t ram, uint32_t node) {
    cr_expect_eq(nodes.range[i].base, page * BOOT_PAGE);
    cr_expect_eq(nodes.range[i].size, pages * BOOT_PAGE);
    cr_expect_eq(nodes.range[i].memory, ram * BOOT_PAGE);
    cr_expect_eq(nodes.range[i].node, node);
}

// Holes, devices and the firmware's memory are nobody's; RAM that no table places parts ranges.
Test(boot_nodes, ranges_of_a_node_are_joined_up_to_other_ram) {
    struct boot_memory map[] = {RAM(1, 4, 0),
                                RAM(5, 5, 0),
                                RAM(20, 10, BOOT_NODE_NONE),
                                RAM(40, 10, 0),
                                RAM(60, 10, BOOT_NODE_NONE),
                                RAM(70, 5, 0),
                                RAM(75, 5, 1),
                                RAM(100, 1, 1),
                                RAM(110, 1, 0)};
    map[1].type = BOOT_MEMORY_MODULE;
    map[2].type = BOOT_MEMORY_FIRMWARE;
    fill(2, map, 9);
    cr_assert_eq(nodes.range_count, 4);
    expect_range(0, 1, 49, 19, 0);
    expect_range(1, 70, 5, 5, 0);
    expect_range(2, 75, 26, 6, 1);
    expect_range(3, 110, 1, 1, 0);
}

Test(boot_nodes, ranges_beyond_the_most_are_left_off) {
    static struct boot_memory map[NODES_RANGES_MAX + 6];
    for (uint32_t i = 0; i < NODES_RANGES_MAX + 6; i++)
        map[i] = (struct boot_memory)RAM(2 * i + 1, 1, i % 2);
    map[NODES_RANGES_MAX + 1].node = 0; // of one node with what was left off, not with the last
    fill(2, map, NODES_RANGES_MAX + 6);
    cr_assert_eq(nodes.range_count, NODES_RANGES_MAX);
    expect_range(NODES_RANGES_MAX - 1, 2 * NODES_RANGES_MAX - 1, 1, 1, 1);
}

Test(boot_nodes, cpus_and_distances_are_told) {
    info.cpu_count = 3;
    info.cpu[0] = (struct boot_cpu){0, 1};
    info.cpu[1] = (struct boot_cpu){4, BOOT_NODE_NONE};
    info.cpu[2] = (struct boot_cpu){9, 0};
    platform.distance[1][0] = 21;
    platform.distance[63][63] = 10;
    fill(2, NULL, 0);
    cr_expect_eq(nodes.count, 2);
    cr_expect_eq(nodes.range_count, 0);
    cr_assert_eq(nodes.cpu_count, 3);
    cr_expect(nodes.cpu[0].apic_id == 0 && nodes.cpu[0].node == 1);
    cr_expect(nodes.cpu[1].apic_id == 4 && nodes.cpu[1].node == NODES_NONE);
    cr_expect(nodes.cpu[2].apic_id == 9 && nodes.cpu[2].node == 0);
    cr_expect(nodes.distance[1][0] == 21 && nodes.distance[63][63] == 10);
}
