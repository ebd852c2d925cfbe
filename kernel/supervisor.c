// SPDX-License-Identifier: Apache-2.0
// See kernel/supervisor.h. The kernel loads this one program; every other is the supervisor's to
// load.
#include "kernel/supervisor.h"

#include "include/abi.h"
#include "include/manifest.h"
#include "kernel/group.h"
#include "kernel/log.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/space.h"
#include "kernel/thread.h"
#include "lib/elf.h"
#include "lib/string.h"

#define STACK_SIZE 32768ULL
#define STACK_TOP  (ABI_USER_END - PAGE_SIZE)

_Static_assert(sizeof(struct abi_start) <= ABI_START_PAGES * PAGE_SIZE, "at ABI_START_ADDRESS");

static void must(bool is_done, const char *what) {
    if (!is_done)
        halt_machine(what);
}

static const char no_memory[] = "too little memory to start the supervisor";

// Writes into a fresh memory object, which the kernel does not map, through the window.
static void memory_fill(struct memory *memory, uint64_t offset, const uint8_t *bytes,
                        uint64_t size) {
    for (uint64_t done = 0; done < size;) {
        uint64_t at = offset + done, in_page = at % PAGE_SIZE;
        uint64_t step = MIN(size - done, PAGE_SIZE - in_page);
        struct memory_run run = memory_get(memory, at);
        hpa_t frame = {align_down(run.frame.v + at - run.offset, PAGE_SIZE)};
        memcpy((uint8_t *)space_window(frame) + in_page, bytes + done, step);
        done += step;
    }
    space_window_close();
}

static struct memory *map_new(struct process *process, uint64_t address, uint64_t size,
                              uint64_t rights) {
    struct memory *memory = memory_create(quota_root(), size);
    must(memory != NULL && process_map(process, memory, address, 0, size, rights) == ABI_OK,
         no_memory);
    return memory;
}

static uint64_t segment_rights(const struct elf_segment *segment) {
    return ABI_RIGHT_READ | ((segment->flags & ELF_FLAG_WRITE) != 0 ? ABI_RIGHT_WRITE : 0) |
           ((segment->flags & ELF_FLAG_EXECUTE) != 0 ? ABI_RIGHT_EXECUTE : 0);
}

static uint64_t load(struct process *process, const struct boot_module *module) {
    struct elf_image image;
    struct elf_segment segment;
    const void *file = space_map_firmware((hpa_t){module->base}, module->size);
    enum elf_error error = elf_check(&image, file, module->size);
    if (error == ELF_OK)
        error = elf_check_protected(&image, ABI_USER_BASE, ABI_USER_END);
    must(error == ELF_OK, "supervisor.elf is damaged: copy the image to the disk again");
    for (uint32_t cursor = 0; elf_segment(&image, &cursor, &segment);) {
        uint64_t base = align_down(segment.virtual_address, PAGE_SIZE);
        uint64_t end = align_up(segment.virtual_address + segment.memory_size, PAGE_SIZE);
        struct memory *memory = map_new(process, base, end - base, segment_rights(&segment));
        memory_fill(memory, segment.virtual_address - base, segment.bytes, segment.file_size);
        object_unref(&memory->object);
    }
    return image.entry;
}

static uint32_t give(struct process *process, struct object *object) {
    int64_t number = handle_insert(process, object, ABI_RIGHTS_ALL);
    must(number > 0, no_memory);
    return (uint32_t)number;
}

static void give_modules(struct process *process, const struct boot_info *boot,
                         struct abi_start *start) {
    for (uint32_t i = 0; i < boot->module_count; i++) {
        const struct boot_module *module = &boot->module[i];
        // The kernel has the supervisor's file mapped for good.
        if (strcmp(module->name, MANIFEST_MODULE_SUPERVISOR) == 0)
            continue;
        struct abi_start_module *to = &start->module[start->module_count++];
        struct memory *memory = memory_create_module(quota_root(), (hpa_t){module->base},
                                                     align_up(module->size, PAGE_SIZE));
        must(memory != NULL, no_memory);
        memcpy(to->name, module->name, sizeof(to->name));
        to->size = module->size;
        to->memory = give(process, &memory->object);
    }
}

static const struct boot_module *find_module(const struct boot_info *boot, const char *name) {
    for (uint32_t i = 0; i < boot->module_count; i++)
        if (strcmp(boot->module[i].name, name) == 0)
            return &boot->module[i];
    return NULL;
}

void supervisor_start(const struct boot_info *boot, struct object *system) {
    static struct abi_start start = {.version = ABI_VERSION};
    const struct boot_module *module = find_module(boot, MANIFEST_MODULE_SUPERVISOR);
    must(module != NULL, "supervisor.elf is missing: copy the image to the disk again");
    struct process *process = process_create(quota_root(), &group_root, NULL, 0);
    must(process != NULL, no_memory);
    uint64_t entry = load(process, module);
    struct memory *stack =
        map_new(process, STACK_TOP - STACK_SIZE, STACK_SIZE, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    object_unref(&stack->object);
    object_ref(&process->object);
    object_ref(&quota_root()->object);
    object_ref(system);
    start.process = give(process, &process->object);
    start.quota = give(process, &quota_root()->object);
    start.system = give(process, system);
    memcpy(start.cmdline, boot->cmdline, sizeof(start.cmdline));
    give_modules(process, boot, &start);
    struct memory *page =
        map_new(process, ABI_START_ADDRESS, ABI_START_PAGES * PAGE_SIZE, ABI_RIGHT_READ);
    memory_fill(page, 0, (const uint8_t *)&start, sizeof(start));
    object_unref(&page->object);
    must(thread_create(process, entry, STACK_TOP, ABI_START_ADDRESS, ABI_CPU_ANY) == ABI_OK,
         no_memory);
    object_unref(&process->object);
}
