// SPDX-License-Identifier: Apache-2.0
// The page tables for the kernel's entry; the interface is told in boot_paging.h.
//
// Tables come from a block that was counted beforehand, because the last step before leaving the
// boot services may not allocate.
#include "boot/boot_paging.h"

#include <stddef.h>

#define PTE_PRESENT 0x001ull
#define PTE_WRITE   0x002ull
#define PTE_LARGE   0x080ull // PS, in PDEs and PDPTEs
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define SIZE_4K   (1ull << 12)
#define SIZE_2M   (1ull << 21)
#define SIZE_1G   (1ull << 30)
#define SIZE_512G (1ull << 39)
#define SIZE_LOW  (4 * SIZE_1G) // mapped whatever the memory map says

#define IDENTITY_END (1ull << 47) // the lower half

enum level { LEVEL_PT = 0, LEVEL_PD = 1, LEVEL_PDPT = 2, LEVEL_PML4 = 3 };

static uint64_t align_down(uint64_t value, uint64_t size) {
    return value & ~(size - 1);
}

static uint64_t align_up(uint64_t value, uint64_t size) {
    return align_down(value + size - 1, size);
}

// Devices and what the firmware keeps may be holes of any size, where not even speculation should
// go.
static bool is_wanted(const struct boot_memory *range) {
    return range->type <= BOOT_MEMORY_ACPI && range->base + range->length <= IDENTITY_END;
}

// Adds up the distinct units of `size` that the sorted ranges touch above the low part.
static uint64_t count_units(const struct boot_memory *ranges, uint32_t count, uint64_t size) {
    uint64_t units = 0;
    uint64_t next = SIZE_LOW / size; // first unit not yet counted
    for (uint32_t i = 0; i < count; i++) {
        if (!is_wanted(&ranges[i]))
            continue;
        uint64_t first = ranges[i].base / size;
        uint64_t end = align_up(ranges[i].base + ranges[i].length, size) / size;
        if (first < next)
            first = next;
        if (end > first) {
            units += end - first;
            next = end;
        }
    }
    return units;
}

uint64_t boot_paging_count(const struct boot_memory *ranges, uint32_t count, uint64_t kernel_size) {
    const uint64_t low = 1 + 1 + SIZE_LOW / SIZE_1G; // PML4, the first PDPT, its PDs
    const uint64_t extra = 2 * 2;                    // one range that may cross a boundary
    const uint64_t kernel = 2 + align_up(kernel_size, SIZE_2M) / SIZE_2M;
    return low + extra + kernel + count_units(ranges, count, SIZE_512G) +
           count_units(ranges, count, SIZE_1G);
}

void boot_paging_init(struct boot_paging *paging, void *pages, uint32_t tables_count,
                      bool has_1g_pages) {
    *paging = (struct boot_paging){.tables = pages,
                                   .tables_used = 1,
                                   .tables_count = tables_count,
                                   .has_1g_pages = has_1g_pages};
    for (uint32_t i = 0; i < tables_count; i++) {
        for (uint32_t k = 0; k < 512; k++)
            paging->tables[i][k] = 0;
    }
}

// The entry for `address` in the table of `target` level, with the tables above made as needed.
// NULL when they are used up. A large page on the way is returned instead.
static uint64_t *find_entry(struct boot_paging *paging, uint64_t address, enum level target) {
    uint64_t *table = paging->tables[0];
    for (uint32_t level = LEVEL_PML4;; level--) {
        uint64_t *entry = &table[address >> (12 + 9 * level) & 511];
        if (level == (uint32_t)target || (*entry & PTE_LARGE))
            return entry;
        if (*entry == 0) {
            if (paging->tables_used == paging->tables_count)
                return NULL;
            uint64_t *lower = paging->tables[paging->tables_used++];
            *entry = (uint64_t)(uintptr_t)lower | PTE_PRESENT | PTE_WRITE;
        }
        table = (uint64_t *)(uintptr_t)(*entry & PTE_ADDRESS);
    }
}

// May one 1 GiB page stand at `address`? Not over a directory that is there already.
static bool fits_1g(struct boot_paging *paging, uint64_t address, uint64_t end) {
    if (!paging->has_1g_pages || address < SIZE_LOW || address % SIZE_1G != 0 ||
        end - address < SIZE_1G)
        return false;
    const uint64_t *entry = find_entry(paging, address, LEVEL_PDPT);
    return entry != NULL && (*entry == 0 || (*entry & PTE_LARGE));
}

bool boot_paging_identity(struct boot_paging *paging, uint64_t base, uint64_t length) {
    uint64_t end = base + length;
    if (end < base || end > IDENTITY_END)
        return false;
    uint64_t address = align_down(base, SIZE_2M);
    while (address < end) {
        bool is_1g = fits_1g(paging, address, end);
        uint64_t *entry = find_entry(paging, address, is_1g ? LEVEL_PDPT : LEVEL_PD);
        if (entry == NULL)
            return false;
        if (*entry == 0)
            *entry = address | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
        address += is_1g ? SIZE_1G : SIZE_2M;
    }
    return true;
}

bool boot_paging_memory(struct boot_paging *paging, const struct boot_memory *ranges,
                        uint32_t count) {
    if (!boot_paging_identity(paging, 0, SIZE_LOW))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (is_wanted(&ranges[i]) &&
            !boot_paging_identity(paging, ranges[i].base, ranges[i].length))
            return false;
    }
    paging->tables[0][BOOT_DIRECT >> 39 & 511] = paging->tables[0][0];
    return true;
}

bool boot_paging_kernel(struct boot_paging *paging, const struct elf_image *image,
                        uint64_t kernel_base) {
    struct elf_segment segment;
    uint32_t cursor = 0;
    while (elf_segment(image, &cursor, &segment)) {
        uint64_t rights = PTE_PRESENT;
        if (segment.flags & ELF_FLAG_WRITE)
            rights |= PTE_WRITE;
        if (!(segment.flags & ELF_FLAG_EXECUTE))
            rights |= PTE_NX;
        uint64_t address = align_down(segment.virtual_address, SIZE_4K);
        uint64_t end = segment.virtual_address + segment.memory_size;
        for (; address < end; address += SIZE_4K) {
            uint64_t *entry = find_entry(paging, address, LEVEL_PT);
            if (entry == NULL)
                return false;
            *entry = (kernel_base + (address - BOOT_KERNEL_VMA)) | rights;
        }
    }
    return true;
}

uint64_t boot_paging_root(const struct boot_paging *paging) {
    return (uint64_t)(uintptr_t)paging->tables[0];
}

void boot_paging_roots(const struct boot_paging *paging, uint64_t *pml4, uint64_t *pml5) {
    for (uint32_t i = 0; i < 512; i++) {
        pml4[i] = paging->tables[0][i];
        pml5[i] = 0;
    }
    pml5[0] = (uint64_t)(uintptr_t)pml4 | PTE_PRESENT | PTE_WRITE;
}

// The size of the page that maps `address` to itself; 0: there is none, or it can not be written.
static uint64_t page_size(uint64_t root, uint32_t levels, uint64_t address) {
    const uint64_t wanted = PTE_PRESENT | PTE_WRITE;
    uint64_t entry = root;
    for (uint32_t level = levels; level-- > 0;) {
        const uint64_t *table = (const uint64_t *)(uintptr_t)(entry & PTE_ADDRESS);
        uint64_t size = SIZE_4K << 9 * level;
        entry = table[address / size & 511];
        if ((entry & wanted) != wanted)
            return 0;
        bool is_large = level <= LEVEL_PDPT && (entry & PTE_LARGE) != 0;
        if (level == LEVEL_PT || is_large)
            return align_down(entry & PTE_ADDRESS, size) == align_down(address, size) ? size : 0;
    }
    return 0;
}

bool boot_paging_reaches(uint64_t root, uint32_t levels, uint64_t base, uint64_t length) {
    const uint64_t half = 1ull << (11 + 9 * levels); // addresses from there on are not canonical
    uint64_t size = 0;
    if (base > half || length > half - base)
        return false;
    for (uint64_t at = base; at < base + length; at = align_down(at, size) + size) {
        size = page_size(root, levels, at);
        if (size == 0)
            return false;
    }
    return true;
}
