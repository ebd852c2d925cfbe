// SPDX-License-Identifier: Apache-2.0
// See kernel/first.h. The kernel starts this one program; every other is the supervisor's to
// load.
#include "kernel/first.h"

#include "include/abi.h"
#include "kernel/group.h"
#include "kernel/kspace.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/thread.h"
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
static void memory_fill(struct memory *memory, const uint8_t *bytes, uint64_t size) {
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        struct memory_run run = memory_get(memory, done, NULL);
        memcpy(kspace_window((hpa_t){run.frame.v + done - run.offset}), bytes + done,
               MIN(size - done, PAGE_SIZE));
    }
    kspace_window_close();
}

static struct memory *map_new(struct process *process, uint64_t address, uint64_t size,
                              uint64_t rights) {
    struct memory *memory = memory_create(quota_root(), size);
    must(memory != NULL && space_map(&process->space, memory, address, 0, size, rights) == ABI_OK,
         no_memory);
    return memory;
}

static void map_segments(struct process *process) {
    for (uint32_t i = 0; i < machine.segment_count; i++) {
        const struct boot_segment *segment = &machine.segment[i];
        struct memory *memory =
            memory_create_at(quota_root(), (hpa_t){segment->base}, segment->size, MEMORY_MODULE);
        must(memory != NULL, no_memory);
        must(space_map(&process->space, memory, segment->address, 0, segment->size,
                       segment->rights) == ABI_OK,
             "the supervisor cannot be mapped: copy the image to the disk again");
        object_unref(&memory->object);
    }
}

static uint32_t give(struct process *process, struct object *object) {
    int64_t number = handle_insert(process, object, ABI_RIGHTS_ALL);
    must(number > 0, no_memory);
    return (uint32_t)number;
}

static void give_modules(struct process *process, struct abi_start *start) {
    for (uint32_t i = 0; i < machine.module_count; i++) {
        const struct boot_module *module = &machine.module[i];
        struct abi_start_module *to = &start->module[start->module_count++];
        struct memory *memory = memory_create_at(quota_root(), (hpa_t){module->base},
                                                 align_up(module->size, PAGE_SIZE), MEMORY_MODULE);
        must(memory != NULL, no_memory);
        memcpy(to->name, module->name, sizeof(to->name));
        to->size = module->size;
        to->memory = give(process, &memory->object);
    }
}

void first_start(struct object *system) {
    static struct abi_start start = {.version = ABI_VERSION};
    struct process *process = process_create(quota_root(), &group_root, NULL, 0);
    must(process != NULL, no_memory);
    map_segments(process);
    struct memory *stack =
        map_new(process, STACK_TOP - STACK_SIZE, STACK_SIZE, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    object_unref(&stack->object);
    object_ref(&process->object);
    object_ref(&quota_root()->object);
    object_ref(&group_root.object);
    start.process = give(process, &process->object);
    start.quota = give(process, &quota_root()->object);
    start.system = give(process, system);
    start.group = give(process, &group_root.object);
    start.uart = machine.uart;
    start.framebuffer = machine.framebuffer;
    start.button = machine.button;
    memcpy(start.cmdline, machine.cmdline, sizeof(start.cmdline));
    give_modules(process, &start);
    struct memory *page =
        map_new(process, ABI_START_ADDRESS, ABI_START_PAGES * PAGE_SIZE, ABI_RIGHT_READ);
    memory_fill(page, (const uint8_t *)&start, sizeof(start));
    object_unref(&page->object);
    must(thread_create(process, machine.supervisor_entry, STACK_TOP, ABI_START_ADDRESS,
                       ABI_CPU_ANY) == ABI_OK,
         no_memory);
    object_unref(&process->object);
}
