// SPDX-License-Identifier: Apache-2.0
// The interface is told in entry32.h.
#include "runtime/entry32.h"

#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define EFLAGS_VM BIT(17)
#define MAP_RAM   1u
#define VIDEO     0xa0000u

static uint64_t map_end, map_ram;
static uint32_t map_problems;

void entry_check_state(uint32_t magic) {
    CHECK_EQ(entry_state.eax, magic);
    CHECK_EQ(entry_state.cr0 & (CR0_PE | CR0_PG), CR0_PE);
    CHECK_EQ(entry_state.cr4, 0);
    CHECK_EQ(entry_state.efer, 0);
    CHECK_EQ(entry_state.eflags & (RFLAGS_IF | RFLAGS_TF | EFLAGS_VM), 0);
    CHECK_EQ(entry_state.cs_limit, UINT32_MAX);
    CHECK_EQ(entry_state.ds_limit, UINT32_MAX);
}

void entry_set_cmdline(uint64_t address) {
    memcpy(entry_zero_page + BOOT_CMDLINE, &address, 4);
}

void entry_check_module(uint64_t base, uint64_t size) {
    const volatile uint8_t *bytes = (const volatile uint8_t *)(uintptr_t)base;
    uint64_t wrong = 0;
    CHECK_EQ(size, cmdline_number("initrd"));
    CHECK(base >= (uintptr_t)image_end && is_aligned(base, PAGE_SIZE));
    for (uint64_t i = 0; i < size; i++)
        wrong += bytes[i] != (uint8_t)(i * 31 + (i >> 8));
    CHECK_EQ(wrong, 0);
}

void entry_see_map(uint64_t base, uint64_t size, uint32_t type) {
    map_problems += base < map_end || size == 0 || base + size < base;
    map_end = base + size;
    if (type == MAP_RAM)
        map_ram += size;
}

void entry_check_map(uint64_t memory_size) {
    CHECK_EQ(map_problems, 0);
    // All but the extended BIOS data area, the video memory and the BIOS area.
    CHECK_EQ(map_ram, memory_size - (BIT(20) - VIDEO) - 1024);
}
