// SPDX-License-Identifier: Apache-2.0
// All RAM that the memory map names is there: as much as the manifest says (`memory=MIB` on the
// command line), zero at the start, keeping what is written to it, up to the last byte.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define MIB           BIT(20)
#define HOLE_AT_1_MIB (384 * 1024ULL) // from 640 KiB to 1 MiB

// Places below 1 MiB that the boot protocol has used: load.h of the VMM names them.
#define LOADER_END    0x10000ULL
#define CMDLINE_BEGIN 0x20000ULL
#define CMDLINE_END   0x21000ULL

static uint64_t map_ram(void) {
    uint64_t sum = 0, last_end = 0;
    for (size_t i = 0; i < e820_count(); i++) {
        struct e820 entry = e820_entry(i);
        CHECK(entry.size > 0);
        CHECK(entry.base >= last_end);
        last_end = entry.base + entry.size;
        if (entry.type == E820_RAM)
            sum += entry.size;
    }
    return sum;
}

static bool is_taken(uint64_t address) {
    return address < LOADER_END || (address >= CMDLINE_BEGIN && address < CMDLINE_END) ||
           (address >= MIB && address < align_up((uintptr_t)image_end, PAGE_SIZE));
}

// `visit` for each page of RAM below 4 GiB that is nobody's.
static void each_page(void (*visit)(volatile uint64_t *page)) {
    for (size_t i = 0; i < e820_count(); i++) {
        struct e820 entry = e820_entry(i);
        uint64_t end = align_down(entry.base + entry.size, PAGE_SIZE);
        if (entry.type != E820_RAM)
            continue;
        for (uint64_t at = align_up(entry.base, PAGE_SIZE); at < end && at < BIT(32);
             at += PAGE_SIZE)
            if (!is_taken(at))
                visit((volatile uint64_t *)(uintptr_t)at);
    }
}

#define WORDS (PAGE_SIZE / sizeof(uint64_t))
static uint64_t nonzero, wrong, pages;

static void look_for_zero(volatile uint64_t *page) {
    for (size_t i = 0; i < WORDS; i++)
        nonzero |= page[i];
    pages++;
}

static void write_pattern(volatile uint64_t *page) {
    for (size_t i = 0; i < WORDS; i++)
        page[i] = (uintptr_t)(page + i) * 0x9e3779b97f4a7c15ULL;
}

static void look_for_pattern(volatile uint64_t *page) {
    for (size_t i = 0; i < WORDS; i++)
        wrong += page[i] != (uintptr_t)(page + i) * 0x9e3779b97f4a7c15ULL;
}

void test(void) {
    uint64_t size = cmdline_number("memory") * MIB;
    uint64_t seen = map_ram();
    volatile uint8_t *last = (volatile uint8_t *)(uintptr_t)(low_ram_end() - 1);
    CHECK(seen <= size && seen + HOLE_AT_1_MIB + 1024 >= size);
    CHECK_EQ(low_ram_end(), size);
    each_page(look_for_zero);
    CHECK_EQ(nonzero, 0);
    CHECK(pages > (size - 2 * MIB) / PAGE_SIZE);
    each_page(write_pattern);
    each_page(look_for_pattern);
    CHECK_EQ(wrong, 0);
    *last = 0x5a;
    CHECK_EQ(*last, 0x5a);
}
