// SPDX-License-Identifier: Apache-2.0
// boot/boot_acpi_nodes: SRAT and SLIT.
#include "tests/unit/boot/acpi_tables.h"

TestSuite(boot_acpi_nodes, .init = setup);

static uint32_t node_of(uint64_t address) {
    uint64_t end = UINT64_MAX;
    return boot_acpi_node(&found, address, &end);
}

Test(boot_acpi_nodes, srat_gives_nodes_in_the_order_of_domains) {
    for (uint32_t id = 0; id < 4; id++)
        add_x2apic(id * 0x1000, 1);
    start_srat(3);
    add_node_cpu(0, 0x10203, 1);
    add_node_x2apic(0x1000, 4, 1);
    add_node_x2apic(0x2000, 900, 0); // not enabled
    add_node_x2apic(0x3000, 0x10203, 1);
    add_node_x2apic(0x4000, 77, 1); // no such CPU
    add_node_x2apic(0x1800, 77, 1); // nor this one
    add_node_memory(0x100000000, 0x40000000, 300, 1);
    add_node_memory(0, 0x80000000, 4, 1);
    add_node_memory(0x140000000, 0x40000000, 301, 0); // not there
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->node_count, 4); // 4, 77, 300, 0x10203
    cr_assert_eq(info.cpu[0].node, 3);
    cr_assert_eq(info.cpu[1].node, 0);
    cr_assert_eq(info.cpu[2].node, BOOT_NODE_NONE);
    cr_assert_eq(info.cpu[3].node, 3);
    cr_assert_eq(node_of(0x1000), 0);
    cr_assert_eq(node_of(0x80000000), BOOT_NODE_NONE);
    cr_assert_eq(node_of(0x100000000), 2);
    cr_assert_eq(node_of(0x140000000), BOOT_NODE_NONE);
}

// What is behind the first byte of a domain is reserved there, and firmware leaves anything in it.
Test(boot_acpi_nodes, srat_1_has_domains_of_8_bits) {
    ADD_ENTRY(0, 8, 0, 5, 1, 0, 0, 0);
    start_srat(1);
    add_node_cpu(5, 0xabcd01, 1);
    add_node_memory(0, 0x1000, 0x5501, 1);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->node_count, 1);
    cr_assert_eq(info.cpu[0].node, 0);
    cr_assert_eq(node_of(0), 0);
}

Test(boot_acpi_nodes, srat_with_more_domains_than_nodes) {
    start_srat(3);
    for (uint32_t i = 0; i < 300; i++) {
        add_x2apic(i, 1);
        add_node_x2apic(i, 1000 + i, 1);
    }
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->node_count, BOOT_NODES_MAX);
    cr_assert(found.has_more_nodes);
    cr_assert_eq(info.cpu[BOOT_NODES_MAX - 1].node, BOOT_NODES_MAX - 1);
    cr_assert_eq(info.cpu[BOOT_NODES_MAX].node, BOOT_NODE_NONE);
}

Test(boot_acpi_nodes, srat_memory_that_overlaps_is_the_first_ones) {
    start_srat(3);
    add_node_memory(0x1000, 0x2000, 1, 1);
    add_node_memory(0, 0x10000, 0, 1);
    add_node_memory(UINT64_MAX - 0xfff, 0x2000, 2, 1); // wraps
    add_node_memory(0x20000, 0, 2, 1);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.affinity_count, 2);
    uint64_t end = 0x100000;
    cr_assert_eq(boot_acpi_node(&found, 0, &end), 0);
    cr_assert_eq(end, 0x1000);
    end = 0x100000;
    cr_assert_eq(boot_acpi_node(&found, 0x1000, &end), 1);
    cr_assert_eq(end, 0x3000);
    end = 0x100000;
    cr_assert_eq(boot_acpi_node(&found, 0x3000, &end), 0);
    cr_assert_eq(end, 0x10000);
    end = 0x100000;
    cr_assert_eq(boot_acpi_node(&found, 0x10000, &end), BOOT_NODE_NONE);
    cr_assert_eq(end, 0x100000);
}

Test(boot_acpi_nodes, srat_leaves_off_memory_beyond_the_array) {
    start_srat(3);
    for (uint32_t i = 0; i < BOOT_AFFINITIES_MAX + 2; i++)
        add_node_memory(i * 0x1000, 0x1000, 0, 1);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(found.affinity_count, BOOT_AFFINITIES_MAX);
    cr_assert_eq(found.affinities_left, 2);
}

Test(boot_acpi_nodes, slit_gives_distances_of_nodes) {
    start_srat(3);
    add_node_x2apic(0, 0, 1);
    add_node_x2apic(1, 2, 1);
    add_node_x2apic(2, 3, 1); // not in the matrix
    put(SLIT_AT + 36, 3, 8);
    put_table(SLIT_AT, "SLIT", 44);
    APPEND(SLIT_AT, 10, 16, 21, 16, 10, 31, 22, 31, 10);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->distance[0][0], 10);
    cr_assert_eq(info.platform->distance[0][1], 21);
    cr_assert_eq(info.platform->distance[1][0], 22);
    cr_assert_eq(info.platform->distance[1][1], 10);
    cr_assert_eq(info.platform->distance[0][2], 0);
    cr_assert_eq(info.platform->distance[3][0], 0); // no such node
    cr_assert_eq(info.platform->distance[0][3], 0);
    put(SLIT_AT + 36, 4, 8); // more than there is
    refresh(SLIT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->distance[0][0], 0);
    put(SLIT_AT + 36, UINT64_MAX, 8);
    refresh(SLIT_AT);
    cr_assert(run_parser(RSDP_AT));
    cr_assert_eq(info.platform->distance[0][0], 0);
}
