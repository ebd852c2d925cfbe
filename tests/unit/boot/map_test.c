// SPDX-License-Identifier: Apache-2.0
// boot/boot_map: sorting and merging, held against a map with one byte a page.
#include "boot/boot_map.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "lib/types.h"

#define RANGES 24
#define PAGES  64

static uint32_t build(const struct boot_memory *ranges, uint32_t count, struct boot_memory *out) {
    uint64_t points[2 * RANGES];
    return boot_map_build(ranges, count, points, out);
}

static struct boot_memory range(uint64_t page, uint64_t pages, uint32_t type) {
    return (struct boot_memory){
        .base = page * BOOT_PAGE_SIZE, .length = pages * BOOT_PAGE_SIZE, .type = type};
}

Test(boot_map, types_follow_the_specification) {
    cr_assert_eq(boot_map_type(0), BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(boot_map_type(2), BOOT_MEMORY_LOADER);
    cr_assert_eq(boot_map_type(4), BOOT_MEMORY_FREE);
    cr_assert_eq(boot_map_type(6), BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(boot_map_type(7), BOOT_MEMORY_FREE);
    cr_assert_eq(boot_map_type(9), BOOT_MEMORY_ACPI);
    cr_assert_eq(boot_map_type(11), BOOT_MEMORY_DEVICE);
    cr_assert_eq(boot_map_type(15), BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(boot_map_type(16), BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(boot_map_type(0x80000000u), BOOT_MEMORY_FIRMWARE);
}

Test(boot_map, broken_pages_are_never_free) {
    struct boot_memory out;
    cr_assert(boot_map_range(&out, 0x1800, 2, BOOT_MEMORY_FREE));
    cr_assert_eq(out.base, 0x2000u);
    cr_assert_eq(out.length, 0x1000u);
    cr_assert(boot_map_range(&out, 0x1800, 2, BOOT_MEMORY_FIRMWARE));
    cr_assert_eq(out.base, 0x1000u);
    cr_assert_eq(out.length, 0x3000u);
    cr_assert_not(boot_map_range(&out, 0x1800, 1, BOOT_MEMORY_FREE));
}

Test(boot_map, nonsense_is_dropped) {
    struct boot_memory out;
    cr_assert_not(boot_map_range(&out, 0, 0, BOOT_MEMORY_FREE));
    cr_assert_not(boot_map_range(&out, 0x1000, UINT64_MAX, BOOT_MEMORY_FREE));
    cr_assert_not(boot_map_range(&out, 0x1000, 1ull << 52, BOOT_MEMORY_FREE));
    cr_assert_not(boot_map_range(&out, UINT64_MAX - 0xfff, 1, BOOT_MEMORY_FIRMWARE));
    cr_assert(boot_map_range(&out, (1ull << 52) - 0x1000, 1, BOOT_MEMORY_FIRMWARE));
    cr_assert_not(boot_map_range(&out, (1ull << 52) - 0x1000, 2, BOOT_MEMORY_FIRMWARE));
}

Test(boot_map, module_is_cut_out_of_loader_data) {
    const struct boot_memory ranges[] = {
        range(16, 4, BOOT_MEMORY_MODULE), range(8, 8, BOOT_MEMORY_FREE),
        range(0, 8, BOOT_MEMORY_FREE),    range(16, 16, BOOT_MEMORY_LOADER),
        range(40, 1, BOOT_MEMORY_ACPI),
    };
    struct boot_memory out[2 * RANGES];
    cr_assert_eq(build(ranges, 5, out), 4u);
    cr_assert_eq(out[0].length, 16 * BOOT_PAGE_SIZE);
    cr_assert_eq(out[1].type, BOOT_MEMORY_MODULE);
    cr_assert_eq(out[1].base, 16 * BOOT_PAGE_SIZE);
    cr_assert_eq(out[2].type, BOOT_MEMORY_LOADER);
    cr_assert_eq(out[2].base, 20 * BOOT_PAGE_SIZE);
    cr_assert_eq(out[2].length, 12 * BOOT_PAGE_SIZE);
    cr_assert_eq(out[3].base, 40 * BOOT_PAGE_SIZE);
}

Test(boot_map, empty_map_stays_empty) {
    struct boot_memory out[1];
    cr_assert_eq(build(NULL, 0, out), 0u);
}

Test(boot_map, any_overlap_gives_the_highest_type) {
    srand(1);
    for (int round = 0; round < 3000; round++) {
        struct boot_memory ranges[RANGES];
        struct boot_memory out[2 * RANGES];
        uint8_t expected[PAGES] = {0};
        uint8_t seen[PAGES] = {0};
        uint32_t count = (uint32_t)rand() % (RANGES + 1);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t page = (uint32_t)rand() % PAGES;
            uint32_t pages = (uint32_t)rand() % (PAGES - page) + 1;
            ranges[i] = range(page, pages, (uint32_t)rand() % 7 + 1);
            for (uint32_t k = page; k < page + pages; k++)
                if (expected[k] < ranges[i].type)
                    expected[k] = (uint8_t)ranges[i].type;
        }
        uint32_t out_count = build(ranges, count, out);
        for (uint32_t i = 0; i < out_count; i++) {
            uint64_t end = i > 0 ? out[i - 1].base + out[i - 1].length : 0;
            cr_assert_geq(out[i].base, end);
            cr_assert(i == 0 || out[i].base > end || out[i].type != out[i - 1].type);
            for (uint64_t k = 0; k < out[i].length / BOOT_PAGE_SIZE; k++)
                seen[out[i].base / BOOT_PAGE_SIZE + k] = (uint8_t)out[i].type;
        }
        cr_assert_arr_eq(seen, expected, sizeof(seen));
    }
}

static void add_affinity(struct boot_acpi *acpi, uint64_t page, uint64_t pages, uint32_t node) {
    acpi->affinity[acpi->affinity_count++] =
        (struct boot_affinity){page * BOOT_PAGE_SIZE, pages * BOOT_PAGE_SIZE, node};
}

static void expect_range(const struct boot_memory *range, uint64_t page, uint64_t pages,
                         uint32_t node) {
    cr_assert_eq(range->base, page * BOOT_PAGE_SIZE);
    cr_assert_eq(range->length, pages * BOOT_PAGE_SIZE);
    cr_assert_eq(range->node, node);
}

Test(boot_map, ranges_are_cut_where_the_node_changes) {
    struct boot_memory map[8] = {range(0, 16, BOOT_MEMORY_FREE), range(16, 16, BOOT_MEMORY_DEVICE),
                                 range(32, 16, BOOT_MEMORY_MODULE)};
    struct boot_acpi acpi = {.affinity_count = 0};
    add_affinity(&acpi, 40, 24, 1);
    add_affinity(&acpi, 4, 36, 0);
    cr_assert_eq(boot_map_nodes(map, 3, 8, &acpi), 5);
    expect_range(&map[0], 0, 4, BOOT_NODE_NONE);
    expect_range(&map[1], 4, 12, 0);
    expect_range(&map[2], 16, 16, BOOT_NODE_NONE); // no RAM
    expect_range(&map[3], 32, 8, 0);
    expect_range(&map[4], 40, 8, 1);
    cr_assert_eq(map[4].type, BOOT_MEMORY_MODULE);
}

// A page is of one node, and no range is lost when there is no room to cut it.
Test(boot_map, nodes_change_at_pages_and_within_the_room) {
    struct boot_memory map[2] = {range(0, 16, BOOT_MEMORY_FREE)};
    struct boot_acpi acpi = {.affinity_count = 0};
    acpi.affinity[acpi.affinity_count++] = (struct boot_affinity){0, 0x1800, 3};
    add_affinity(&acpi, 8, 8, 4);
    cr_assert_eq(boot_map_nodes(map, 1, 2, &acpi), 2);
    expect_range(&map[0], 0, 2, 3);
    expect_range(&map[1], 2, 14, BOOT_NODE_NONE);
}

// And a CPU can start in the last page below 640 KiB that was FREE.
Test(boot_map, low_memory_is_the_firmwares) {
    struct boot_memory map[8] = {range(0, 0x9f, BOOT_MEMORY_FREE),
                                 range(0x9f, 2, BOOT_MEMORY_LOADER),
                                 range(0xb0, 8, BOOT_MEMORY_FREE), range(0xe0, 1, BOOT_MEMORY_ACPI),
                                 range(0xf0, 0x20, BOOT_MEMORY_FREE)};
    static const struct {
        uint64_t base, pages;
        uint32_t type;
    } wanted[] = {{0, 0xa1, BOOT_MEMORY_FIRMWARE},
                  {0xb0, 8, BOOT_MEMORY_FIRMWARE},
                  {0xe0, 1, BOOT_MEMORY_ACPI},
                  {0xf0, 0x10, BOOT_MEMORY_FIRMWARE},
                  {0x100, 0x10, BOOT_MEMORY_FREE}};
    uint64_t page;
    cr_assert_eq(boot_map_low(map, 5, ARRAY_COUNT(map), &page), ARRAY_COUNT(wanted));
    cr_expect_eq(page, 0x9e * BOOT_PAGE_SIZE);
    for (uint32_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        cr_expect_eq(map[i].base, wanted[i].base * BOOT_PAGE_SIZE, "range %u", i);
        cr_expect_eq(map[i].length, wanted[i].pages * BOOT_PAGE_SIZE, "range %u", i);
        cr_expect_eq(map[i].type, wanted[i].type, "range %u", i);
    }
}

Test(boot_map, the_low_page_is_never_page_0_and_may_be_a_whole_range) {
    struct boot_memory map[6] = {range(0, 1, BOOT_MEMORY_FREE), range(0x200, 1, BOOT_MEMORY_FREE)};
    uint64_t page = 1;
    cr_assert_eq(boot_map_low(map, 2, 6, &page), 2);
    cr_assert_eq(page, 0);
    cr_assert_eq(map[0].type, BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(map[1].type, BOOT_MEMORY_FREE);
    map[0] = range(1, 1, BOOT_MEMORY_FREE);
    cr_assert_eq(boot_map_low(map, 2, 6, &page), 2);
    cr_assert_eq(page, BOOT_PAGE_SIZE);
    cr_assert_eq(map[0].type, BOOT_MEMORY_FIRMWARE);
    map[0] = range(1, 1, BOOT_MEMORY_LOADER); // its own
    cr_assert_eq(boot_map_low(map, 2, 6, &page), 2);
    cr_assert_eq(page, 0);
    map[0] = range(1, 0x1ff, BOOT_MEMORY_FREE); // over both bounds
    cr_assert_eq(boot_map_low(map, 2, 6, &page), 2);
    cr_assert_eq(page, 0x9f * BOOT_PAGE_SIZE);
    cr_assert_eq(map[0].type, BOOT_MEMORY_FIRMWARE);
    cr_assert_eq(map[1].base, BOOT_LOW_END);
    cr_assert_eq(map[1].type, BOOT_MEMORY_FREE);
    map[0] = range(1, 0x1ff, BOOT_MEMORY_FREE);
    map[1] = range(0x200, 1, BOOT_MEMORY_FREE);
    cr_assert_eq(boot_map_low(map, 2, 2, &page), 2); // no room
    cr_assert_eq(map[0].type, BOOT_MEMORY_FIRMWARE);
}

Test(boot_map, smallest_free_ranges_are_left_off) {
    struct boot_memory map[] = {range(256, 1, BOOT_MEMORY_LOADER), range(258, 3, BOOT_MEMORY_FREE),
                                range(264, 1, BOOT_MEMORY_FREE),   range(266, 1, BOOT_MEMORY_ACPI),
                                range(268, 9, BOOT_MEMORY_FREE),   range(286, 2, BOOT_MEMORY_FREE)};
    cr_assert_eq(boot_map_bound(map, 6, 6), 6);
    cr_assert_eq(boot_map_bound(map, 6, 4), 4);
    cr_assert_eq(map[1].base, 258 * BOOT_PAGE_SIZE);
    cr_assert_eq(map[2].type, BOOT_MEMORY_ACPI);
    cr_assert_eq(map[3].base, 268 * BOOT_PAGE_SIZE);
    cr_assert_eq(boot_map_bound(map, 4, 2), 2);
    cr_assert_eq(map[0].type, BOOT_MEMORY_LOADER);
    cr_assert_eq(map[1].type, BOOT_MEMORY_ACPI);
}

Test(boot_map, only_free_ranges_are_left_off) {
    static const uint32_t types[] = {BOOT_MEMORY_LOADER, BOOT_MEMORY_KERNEL,   BOOT_MEMORY_MODULE,
                                     BOOT_MEMORY_ACPI,   BOOT_MEMORY_FIRMWARE, BOOT_MEMORY_DEVICE};
    for (uint32_t i = 0; i < ARRAY_COUNT(types); i++) {
        struct boot_memory map[] = {range(256, 9, BOOT_MEMORY_LOADER), range(266, 1, types[i]),
                                    range(268, 1, BOOT_MEMORY_FREE), range(270, 1, types[i])};
        cr_assert_eq(boot_map_bound(map, 4, 3), 3);
        cr_assert_eq(map[2].base, 270 * BOOT_PAGE_SIZE);
        cr_assert_eq(boot_map_bound(map, 3, 2), 0, "type %u", types[i]);
    }
}

// A damaged MADT: only what lies in no page of RAM is left, in its order.
Test(boot_map, ioapics_in_ram_are_left_off) {
    const struct boot_memory map[] = {
        range(1, 7, BOOT_MEMORY_FREE),   range(8, 1, BOOT_MEMORY_LOADER),
        range(9, 1, BOOT_MEMORY_KERNEL), range(10, 1, BOOT_MEMORY_MODULE),
        range(11, 1, BOOT_MEMORY_ACPI),  range(12, 1, BOOT_MEMORY_FIRMWARE),
        range(13, 1, BOOT_MEMORY_DEVICE)};
    static struct boot_info info;
    static const uint64_t pages[] = {12, 1, 7, 8, 14, 9, 10, 13, 11};
    static const uint64_t dropped[] = {1, 7, 8, 9, 10, 11}, kept[] = {12, 14, 13};
    uint64_t address;
    for (uint32_t i = 0; i < ARRAY_COUNT(pages); i++)
        info.ioapic[i].address = (pages[i] + 1) * BOOT_PAGE_SIZE - BOOT_IOAPIC_SIZE;
    info.ioapic_count = ARRAY_COUNT(pages);
    for (uint32_t i = 0; i < ARRAY_COUNT(dropped); i++) {
        cr_assert(boot_map_drop_ioapic(map, ARRAY_COUNT(map), &info, &address));
        cr_assert_eq(address / BOOT_PAGE_SIZE, dropped[i]);
    }
    cr_assert_not(boot_map_drop_ioapic(map, ARRAY_COUNT(map), &info, &address));
    cr_assert_eq(info.ioapic_count, ARRAY_COUNT(kept));
    for (uint32_t i = 0; i < ARRAY_COUNT(kept); i++)
        cr_assert_eq(info.ioapic[i].address / BOOT_PAGE_SIZE, kept[i]);
    info.ioapic[1].address += 4;
    cr_assert(boot_map_drop_ioapic(map, ARRAY_COUNT(map), &info, &address));
    cr_assert_eq(info.ioapic_count, ARRAY_COUNT(kept) - 1);
}
