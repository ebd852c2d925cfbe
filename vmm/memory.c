// SPDX-License-Identifier: Apache-2.0
// The guest's RAM; the interface is told in memory.h.
#include "vmm/memory.h"

#include "vmm/device/pc.h"

static bool lies_within(uint64_t gpa, uint64_t length, uint64_t low, uint64_t high) {
    return gpa >= low && gpa <= high && length <= high - gpa;
}

void memory_init(struct memory *memory, uint8_t *base, uint64_t size) {
    memory->base = base;
    memory->size = size;
    memory->low_size = size < PC_MMIO_HOLE_BASE ? size : PC_MMIO_HOLE_BASE;
    memory->high_size = size - memory->low_size;
}

size_t memory_regions(const struct memory *memory,
                      struct memory_region regions[static MEMORY_REGIONS_MAX]) {
    size_t count = 0;
    regions[count++] = (struct memory_region){0, 0, MEMORY_VIDEO_BASE, false};
    regions[count++] = (struct memory_region){MEMORY_VIDEO_END, MEMORY_VIDEO_END,
                                              MEMORY_ROM_BASE - MEMORY_VIDEO_END, false};
    regions[count++] =
        (struct memory_region){MEMORY_ROM_BASE, MEMORY_ROM_BASE, MEMORY_ROM_SIZE, true};
    regions[count++] = (struct memory_region){MEMORY_BIOS_END, MEMORY_BIOS_END,
                                              memory->low_size - MEMORY_BIOS_END, false};
    regions[count++] =
        (struct memory_region){MEMORY_ROM_ALIAS, MEMORY_ROM_BASE, MEMORY_ROM_SIZE, true};
    if (memory->high_size > 0)
        regions[count++] =
            (struct memory_region){PC_HIGH_RAM_BASE, memory->low_size, memory->high_size, false};
    return count;
}

size_t memory_e820(const struct memory *memory, struct memory_e820 map[static MEMORY_E820_MAX]) {
    size_t count = 0;
    map[count++] = (struct memory_e820){0, MEMORY_EBDA_BASE, MEMORY_E820_RAM};
    map[count++] = (struct memory_e820){MEMORY_EBDA_BASE, MEMORY_VIDEO_BASE - MEMORY_EBDA_BASE,
                                        MEMORY_E820_RESERVED};
    map[count++] = (struct memory_e820){MEMORY_BIOS_BASE, MEMORY_BIOS_END - MEMORY_BIOS_BASE,
                                        MEMORY_E820_RESERVED};
    map[count++] =
        (struct memory_e820){MEMORY_BIOS_END, memory->low_size - MEMORY_BIOS_END, MEMORY_E820_RAM};
    map[count++] = (struct memory_e820){MEMORY_ROM_ALIAS, MEMORY_ROM_SIZE, MEMORY_E820_RESERVED};
    if (memory->high_size > 0)
        map[count++] = (struct memory_e820){PC_HIGH_RAM_BASE, memory->high_size, MEMORY_E820_RAM};
    return count;
}

void *memory_pointer(const struct memory *memory, uint64_t gpa, uint64_t length) {
    if (lies_within(gpa, length, MEMORY_VIDEO_END, memory->low_size) ||
        lies_within(gpa, length, 0, MEMORY_VIDEO_BASE))
        return memory->base + gpa;
    if (lies_within(gpa, length, MEMORY_ROM_ALIAS, MEMORY_ROM_ALIAS + MEMORY_ROM_SIZE))
        return memory->base + MEMORY_ROM_BASE + (gpa - MEMORY_ROM_ALIAS);
    if (lies_within(gpa, length, PC_HIGH_RAM_BASE, PC_HIGH_RAM_BASE + memory->high_size))
        return memory->base + memory->low_size + (gpa - PC_HIGH_RAM_BASE);
    return NULL;
}

void *memory_writable(const struct memory *memory, uint64_t gpa, uint64_t length) {
    return memory_is_rom(gpa, length) ? NULL : memory_pointer(memory, gpa, length);
}

bool memory_is_rom(uint64_t gpa, uint64_t length) {
    uint64_t last = gpa + (length - 1);
    return (gpa < MEMORY_BIOS_END && last >= MEMORY_ROM_BASE) ||
           (gpa < MEMORY_ROM_ALIAS + MEMORY_ROM_SIZE && last >= MEMORY_ROM_ALIAS);
}
