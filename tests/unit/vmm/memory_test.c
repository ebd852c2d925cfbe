// SPDX-License-Identifier: Apache-2.0
// vmm/memory: layout, e820 map and pointers, for guests below and above the PCI hole; and
// vmm/clock.
#include "vmm/memory.h"

#include <criterion/criterion.h>

#include "vmm/device/clock.h"
#include "vmm/device/pc.h"

#define GIB (1ULL << 30)

// A base that is never dereferenced.
static uint8_t *const base = (uint8_t *)0x10000000000ULL;

static const uint64_t sizes[] = {MEMORY_SIZE_MIN, 64ULL << 20, 3 * GIB - 4096, 3 * GIB,
                                 3 * GIB + 4096,  4 * GIB,     64 * GIB};

// The ROM is there twice.
Test(vmm_memory, regions_cover_each_byte_but_video) {
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct memory memory;
        struct memory_region regions[MEMORY_REGIONS_MAX];
        memory_init(&memory, base, sizes[s]);
        size_t count = memory_regions(&memory, regions);
        uint64_t total = 0;
        for (size_t i = 0; i < count; i++) {
            total += regions[i].size;
            cr_assert_gt(regions[i].size, 0);
            if (i > 0) {
                cr_assert_geq(regions[i].gpa, regions[i - 1].gpa + regions[i - 1].size);
            }
            cr_assert_eq(memory_pointer(&memory, regions[i].gpa, regions[i].size),
                         base + regions[i].offset);
            cr_assert_eq(memory_is_rom(regions[i].gpa, 1), regions[i].is_rom);
            cr_assert_eq(memory_writable(&memory, regions[i].gpa, 1) == NULL, regions[i].is_rom);
            cr_assert_eq(memory_is_rom(regions[i].gpa, regions[i].size), regions[i].is_rom);
            uint64_t end = regions[i].gpa + regions[i].size;
            bool goes_on = i + 1 < count && regions[i + 1].gpa == end &&
                           regions[i + 1].offset == regions[i].offset + regions[i].size;
            cr_assert_eq(memory_pointer(&memory, regions[i].gpa, regions[i].size + 1) != NULL,
                         goes_on);
        }
        cr_assert_eq(total, sizes[s] - (MEMORY_VIDEO_END - MEMORY_VIDEO_BASE) + MEMORY_ROM_SIZE);
    }
}

Test(vmm_memory, e820_names_ram_that_is_mapped) {
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct memory memory;
        struct memory_e820 map[MEMORY_E820_MAX];
        uint64_t end = 0;
        memory_init(&memory, base, sizes[s]);
        size_t count = memory_e820(&memory, map);
        for (size_t i = 0; i < count; i++) {
            cr_assert_geq(map[i].base, end);
            end = map[i].base + map[i].size;
            if (map[i].type == MEMORY_E820_RAM)
                cr_assert_not_null(memory_pointer(&memory, map[i].base, map[i].size));
        }
    }
}

Test(vmm_memory, hole_belongs_to_the_bus) {
    struct memory memory;
    memory_init(&memory, base, 4 * GIB);
    cr_assert_null(memory_pointer(&memory, MEMORY_VIDEO_BASE, 1));
    cr_assert_null(memory_pointer(&memory, MEMORY_VIDEO_BASE - 1, 2));
    cr_assert_null(memory_pointer(&memory, MEMORY_VIDEO_END - 1, 1));
    cr_assert_not_null(memory_pointer(&memory, MEMORY_VIDEO_END, 1));
    cr_assert_null(memory_pointer(&memory, PC_MMIO_HOLE_BASE, 1));
    cr_assert_null(memory_pointer(&memory, PC_MMIO_HOLE_BASE - 1, 2));
    cr_assert_null(memory_pointer(&memory, PC_LAPIC_BASE, 4));
    cr_assert_null(memory_pointer(&memory, UINT64_MAX, 1));
    cr_assert_null(memory_pointer(&memory, 0, UINT64_MAX));
    cr_assert_null(memory_pointer(&memory, PC_HIGH_RAM_BASE + GIB, 1));
    cr_assert_eq(memory_pointer(&memory, PC_HIGH_RAM_BASE, 1), base + 3 * GIB);
}

Test(vmm_memory, rom_is_not_writable_and_seen_twice) {
    struct memory memory;
    memory_init(&memory, base, 4 * GIB);
    cr_assert_eq(memory_pointer(&memory, 0xfffffff0, 16), base + 0xffff0);
    cr_assert_null(memory_pointer(&memory, 0xfffffff0, 17));
    cr_assert_null(memory_pointer(&memory, 0xfffeffff, 2));
    cr_assert(memory_is_rom(0xeffff, 2));
    cr_assert(memory_is_rom(0xfffff, 1));
    cr_assert_not(memory_is_rom(0xeffff, 1));
    cr_assert_not(memory_is_rom(0x100000, 8));
    cr_assert(memory_is_rom(0xfffeffff, 2));
    cr_assert(memory_is_rom(0xffffffff, 1));
    cr_assert(memory_is_rom(0xffffffff, 2));
    cr_assert_not(memory_is_rom(0x100000000, 8));
    cr_assert_not(memory_is_rom(0xfffeffff, 1));
}

Test(vmm_clock, both_directions_agree) {
    static const uint64_t rates[] = {1000000, 50000000, 999999999, 2900000000, 4700000000};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct clock clock;
        uint64_t tsc = 123456789;
        clock_init(&clock, rates[i], tsc, 1000);
        cr_assert_eq(clock_ns(&clock, tsc), 1000);
        // A day later it is a day later, to the microsecond.
        uint64_t day = clock_ns(&clock, tsc + 86400 * rates[i]);
        cr_assert_lt(day - (1000 + 86400000000000ULL) + 100000, 200000);
        for (uint64_t ahead = 1; ahead < 10000000000; ahead *= 7) {
            uint64_t then = clock_tsc(&clock, tsc, 1000 + ahead);
            cr_assert_geq(clock_ns(&clock, then) + 20, 1000 + ahead);
            cr_assert_leq(clock_ns(&clock, then), 1000 + ahead + 2000000000 / rates[i] + 20);
        }
    }
}

Test(vmm_clock, past_is_now_and_never_is_never) {
    struct clock clock;
    clock_init(&clock, 3000000000, 5000, 700);
    cr_assert_eq(clock_tsc(&clock, 6000, 0), 6000);
    cr_assert_eq(clock_tsc(&clock, 6000, UINT64_MAX), UINT64_MAX);
    cr_assert_eq(clock_tsc(&clock, 6000, UINT64_MAX - 1), UINT64_MAX);
}

Test(vmm_clock, ticks_are_nanoseconds) {
    const uint64_t rates[] = {1000000, 50000000, 375000000, 2893202000, 8000000000};
    for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        uint64_t ns = clock_ticks_ns(rates[i] * 86400, rates[i]); // a day
        cr_expect(ns <= 86400000000000 && ns >= 86400000000000 - 200000, "%lu Hz: %lu", rates[i],
                  ns);
    }
    cr_assert_eq(clock_ticks_ns(0, 50000000), 0);
}
