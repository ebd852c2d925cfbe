// SPDX-License-Identifier: Apache-2.0
// Making processes. Memory that has to be filled is mapped into the supervisor's window for as long
// as it takes to fill it, never longer: at most one such mapping exists.
#include "supervisor/process.h"

#include "lib/elf.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/machine.h"

#include <stdbool.h>

uint64_t process_pages(uint64_t size) {
    return (size + ABI_PAGE - 1) / ABI_PAGE * ABI_PAGE;
}

void *process_map_own(uint32_t memory, uint64_t address, uint64_t size, uint32_t rights) {
    int64_t result = sys_process_map(0, memory, address, 0, process_pages(size), rights);
    return result < 0 ? NULL : (void *)(uintptr_t)address;
}

void process_unmap_own(const void *mapping, uint64_t size) {
    (void)sys_process_unmap(0, (uintptr_t)mapping, process_pages(size));
}

void *process_allocate(uint64_t size) {
    static uint64_t used;
    if (size > PROCESS_FILE_MAX || used + process_pages(size) > PROCESS_FILE_MAX) {
        return NULL;
    }
    int64_t memory = sys_memory_create(machine.start->quota, process_pages(size));
    if (memory < 0) {
        return NULL;
    }
    void *mapping = process_map_own((uint32_t)memory, PROCESS_OWN_HEAP + used, size,
                                    ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    (void)sys_handle_close((uint32_t)memory);
    used += mapping != NULL ? process_pages(size) : 0;
    return mapping;
}

// ---- the segments of a program ------------------------------------------------------------------

// Fills memory[at, at+size) with `bytes`; the rest of it stays zero.
static int64_t fill_memory(uint32_t memory, uint64_t at, const void *bytes, uint64_t size) {
    if (size == 0) {
        return 0;
    }
    if (at + size > PROCESS_WINDOW_MAX) {
        return -ABI_ERROR_MEMORY;
    }
    uint64_t pages = process_pages(at + size);
    int64_t result =
        sys_process_map(0, memory, PROCESS_OWN_WINDOW, 0, pages, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    if (result < 0) {
        return result;
    }
    uint8_t *window = (uint8_t *)(uintptr_t)PROCESS_OWN_WINDOW;
    memcpy(window + at, bytes, size);
    return sys_process_unmap(0, PROCESS_OWN_WINDOW, pages);
}

// A copy of `bytes` at `address` of the process, zero-filled up to `memory_size`.
static int64_t map_copy(uint32_t process, uint32_t quota, uint64_t address, const void *bytes,
                        uint64_t file_size, uint64_t memory_size, uint32_t rights) {
    uint64_t at = address % ABI_PAGE;
    uint64_t pages = process_pages(at + memory_size);
    int64_t memory = sys_memory_create(quota, pages);
    if (memory < 0) {
        return memory;
    }
    int64_t result = fill_memory((uint32_t)memory, at, bytes, file_size);
    if (result >= 0) {
        result = sys_process_map(process, (uint32_t)memory, address - at, 0, pages, rights);
    }
    (void)sys_handle_close((uint32_t)memory);
    return result;
}

static uint32_t segment_rights(const struct elf_segment *segment) {
    uint32_t rights = ABI_RIGHT_READ;
    rights |= segment->flags & ELF_FLAG_WRITE ? ABI_RIGHT_WRITE : 0;
    rights |= segment->flags & ELF_FLAG_EXECUTE ? ABI_RIGHT_EXECUTE : 0;
    return rights;
}

static int64_t map_segment(uint32_t process, uint32_t quota, const struct elf_image *image,
                           const struct elf_segment *segment, uint32_t module) {
    uint32_t rights = segment_rights(segment);
    uint64_t address = segment->virtual_address;
    uint64_t offset = segment->bytes != NULL ? (uint64_t)(segment->bytes - image->data) : 0;
    bool is_shared = (rights & ABI_RIGHT_WRITE) == 0 &&
                     segment->file_size == segment->memory_size &&
                     address % ABI_PAGE == offset % ABI_PAGE;
    if (!is_shared) {
        return map_copy(process, quota, address, segment->bytes, segment->file_size,
                        segment->memory_size, rights);
    }
    uint64_t at = address % ABI_PAGE;
    return sys_process_map(process, module, address - at, offset - at,
                           process_pages(at + segment->memory_size), rights);
}

static const char *check_program(const void *file, uint64_t size, struct elf_image *image) {
    enum elf_error error = elf_check(image, file, size);
    if (error == ELF_OK) {
        error = elf_check_protected(image, PROCESS_STACK_TOP, ABI_USER_END);
    }
    return error == ELF_OK ? NULL : elf_error_text(error);
}

static const char *create_from(struct process *process, uint32_t quota, uint64_t mask,
                               uint32_t group, const struct abi_start_module *module,
                               const void *file) {
    struct elf_image image;
    struct elf_segment segment;
    uint32_t cursor = 0;
    const char *wrong = check_program(file, module->size, &image);
    if (wrong != NULL) {
        return wrong;
    }
    int64_t result = sys_process_create(quota, machine.event, mask, group);
    if (result < 0) {
        return machine_error_text(result);
    }
    process->handle = (uint32_t)result;
    process->entry = image.entry;
    result = 0;
    while (result >= 0 && elf_segment(&image, &cursor, &segment)) {
        result = map_segment(process->handle, quota, &image, &segment, module->memory);
    }
    if (result >= 0) {
        result = map_copy(process->handle, quota, PROCESS_STACK_TOP - PROCESS_STACK_SIZE, NULL, 0,
                          PROCESS_STACK_SIZE, ABI_RIGHT_READ | ABI_RIGHT_WRITE);
    }
    return result < 0 ? machine_error_text(result) : NULL;
}

const char *process_create(struct process *process, uint32_t quota, uint64_t mask, uint32_t group,
                           const struct abi_start_module *module) {
    const void *file = NULL;
    if (module->size <= PROCESS_FILE_MAX) {
        file = process_map_own(module->memory, PROCESS_OWN_PROGRAM, module->size, ABI_RIGHT_READ);
    }
    if (file == NULL) {
        return "cannot be mapped";
    }
    const char *wrong = create_from(process, quota, mask, group, module, file);
    process_unmap_own(file, module->size);
    return wrong;
}

int64_t process_put(const struct process *process, uint32_t quota, uint64_t address,
                    const void *data, uint64_t size) {
    return map_copy(process->handle, quota, address, data, size, size, ABI_RIGHT_READ);
}

int64_t process_start(const struct process *process, uint64_t argument, uint32_t cpu) {
    return sys_thread_create(process->handle, process->entry, PROCESS_STACK_TOP, argument, cpu);
}
