// SPDX-License-Identifier: Apache-2.0
// The memory map: from what the firmware says and what we placed to struct boot_memory of boot.h.
// No UEFI calls, so that the host's tests can link it.
//
//   boot_map_type   what a UEFI memory type is for the kernel
//   boot_map_range  a range of pages, safe against nonsense
//   boot_map_build  sorts and merges
//   boot_map_low    keeps what lies below 1 MiB from the kernel
//   boot_map_nodes  cuts ranges where memory of another node begins
//   boot_map_bound  leaves off what is too much
//   boot_map_drop_ioapic  leaves off an I/O APIC that would be RAM
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "boot/boot_acpi.h"
#include "include/boot.h"

#define BOOT_PAGE_SIZE 4096ull

// enum boot_memory_type of an EFI_MEMORY_TYPE (UEFI 2.10 7.2 "Memory Allocation Services"). Types
// that this version does not know are the firmware's.
uint32_t boot_map_type(uint32_t efi_type);

// Fills `range` with `pages` pages from `base`. An unaligned base (against the specification) loses
// its broken page when the range is free, and keeps it otherwise. False when nothing is left, or
// the range is outside the 52 bits that a physical address can have.
bool boot_map_range(struct boot_memory *range, uint64_t base, uint64_t pages, uint32_t type);

// Builds the sorted map without overlaps in `out` from `count` ranges in any order. Where ranges
// overlap, the higher type wins: a module over the loader data that it was allocated as, the
// firmware's claim over free memory. Neighbours of one type become one range.
// `points` has room for 2 * count values, `out` for 2 * count ranges. Returns the number of ranges.
uint32_t boot_map_build(const struct boot_memory *ranges, uint32_t count, uint64_t *points,
                        struct boot_memory *out);

// Calls what is FREE or LOADER below BOOT_LOW_END the firmware's; `map` has room for `max` ranges.
// What cannot be cut for lack of room is the firmware's as a whole. *page: the last of what was
// FREE that a CPU can start in, 0: none. Returns the number of ranges.
uint32_t boot_map_low(struct boot_memory *map, uint32_t count, uint32_t max, uint64_t *page);

// Sets the node of each of the `count` ranges of RAM in `map`, cutting them where it changes, and
// only at pages; `map` has room for `max`. A range that would need more room stays whole, with the
// node of its begin. Returns the number of ranges.
uint32_t boot_map_nodes(struct boot_memory *map, uint32_t count, uint32_t max,
                        const struct boot_acpi *acpi);

// Leaves off the smallest FREE ranges until at most `max` ranges are left.
// Returns the number of ranges; 0 when the others are more than `max`: none of them can be missed.
uint32_t boot_map_bound(struct boot_memory *map, uint32_t count, uint32_t max);

// Leaves off the first I/O APIC of `info` that is not where one can stand (include/boot.h), and
// tells its address. False: all are good.
bool boot_map_drop_ioapic(const struct boot_memory *map, uint32_t count, struct boot_info *info,
                          uint64_t *address);
