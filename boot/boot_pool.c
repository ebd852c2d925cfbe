// SPDX-License-Identifier: Apache-2.0
// See boot/boot_pool.h.
#include "boot/boot_pool.h"

#define FIRST_PAGES 0x180000ull
#define ROUNDING    0x10000ull // of levels and whole GiBs

uint64_t boot_pool_memory_end(const struct boot_memory *map, uint32_t count) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; i++)
        if (map[i].type <= BOOT_MEMORY_MODULE)
            end = map[i].base + map[i].length;
    return end;
}

// A byte for the auditor, a bit in each of three bitmaps, and for their further levels and those of
// chunks less than a sixty-fourth.
uint64_t boot_pool_size(uint64_t memory_end) {
    uint64_t frames = memory_end / BOOT_PAGE;
    uint64_t size = frames + frames / 8 * 3 + frames / 64 + ROUNDING + FIRST_PAGES;
    return (size + BOOT_POOL_ALIGN - 1) / BOOT_POOL_ALIGN * BOOT_POOL_ALIGN;
}
