// SPDX-License-Identifier: Apache-2.0
// Pages from the firmware. All are allocated as EfiLoaderData; what they are for the kernel is
// remembered here and laid over the firmware's map at the end. (UEFI leaves types from 0x80000000
// on to OS loaders for this very purpose, but firmware is known that dies of them.)
#include "boot/boot_map.h"
#include "boot/loader.h"

#define LOW_END (1ull << 20)

static struct boot_memory blocks[MEMORY_BLOCKS_MAX];
static uint32_t blocks_count;

// Pages above 1 MiB. Firmwares write below, and the kernel needs a page there to start CPUs; a low
// block is kept until a higher one was found, so that the firmware can not give it twice.
static uint64_t alloc_high(uint64_t end, uint64_t pages) {
    EFI_PHYSICAL_ADDRESS base = end - 1; // of the last byte
    if (EFI_ERROR(
            loader_services->AllocatePages(AllocateMaxAddress, EfiLoaderData, (UINTN)pages, &base)))
        return 0;
    if (base >= LOW_END)
        return base;
    uint64_t higher = alloc_high(end, pages);
    loader_services->FreePages(base, (UINTN)pages);
    return higher;
}

static void keep(uint64_t base, uint64_t pages, enum boot_memory_type type) {
    blocks[blocks_count++] = (struct boot_memory){
        .base = base, .length = pages * BOOT_PAGE_SIZE, .type = (uint32_t)type};
}

static void free_pages(uint64_t base, uint64_t end) {
    if (end > base)
        loader_services->FreePages(base, (UINTN)((end - base) / BOOT_PAGE_SIZE));
}

uint64_t memory_alloc_below(uint64_t end, uint64_t pages, uint64_t align,
                            enum boot_memory_type type) {
    uint64_t spare = align / BOOT_PAGE_SIZE - 1;
    if (blocks_count == MEMORY_BLOCKS_MAX || pages == 0 || pages > UINT32_MAX)
        return 0;
    uint64_t start = alloc_high(end, pages + spare);
    if (start == 0)
        return 0;
    uint64_t base = (start + align - 1) & ~(align - 1);
    free_pages(start, base);
    free_pages(base + pages * BOOT_PAGE_SIZE, start + (pages + spare) * BOOT_PAGE_SIZE);
    keep(base, pages, type);
    return base;
}

uint64_t memory_alloc(uint64_t pages, uint64_t align, enum boot_memory_type type) {
    return memory_alloc_below(UINT64_MAX, pages, align, type);
}

bool memory_take(uint64_t base, uint64_t pages, enum boot_memory_type type) {
    EFI_PHYSICAL_ADDRESS at = base;
    if (blocks_count == MEMORY_BLOCKS_MAX ||
        EFI_ERROR(
            loader_services->AllocatePages(AllocateAddress, EfiLoaderData, (UINTN)pages, &at)))
        return false;
    keep(base, pages, type);
    return true;
}

void memory_release(void) {
    while (blocks_count > 0) {
        const struct boot_memory *block = &blocks[--blocks_count];
        free_pages(block->base, block->base + block->length);
    }
}

uint32_t memory_list(struct boot_memory *ranges) {
    for (uint32_t i = 0; i < blocks_count; i++)
        ranges[i] = blocks[i];
    return blocks_count;
}
