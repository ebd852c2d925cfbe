// SPDX-License-Identifier: Apache-2.0
// The last steps: what the kernel is handed, out of the boot services, and into the kernel.
//
// Two blocks are allocated before the end, since the last steps may not allocate. `work` has room
// for the firmware's map and for sorting it; `handover` holds what the kernel reads: boot_info,
// memory map, stack and page tables. Both are BOOT_MEMORY_LOADER. After the boot services are left
// nothing can fail any more, and nothing is printed but an exception (fault.c): what is found then
// stands in the preflight report.
#include "boot/boot_console.h"
#include "boot/boot_map.h"
#include "boot/boot_paging.h"
#include "boot/boot_pool.h"
#include "boot/boot_start.h"
#include "boot/loader.h"
#include "include/font.h"
#include "lib/string.h"
#include "lib/types.h"

_Static_assert(sizeof(font_glyphs) == BOOT_GLYPHS * BOOT_GLYPH_HEIGHT, "the letters of boot_info");

#define STACK_SIZE     (16ull << 10)
#define MAP_SLACK      64u // descriptors that the map may grow by until it is final
#define LEAVE_ATTEMPTS 8u
#define WORD_TEXT_MAX  64u // of a word of the command line that is shown

#define CR0_WP    (1ull << 16)
#define CR4_PGE   (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define CR4_CET   (1ull << 23)
#define MSR_EFER  0xc0000080u
#define EFER_NXE  (1ull << 11)

// The firmware's map, with the size of a descriptor that it told.
struct firmware_map {
    uint8_t *bytes;
    UINTN capacity;
    UINTN size;
    UINTN key;
    UINTN descriptor_size;
};

struct work {
    struct firmware_map map;
    struct boot_memory *ranges; // unsorted: the firmware's and ours
    uint64_t *points;
    uint32_t ranges_max;
};

struct handover {
    struct boot_info *info;
    struct boot_memory *memory;
    uint8_t *stack_top;
    struct boot_paging paging;
};

static uint64_t pages_of(uint64_t bytes) {
    return (bytes + BOOT_PAGE_SIZE - 1) / BOOT_PAGE_SIZE;
}

static EFI_STATUS no_memory(void) {
    return console_fail(EFI_OUT_OF_RESOURCES,
                        "too little memory for the page tables: give the machine more");
}

static EFI_STATUS get_map(struct firmware_map *map) {
    UINT32 version;
    map->size = map->capacity;
    return loader_services->GetMemoryMap(&map->size, (EFI_MEMORY_DESCRIPTOR *)map->bytes, &map->key,
                                         &map->descriptor_size, &version);
}

static EFI_STATUS make_work(struct work *work) {
    struct firmware_map *map = &work->map;
    EFI_STATUS status = get_map(map); // capacity is 0: tells the size
    if (status != EFI_BUFFER_TOO_SMALL || map->descriptor_size < sizeof(EFI_MEMORY_DESCRIPTOR))
        return console_fail(EFI_DEVICE_ERROR,
                            "the firmware has no memory map: update the firmware");
    uint64_t count = map->size / map->descriptor_size + MAP_SLACK;
    map->capacity = count * map->descriptor_size;
    work->ranges_max = (uint32_t)(count + MEMORY_BLOCKS_MAX + BOOT_AFFINITIES_MAX);
    uint64_t ranges_size = work->ranges_max * sizeof(struct boot_memory);
    uint64_t points_size = 2 * work->ranges_max * sizeof(uint64_t);
    uint64_t base = memory_alloc(pages_of(ranges_size + points_size + map->capacity),
                                 BOOT_PAGE_SIZE, BOOT_MEMORY_LOADER);
    if (base == 0)
        return no_memory();
    work->ranges = (struct boot_memory *)(uintptr_t)base;
    work->points = (uint64_t *)(uintptr_t)(base + ranges_size);
    map->bytes = (uint8_t *)(uintptr_t)(base + ranges_size + points_size);
    return EFI_SUCCESS;
}

// Turns the map that was got last, and our own blocks, into `memory`; returns the number of ranges.
static uint32_t convert_map(struct work *work, struct boot_memory *memory) {
    const struct firmware_map *map = &work->map;
    uint32_t count = memory_list(work->ranges);
    for (UINTN at = 0; at + map->descriptor_size <= map->size && count < work->ranges_max;
         at += map->descriptor_size) {
        const EFI_MEMORY_DESCRIPTOR *descriptor = (const EFI_MEMORY_DESCRIPTOR *)(map->bytes + at);
        if (boot_map_range(&work->ranges[count], descriptor->PhysicalStart,
                           descriptor->NumberOfPages, boot_map_type(descriptor->Type)))
            count++;
    }
    return boot_map_build(work->ranges, count, work->points, memory);
}

// Below 1 MiB, and by node; there is room for it.
static uint32_t cut_map(struct loader *loader, const struct work *work, struct boot_memory *memory,
                        uint32_t count) {
    const uint32_t max = 2 * work->ranges_max;
    count = boot_map_low(memory, count, max, &loader->info.low_page);
    return boot_map_nodes(memory, count, max, &loader->acpi);
}

// Where the kernel keeps account of memory.
static EFI_STATUS make_pool(struct boot_info *info, const struct boot_memory *memory,
                            uint32_t count) {
    info->pool_size = boot_pool_size(boot_pool_memory_end(memory, count));
    info->pool = memory_alloc_below(BOOT_POOL_END, info->pool_size / BOOT_PAGE_SIZE,
                                    BOOT_POOL_ALIGN, BOOT_MEMORY_KERNEL);
    if (info->pool == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory below 4 GiB for the hypervisor (%llu KiB in one "
                            "piece): give the machine more",
                            info->pool_size / 1024);
    return EFI_SUCCESS;
}

// The kernel writes to each: what a damaged table places in RAM must not be one.
static void drop_ioapics(struct loader *loader, const struct boot_memory *memory, uint32_t count) {
    uint64_t address;
    while (boot_map_drop_ioapic(memory, count, &loader->info, &address))
        console_print("bulkhead: 0x%llx is no place for an I/O APIC (RAM, or not "
                      "aligned): left off; update the firmware\r\n",
                      (unsigned long long)address);
}

// Page tables for the memory that there is. Later allocations change types in the map, never its
// extent, so the map of now will do; that the final one can be bounded is asked here, with room for
// such changes, since later nothing can be said.
static EFI_STATUS make_tables(struct loader *loader, struct work *work, struct handover *handover) {
    EFI_STATUS status = get_map(&work->map);
    if (EFI_ERROR(status))
        return console_fail(status, "the firmware's memory map keeps growing: update the firmware");
    uint32_t count = convert_map(work, handover->memory);
    uint32_t more = cut_map(loader, work, handover->memory, count);
    if (more > BOOT_MEMORY_MAX)
        console_print("bulkhead: %u ranges of the memory map beyond %u are left off\r\n",
                      more - BOOT_MEMORY_MAX, BOOT_MEMORY_MAX);
    if (boot_map_bound(handover->memory, more, BOOT_MEMORY_MAX - MAP_SLACK) == 0)
        return console_fail(EFI_UNSUPPORTED,
                            "the firmware keeps more than %u pieces of memory for itself: update "
                            "the firmware",
                            BOOT_MEMORY_MAX - MAP_SLACK);
    count = convert_map(work, handover->memory);
    drop_ioapics(loader, handover->memory, count);
    status = make_pool(&loader->info, handover->memory, count);
    if (EFI_ERROR(status))
        return status;
    uint64_t tables = boot_paging_count(handover->memory, count, loader->kernel.size);
    uint64_t base = memory_alloc(tables, BOOT_PAGE_SIZE, BOOT_MEMORY_LOADER);
    if (base == 0)
        return no_memory();
    const struct boot_framebuffer *framebuffer = &loader->info.framebuffer;
    struct boot_paging *paging = &handover->paging;
    boot_paging_init(paging, (void *)(uintptr_t)base, (uint32_t)tables, machine_has_1g_pages());
    if (!boot_paging_memory(paging, handover->memory, count) ||
        !boot_paging_kernel(paging, &loader->kernel.image, loader->kernel.base) ||
        !boot_paging_identity(paging, framebuffer->base,
                              4ull * framebuffer->stride * framebuffer->height))
        return console_fail(EFI_OUT_OF_RESOURCES, "the page tables do not fit: report this");
    return levels_prepare(paging);
}

static EFI_STATUS make_handover(struct loader *loader, struct work *work,
                                struct handover *handover) {
    uint64_t memory_size = 2 * work->ranges_max * sizeof(struct boot_memory);
    uint64_t base = memory_alloc(pages_of(STACK_SIZE + sizeof(struct boot_info) + memory_size),
                                 BOOT_PAGE_SIZE, BOOT_MEMORY_LOADER);
    if (base == 0)
        return no_memory();
    handover->stack_top = (uint8_t *)(uintptr_t)(base + STACK_SIZE);
    handover->info = (struct boot_info *)(uintptr_t)(base + STACK_SIZE);
    handover->memory =
        (struct boot_memory *)(uintptr_t)(base + STACK_SIZE + sizeof(struct boot_info));
    loader->info.memory = (uint64_t)(uintptr_t)handover->memory;
    return make_tables(loader, work, handover);
}

// Leaves the boot services. The map's key goes stale when anything allocates in between, such as
// the firmware's own timers; then the map is got once more (UEFI 2.10 7.4 "Image Services",
// ExitBootServices()). After the first attempt the console may be gone, so nothing is printed.
static EFI_STATUS exit_boot_services(const struct loader *loader, struct work *work) {
    EFI_STATUS status = EFI_ABORTED;
    for (uint32_t i = 0; i < LEAVE_ATTEMPTS && EFI_ERROR(status); i++) {
        status = get_map(&work->map);
        if (EFI_ERROR(status))
            break;
        status = loader_services->ExitBootServices(loader->image, work->map.key);
    }
    return status;
}

// Loads CR3, with global entries of the firmware dropped first, and the stack, and jumps. Shadow
// stacks end here: the new tables have none.
_Noreturn static void enter_kernel(const struct handover *handover, uint64_t entry) {
    uint32_t low;
    uint32_t high;
    uint64_t cr0;
    uint64_t cr4;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_EFER));
    __asm__ volatile("wrmsr" ::"a"(low | (uint32_t)EFER_NXE), "d"(high), "c"(MSR_EFER));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    cr4 &= ~(CR4_PGE | CR4_PCIDE | CR4_CET);
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4) : "memory");
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    if (levels_are_five())
        levels_enter(cr0 | CR0_WP, cr4, (uint64_t)(uintptr_t)handover->stack_top,
                     (uint64_t)(uintptr_t)handover->info, entry);
    __asm__ volatile("mov %[cr3], %%cr3\n\t"
                     "mov %[cr0], %%cr0\n\t"
                     "mov %[stack], %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "cld\n\t"
                     "jmp *%[entry]"
                     :
                     : [cr3] "r"(boot_paging_root(&handover->paging)), [cr0] "r"(cr0 | CR0_WP),
                       [stack] "r"(handover->stack_top), [entry] "r"(entry), "D"(handover->info)
                     : "memory");
    __builtin_unreachable();
}

static void choose_console(struct loader *loader) {
    uint32_t length = 0;
    char text[WORD_TEXT_MAX] = "";
    const char *word = boot_console_choose(&loader->info, &length);
    if (word != NULL) {
        memcpy(text, word, MIN(length, sizeof(text) - 1));
        console_print("bulkhead: %s is no console: com1 to com4, mmio:0xADDRESS, "
                      "mmio:0xADDRESS,4, none or batch\r\n",
                      text);
    }
    memcpy(loader->info.font, font_glyphs, sizeof(loader->info.font));
}

EFI_STATUS leave_to_kernel(struct loader *loader) {
    struct work work = {.ranges = NULL};
    struct handover handover = {.info = NULL};
    choose_console(loader);
    EFI_STATUS status = make_work(&work);
    if (!EFI_ERROR(status))
        status = make_handover(loader, &work, &handover);
    if (EFI_ERROR(status))
        return status;
    console_print("bulkhead: entering the kernel\r\n");
    file_close_volume(loader);
    status = exit_boot_services(loader, &work);
    if (EFI_ERROR(status))
        return console_fail(status,
                            "the firmware does not let go (ExitBootServices, error %llu): "
                            "update the firmware",
                            status & ~EFI_ERROR_MASK);
    __asm__ volatile("cli" ::: "memory");
    fault_install(&loader->info);
    crash_clear(loader);
    quiesce_all(loader);
    clock_zero_adjust(&loader->info);
    pic_silence();
    apic_measure_timer(&loader->info);
    uint32_t count = convert_map(&work, handover.memory);
    count = cut_map(loader, &work, handover.memory, count);
    count = boot_map_bound(handover.memory, count, BOOT_MEMORY_MAX);
    loader->info.memory_count = count;
    loader->info.memory_end = boot_pool_memory_end(handover.memory, count);
    if (loader->nodes != NULL)
        boot_nodes_fill(loader->nodes, &loader->info, handover.memory, count);
    fault_report(&loader->info);
    boot_start_finish(&loader->info);
    *(struct abi_start *)(uintptr_t)loader->info.segment[0].base = loader->platform.start;
    *handover.info = loader->info;
    enter_kernel(&handover, loader->kernel.image.entry);
}
