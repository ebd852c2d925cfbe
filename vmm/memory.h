// SPDX-License-Identifier: Apache-2.0
// The guest's RAM: where it lies in guest-physical memory and where the VMM sees it.
//
// The VMM sees all RAM in one piece at `base`. The guest sees the first `low_size` bytes of it from
// 0 on, less the window of the video memory of old, and the rest from 4 GiB on: between them lies
// the PCI hole (pc.h). The last 64 KiB below 1 MiB are the firmware's ROM: it is also seen below 4
// GiB, where a processor starts, and the guest cannot write it. What is no RAM belongs to the bus.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_VIDEO_BASE 0xa0000ULL // not RAM, so that nobody takes it for video memory ...
#define MEMORY_VIDEO_END  0xc0000ULL
#define MEMORY_EBDA_BASE  0x9fc00ULL // reserved as on every PC
#define MEMORY_BIOS_BASE  0xe0000ULL // RAM that holds the ACPI tables, reserved
#define MEMORY_BIOS_END   0x100000ULL
#define MEMORY_ROM_BASE   0xf0000ULL    // to MEMORY_BIOS_END
#define MEMORY_ROM_ALIAS  0xffff0000ULL // the same, to 4 GiB
#define MEMORY_ROM_SIZE   0x10000ULL
#define MEMORY_SIZE_MIN   (2ULL << 20)

struct memory {
    uint8_t *base; // NULL until it is mapped
    uint64_t size;
    uint64_t low_size;
    uint64_t high_size;
};

// What is mapped into the guest: `offset` counts from `base`.
struct memory_region {
    uint64_t gpa;
    uint64_t offset;
    uint64_t size;
    bool is_rom; // not writable
};

#define MEMORY_REGIONS_MAX 6u

// The memory map that a PC's firmware gives: ACPI 6.5 15.1 "INT 15H, E820H - Query System Address
// Map". The layout is that of struct boot_e820_entry of the Linux boot protocol.
struct __attribute__((packed)) memory_e820 {
    uint64_t base;
    uint64_t size;
    uint32_t type;
};

#define MEMORY_E820_RAM      1u
#define MEMORY_E820_RESERVED 2u
#define MEMORY_E820_MAX      6u

// Lays out `size` bytes of RAM, at least MEMORY_SIZE_MIN.
void memory_init(struct memory *memory, uint8_t *base, uint64_t size);

// Fills `regions` in ascending order and returns how many there are.
size_t memory_regions(const struct memory *memory,
                      struct memory_region regions[static MEMORY_REGIONS_MAX]);

// Fills `map` in ascending order and returns how many entries there are.
size_t memory_e820(const struct memory *memory, struct memory_e820 map[static MEMORY_E820_MAX]);

// Where the VMM sees [gpa, gpa + length), or NULL when any of it is neither RAM nor ROM.
void *memory_pointer(const struct memory *memory, uint64_t gpa, uint64_t length);

// The same for who writes there for the guest: NULL in the ROM, too.
void *memory_writable(const struct memory *memory, uint64_t gpa, uint64_t length);

// Whether a write by the guest to any byte of [gpa, gpa + length) is lost.
bool memory_is_rom(uint64_t gpa, uint64_t length);
