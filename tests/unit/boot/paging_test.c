// SPDX-License-Identifier: Apache-2.0
// boot/boot_paging: tables are built in host memory and walked as the processor would.
#include "boot/boot_paging.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define GIB (1ull << 30)
#define MIB (1ull << 20)
#define NX  (1ull << 63)

static struct boot_paging paging;

static void start(const struct boot_memory *ranges, uint32_t count, uint64_t kernel_size,
                  bool has_1g_pages) {
    uint64_t tables = boot_paging_count(ranges, count, kernel_size);
    void *pages = aligned_alloc(4096, tables * 4096);
    memset(pages, 0xa5, tables * 4096);
    boot_paging_init(&paging, pages, (uint32_t)tables, has_1g_pages);
}

// Leaf entry for an address, 0 when there is none; *level is 0 for 4 KiB, 1 for 2 MiB, 2 for 1 GiB.
static uint64_t walk(uint64_t address, int *level) {
    uint64_t table = boot_paging_root(&paging);
    for (*level = 3;; (*level)--) {
        uint64_t entry =
            ((const uint64_t *)(table & 0xffffffffff000))[address >> (12 + 9 * *level) & 511];
        if (!(entry & 1) || *level == 0 || (entry & 0x80))
            return entry;
        table = entry;
    }
}

static bool is_identity(uint64_t address, int wanted_level) {
    int level;
    uint64_t entry = walk(address, &level);
    uint64_t size = 1ull << (12 + 9 * level);
    return entry == ((address & ~(size - 1)) | 0x83) && level == wanted_level;
}

static bool is_unmapped(uint64_t address) {
    int level;
    return walk(address, &level) == 0;
}

Test(boot_paging, first_4g_are_mapped_without_memory) {
    start(NULL, 0, 0, true);
    cr_assert(boot_paging_memory(&paging, NULL, 0));
    cr_assert(is_identity(0, 1));
    cr_assert(is_identity(0xfee00000, 1));
    cr_assert(is_identity(4 * GIB - 1, 1));
    cr_assert(is_unmapped(4 * GIB));
}

static const struct boot_memory ranges[] = {
    {.base = 0, .length = 3 * GIB, .type = BOOT_MEMORY_FREE},
    {.base = 4 * GIB, .length = 3 * GIB - 4096, .type = BOOT_MEMORY_FREE},
    {.base = 7 * GIB - 4096, .length = 4096, .type = BOOT_MEMORY_ACPI},
    {.base = 7 * GIB, .length = 4096, .type = BOOT_MEMORY_FREE},
    {.base = 9 * GIB, .length = GIB, .type = BOOT_MEMORY_FIRMWARE},
    {.base = 513 * GIB, .length = 4 * MIB, .type = BOOT_MEMORY_MODULE},
    {.base = 1ull << 46, .length = 1ull << 45, .type = BOOT_MEMORY_DEVICE},
};

#define RANGES_COUNT (sizeof(ranges) / sizeof(ranges[0]))

Test(boot_paging, what_is_below_512g_is_in_the_direct_map_too) {
    int level;
    start(ranges, RANGES_COUNT, 0, true);
    cr_assert(boot_paging_memory(&paging, ranges, RANGES_COUNT));
    cr_assert_eq(walk(BOOT_DIRECT, &level), 0x83);
    cr_assert_eq(walk(BOOT_DIRECT + 4 * GIB - 1, &level), (4 * GIB - 2 * MIB) | 0x83);
    cr_assert_eq(walk(BOOT_DIRECT + 5 * GIB, &level), 5 * GIB | 0x83);
    cr_assert(is_unmapped(BOOT_DIRECT + 9 * GIB));
    cr_assert(is_unmapped(BOOT_DIRECT + 513 * GIB));
}

Test(boot_paging, memory_is_mapped_with_1g_pages) {
    start(ranges, RANGES_COUNT, 0, true);
    cr_assert(boot_paging_memory(&paging, ranges, RANGES_COUNT));
    cr_assert(is_identity(GIB, 1));
    cr_assert(is_identity(4 * GIB, 2));
    cr_assert(is_identity(6 * GIB - 1, 2));
    cr_assert(is_identity(7 * GIB - 1, 1));
    cr_assert(is_identity(7 * GIB, 1));
    cr_assert(is_unmapped(7 * GIB + 2 * MIB));
    cr_assert(is_unmapped(9 * GIB));
    cr_assert(is_identity(513 * GIB, 1));
    cr_assert(is_identity(513 * GIB + 4 * MIB - 1, 1));
    cr_assert(is_unmapped(513 * GIB + 4 * MIB));
    cr_assert(is_unmapped(1ull << 46));
    cr_assert_lt(boot_paging_count(ranges, RANGES_COUNT, 0), 40u);
}

Test(boot_paging, memory_is_mapped_without_1g_pages) {
    start(ranges, RANGES_COUNT, 0, false);
    cr_assert(boot_paging_memory(&paging, ranges, RANGES_COUNT));
    cr_assert(is_identity(4 * GIB, 1));
    cr_assert(is_identity(7 * GIB - 1, 1));
    cr_assert(boot_paging_identity(&paging, 1023 * GIB + 1023 * MIB, 2 * MIB)); // the range more
    cr_assert(is_identity(1024 * GIB, 1));
}

Test(boot_paging, range_above_the_lower_half_is_refused) {
    start(NULL, 0, 0, true);
    cr_assert_not(boot_paging_identity(&paging, (1ull << 47) - 4096, 8192));
    cr_assert_not(boot_paging_identity(&paging, UINT64_MAX - 4095, 8192));
}

Test(boot_paging, used_up_tables_are_told) {
    static _Alignas(4096) uint64_t pages[3][512];
    boot_paging_init(&paging, pages, 3, false);
    cr_assert(boot_paging_identity(&paging, 0, GIB));
    cr_assert_not(boot_paging_identity(&paging, GIB, 4096));
}

Test(boot_paging, further_roots_show_the_same) {
    static uint64_t pml4[512] __attribute__((aligned(4096)));
    static uint64_t pml5[512] __attribute__((aligned(4096)));
    start(ranges, RANGES_COUNT, 0, true);
    cr_assert(boot_paging_memory(&paging, ranges, RANGES_COUNT));
    memset(pml5, 0xa5, sizeof(pml5));
    boot_paging_roots(&paging, pml4, pml5);
    cr_assert_eq(memcmp(pml4, paging.tables[0], sizeof(pml4)), 0);
    const uint64_t roots[2] = {(uint64_t)(uintptr_t)pml4, (uint64_t)(uintptr_t)pml5};
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert(boot_paging_reaches(roots[i], 4 + i, 0, 7 * GIB - 4096));
        cr_assert_not(boot_paging_reaches(roots[i], 4 + i, 8 * GIB, 1));
    }
    for (uint32_t i = 1; i < 512; i++)
        cr_assert_eq(pml5[i], 0);
}

Test(boot_paging, kernel_has_the_rights_of_its_segments) {
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segments[3];
    } file = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_entry = BOOT_KERNEL_VMA + 0x1000,
                   .e_phoff = sizeof(Elf64_Ehdr),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 3},
        .segments = {{PT_LOAD, PF_R | PF_X, 0, BOOT_KERNEL_VMA + 0x1000, 0, 0, 0x1001, 4096},
                     {PT_LOAD, PF_R, 0, BOOT_KERNEL_VMA + 0x3010, 0, 0, 16, 4096},
                     {PT_LOAD, PF_R | PF_W, 0, BOOT_KERNEL_VMA + 0x4000, 0, 0, 4 * MIB, 4096}}};
    const uint64_t base = 64 * MIB;
    const uint64_t size = 4 * MIB + 0x4000;
    struct elf_image image;
    int level;
    cr_assert_eq(elf_check(&image, &file, sizeof(file)), ELF_OK);
    start(NULL, 0, size, false);
    cr_assert(boot_paging_memory(&paging, NULL, 0));
    cr_assert(boot_paging_kernel(&paging, &image, base));
    cr_assert(is_unmapped(BOOT_KERNEL_VMA));
    cr_assert_eq(walk(BOOT_KERNEL_VMA + 0x1000, &level), (base + 0x1000) | 1);
    cr_assert_eq(level, 0);
    cr_assert_eq(walk(BOOT_KERNEL_VMA + 0x2000, &level), (base + 0x2000) | 1);
    cr_assert_eq(walk(BOOT_KERNEL_VMA + 0x3000, &level), (base + 0x3000) | 1 | NX);
    cr_assert_eq(walk(BOOT_KERNEL_VMA + 0x4000, &level), (base + 0x4000) | 3 | NX);
    cr_assert_eq(walk(BOOT_KERNEL_VMA + size - 1, &level), (base + size - 0x1000) | 3 | NX);
    cr_assert(is_unmapped(BOOT_KERNEL_VMA + size));
}

// Tables of a firmware, by hand: 2 MiB at 0, 1 GiB at 1 GiB, 4 KiB at 4 GiB.
static uint64_t own[5][512] __attribute__((aligned(4096)));

static uint64_t make_firmware(void) {
    enum { PML5, PML4, PDPT, PD, PT };
    own[PML5][0] = (uint64_t)own[PML4] | 3;
    own[PML4][0] = (uint64_t)own[PDPT] | 3;
    own[PDPT][0] = (uint64_t)own[PD] | 3;
    own[PDPT][1] = GIB | 0x83;
    own[PDPT][4] = (uint64_t)own[PD] | 3;
    own[PD][0] = 0x83;
    own[PD][1] = (uint64_t)own[PT] | 3;
    own[PT][0] = 4 * GIB + 2 * MIB | NX | 3;
    own[PT][1] = 4 * GIB + 2 * MIB + 4096 | 1; // not to be written
    own[PT][2] = 4096 | 3;                     // not to itself
    return (uint64_t)own[PML4] | 0x18;         // as CR3 has it
}

Test(boot_paging, what_the_firmware_maps_is_reached) {
    const uint64_t small = 4 * GIB + 2 * MIB;
    const uint64_t roots[2] = {make_firmware(), (uint64_t)own[0]};
    for (uint32_t levels = 4; levels <= 5; levels++) {
        uint64_t root = roots[levels - 4];
        cr_assert(boot_paging_reaches(root, levels, 0, 2 * MIB));
        cr_assert(boot_paging_reaches(root, levels, 2 * GIB - 4, 4));
        cr_assert(boot_paging_reaches(root, levels, small, 4096));
        cr_assert_not(boot_paging_reaches(root, levels, GIB - 4, 8), "a hole before it");
        cr_assert_not(boot_paging_reaches(root, levels, 2 * GIB - 4, 8), "a hole behind it");
        cr_assert_not(boot_paging_reaches(root, levels, small, 4097));
        cr_assert_not(boot_paging_reaches(root, levels, small + 2 * 4096, 4));
        cr_assert_not(boot_paging_reaches(root, levels, 4 * GIB, 4), "not to itself");
        cr_assert_not(boot_paging_reaches(root, levels, 512 * GIB, 4));
        cr_assert_not(boot_paging_reaches(root, levels, UINT64_MAX - 3, 4));
        cr_assert_not(boot_paging_reaches(root, levels, 1ull << (11 + 9 * levels), 4));
    }
}
