// SPDX-License-Identifier: Apache-2.0
// See kernel/first.h. The kernel starts this one program; every other is the supervisor's to
// load. boot/ has laid all of it out, its start page and stack, too.
#include "kernel/first.h"

#include "include/abi.h"
#include "kernel/group.h"
#include "kernel/log.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/thread.h"

static void must(bool is_done, const char *what) {
    if (!is_done)
        halt_machine(what);
}

static const char no_memory[] = "too little memory to start the supervisor";

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

// By the number that stands on its start page.
static void give(struct process *process, struct object *object, uint32_t number) {
    must(handle_insert(process, object, ABI_RIGHTS_ALL) == number, no_memory);
}

static void give_modules(struct process *process) {
    for (uint32_t i = 0; i < machine.module_count; i++) {
        const struct boot_module *module = &machine.module[i];
        struct memory *memory = memory_create_at(quota_root(), (hpa_t){module->base},
                                                 align_up(module->size, PAGE_SIZE), MEMORY_MODULE);
        must(memory != NULL, no_memory);
        give(process, &memory->object, ABI_START_MODULE + i);
    }
}

void first_start(struct object *system) {
    struct process *process = process_create(quota_root(), &group_root, NULL, 0);
    must(process != NULL, no_memory);
    map_segments(process);
    object_ref(&process->object);
    object_ref(&quota_root()->object);
    object_ref(&group_root.object);
    give(process, &process->object, ABI_START_PROCESS);
    give(process, &quota_root()->object, ABI_START_QUOTA);
    give(process, system, ABI_START_SYSTEM);
    give(process, &group_root.object, ABI_START_GROUP);
    give_modules(process);
    must(thread_create(process, machine.supervisor_entry, machine.supervisor_stack,
                       ABI_START_ADDRESS, ABI_CPU_ANY) == ABI_OK,
         no_memory);
    object_unref(&process->object);
}
