// SPDX-License-Identifier: Apache-2.0
// The memory map; the interface is told in boot_map.h.
//
// The map is built by the plainest method: cut the address space at every base and end, and give
// each piece the highest type among the ranges that cover it. That is quadratic, on maps of a few
// hundred ranges, and has no special cases.
#include "boot/boot_map.h"

#include <stddef.h>

#define START_END     0xa0000ull // SDM 3A 11.4.4 "MP Initialization Example": no vectors A0H to BFH
#define PHYSICAL_BITS 52 // SDM 3A 4.5 "4-Level Paging and 5-Level Paging": MAXPHYADDR is at most 52

uint32_t boot_map_type(uint32_t efi_type) {
    static const uint8_t types[] = {
        [0] = BOOT_MEMORY_FIRMWARE,  // EfiReservedMemoryType
        [1] = BOOT_MEMORY_LOADER,    // EfiLoaderCode
        [2] = BOOT_MEMORY_LOADER,    // EfiLoaderData
        [3] = BOOT_MEMORY_FREE,      // EfiBootServicesCode
        [4] = BOOT_MEMORY_FREE,      // EfiBootServicesData
        [5] = BOOT_MEMORY_FIRMWARE,  // EfiRuntimeServicesCode
        [6] = BOOT_MEMORY_FIRMWARE,  // EfiRuntimeServicesData
        [7] = BOOT_MEMORY_FREE,      // EfiConventionalMemory
        [8] = BOOT_MEMORY_FIRMWARE,  // EfiUnusableMemory
        [9] = BOOT_MEMORY_ACPI,      // EfiACPIReclaimMemory
        [10] = BOOT_MEMORY_FIRMWARE, // EfiACPIMemoryNVS
        [11] = BOOT_MEMORY_DEVICE,   // EfiMemoryMappedIO
        [12] = BOOT_MEMORY_DEVICE,   // EfiMemoryMappedIOPortSpace
        [13] = BOOT_MEMORY_FIRMWARE, // EfiPalCode
        [14] = BOOT_MEMORY_FIRMWARE, // EfiPersistentMemory
        [15] = BOOT_MEMORY_FIRMWARE, // EfiUnacceptedMemoryType
    };
    return efi_type < sizeof(types) ? types[efi_type] : BOOT_MEMORY_FIRMWARE;
}

bool boot_map_range(struct boot_memory *range, uint64_t base, uint64_t pages, uint32_t type) {
    const uint64_t limit = 1ull << PHYSICAL_BITS;
    const uint64_t offset = base % BOOT_PAGE_SIZE;
    if (base >= limit || pages > (limit - base) / BOOT_PAGE_SIZE)
        return false;
    uint64_t end = base + pages * BOOT_PAGE_SIZE;
    if (offset != 0 && type == BOOT_MEMORY_FREE) {
        base += BOOT_PAGE_SIZE - offset;
        end -= offset;
    } else if (offset != 0) {
        base -= offset;
        end += BOOT_PAGE_SIZE - offset;
    }
    if (pages == 0 || base >= end)
        return false;
    *range = (struct boot_memory){.base = base, .length = end - base, .type = type};
    return true;
}

// Sorts all bases and ends, each value once. Insertion, since firmware gives a nearly sorted map.
static uint32_t collect_points(const struct boot_memory *ranges, uint32_t count, uint64_t *points) {
    uint32_t points_count = 0;
    for (uint32_t i = 0; i < 2 * count; i++) {
        uint64_t point = ranges[i / 2].base + (i % 2 == 0 ? 0 : ranges[i / 2].length);
        uint32_t at = points_count;
        while (at > 0 && points[at - 1] > point)
            at--;
        if (at > 0 && points[at - 1] == point)
            continue;
        for (uint32_t k = points_count; k > at; k--)
            points[k] = points[k - 1];
        points[at] = point;
        points_count++;
    }
    return points_count;
}

// The highest type that covers `address`, 0 when none does.
static uint32_t type_at(const struct boot_memory *ranges, uint32_t count, uint64_t address) {
    uint32_t type = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct boot_memory *range = &ranges[i];
        if (address >= range->base && address - range->base < range->length && range->type > type)
            type = range->type;
    }
    return type;
}

uint32_t boot_map_build(const struct boot_memory *ranges, uint32_t count, uint64_t *points,
                        struct boot_memory *out) {
    uint32_t points_count = collect_points(ranges, count, points);
    uint32_t out_count = 0;
    for (uint32_t i = 0; i + 1 < points_count; i++) {
        uint64_t length = points[i + 1] - points[i];
        uint32_t type = type_at(ranges, count, points[i]);
        struct boot_memory *last = out_count > 0 ? &out[out_count - 1] : NULL;
        if (type == 0)
            continue;
        if (last != NULL && last->type == type && last->base + last->length == points[i])
            last->length += length;
        else
            out[out_count++] =
                (struct boot_memory){.base = points[i], .length = length, .type = type};
    }
    return out_count;
}

// Makes one range into two at `at`, a page within it.
static void cut(struct boot_memory *map, uint32_t count, uint32_t index, uint64_t at) {
    for (uint32_t i = count; i > index; i--)
        map[i] = map[i - 1];
    map[index].length = at - map[index].base;
    map[index + 1].length -= map[index].length;
    map[index + 1].base = at;
}

// Makes neighbours of one type one range.
static uint32_t join(struct boot_memory *map, uint32_t count) {
    uint32_t joined = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct boot_memory *last = joined > 0 ? &map[joined - 1] : NULL;
        if (last != NULL && last->type == map[i].type && last->base + last->length == map[i].base)
            last->length += map[i].length;
        else
            map[joined++] = map[i];
    }
    return joined;
}

uint32_t boot_map_low(struct boot_memory *map, uint32_t count, uint32_t max, uint64_t *page) {
    *page = 0;
    for (uint32_t i = 0; i < count && map[i].base < BOOT_LOW_END; i++) {
        bool is_free = map[i].type == BOOT_MEMORY_FREE;
        if (map[i].type > BOOT_MEMORY_LOADER)
            continue;
        if (map[i].base + map[i].length > BOOT_LOW_END && count < max)
            cut(map, count++, i, BOOT_LOW_END);
        uint64_t end = map[i].base + map[i].length;
        uint64_t last = (end < START_END ? end : START_END) - BOOT_PAGE_SIZE;
        map[i].type = BOOT_MEMORY_FIRMWARE;
        if (is_free && last >= map[i].base)
            *page = last;
    }
    return join(map, count);
}

uint32_t boot_map_nodes(struct boot_memory *map, uint32_t count, uint32_t max,
                        const struct boot_acpi *acpi) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = map[i].base + map[i].length;
        uint64_t change = end;
        map[i].node = BOOT_NODE_NONE;
        if (map[i].type > BOOT_MEMORY_ACPI)
            continue;
        map[i].node = boot_acpi_node(acpi, map[i].base, &change);
        change = (change + BOOT_PAGE_SIZE - 1) & ~(BOOT_PAGE_SIZE - 1);
        if (change < end && count < max)
            cut(map, count++, i, change);
    }
    return count;
}

uint32_t boot_map_bound(struct boot_memory *map, uint32_t count, uint32_t max) {
    while (count > max) {
        uint32_t victim = count;
        uint64_t least = UINT64_MAX;
        for (uint32_t i = 0; i < count; i++)
            if (map[i].type == BOOT_MEMORY_FREE && map[i].length < least) {
                victim = i;
                least = map[i].length;
            }
        if (victim == count)
            return 0;
        for (count--; victim < count; victim++)
            map[victim] = map[victim + 1];
    }
    return count;
}

bool boot_map_drop_ioapic(const struct boot_memory *map, uint32_t count, struct boot_info *info,
                          uint64_t *address) {
    uint32_t i = 0;
    while (i < info->ioapic_count && boot_ioapic_is_apart(info->ioapic[i].address, map, count))
        i++;
    if (i == info->ioapic_count)
        return false;
    *address = info->ioapic[i].address;
    for (info->ioapic_count--; i < info->ioapic_count; i++)
        info->ioapic[i] = info->ioapic[i + 1];
    return true;
}
