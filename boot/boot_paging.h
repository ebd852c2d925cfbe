// SPDX-License-Identifier: Apache-2.0
// The page tables that the kernel is entered with: see the head of include/boot.h. No UEFI calls,
// so that the host's tests can link it. Physical address = pointer here, as the firmware maps
// identically.
//
//   boot_paging_count      how many pages the tables need at most
//   boot_paging_init       takes those pages
//   boot_paging_memory     maps the first 4 GiB and the memory map to themselves, and all of that
//                          below 512 GiB at BOOT_DIRECT
//   boot_paging_identity   maps one more range to itself
//   boot_paging_kernel     maps the kernel's segments
//   boot_paging_root       the value for CR3
//   boot_paging_roots      two more roots, for the way out of 5 levels
//   boot_paging_reaches    asks the firmware's tables
//
// Source: SDM 3A 4.5 "4-Level Paging and 5-Level Paging".
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "include/boot.h"
#include "lib/elf.h"

struct boot_paging {
    uint64_t (*tables)[512]; // [0] is the PML4
    uint32_t tables_used;
    uint32_t tables_count;
    bool has_1g_pages;
};

// Tables for the first 4 GiB, for `count` sorted ranges without overlap and one range more, and for
// a kernel of `kernel_size` bytes.
uint64_t boot_paging_count(const struct boot_memory *ranges, uint32_t count, uint64_t kernel_size);

// Takes `tables_count` pages at `pages`, page-aligned. `has_1g_pages`: CPUID says that 1 GiB pages
// exist.
void boot_paging_init(struct boot_paging *paging, void *pages, uint32_t tables_count,
                      bool has_1g_pages);

// Maps the first 4 GiB, and above them the ranges up to BOOT_MEMORY_ACPI (not the firmware's and
// the devices': those may be holes of any size) as boot_paging_identity does. The ranges are those
// that were counted. Once: what boot_paging_identity adds later shows at BOOT_DIRECT, too.
bool boot_paging_memory(struct boot_paging *paging, const struct boot_memory *ranges,
                        uint32_t count);

// Maps [base, base + length), widened to 2 MiB, to itself: writable and executable. 1 GiB pages
// stand only where the range fills them, and only above 4 GiB, since below that memory types change
// within one (SDM 3A 12.11.9 "Large Page Size Considerations"). Mapping a page twice is fine. False
// when the tables are used up or the range ends above 2^47.
bool boot_paging_identity(struct boot_paging *paging, uint64_t base, uint64_t length);

// Maps each segment of the checked kernel (elf_check_protected) in 4 KiB pages with its own rights,
// from kernel_base + (address - BOOT_KERNEL_VMA). False when the tables are used up.
bool boot_paging_kernel(struct boot_paging *paging, const struct elf_image *image,
                        uint64_t kernel_base);

uint64_t boot_paging_root(const struct boot_paging *paging);

// Makes of two pages roots that show the same as that one, of 4 and of 5 levels; the latter but for
// the upper half. For where CR3 has 32 bits only.
void boot_paging_roots(const struct boot_paging *paging, uint64_t *pml4, uint64_t *pml5);

// Is all of [base, base + length) mapped to itself, and writable, by the tables at `root` (CR3) of
// 4 or 5 `levels`?
bool boot_paging_reaches(uint64_t root, uint32_t levels, uint64_t base, uint64_t length);
