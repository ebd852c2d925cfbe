// SPDX-License-Identifier: Apache-2.0
// supervisor.elf: checked strictly, then laid out segment by segment, with start page and stack, so
// that the kernel only maps it. The file itself stays in memory of type LOADER until the kernel
// takes that back.
#include "boot/boot_map.h"
#include "boot/loader.h"
#include "include/abi.h"
#include "lib/string.h"

#define SUPERVISOR_INDEX  1u                       // in the manifest: boot_manifest_read checks it
#define FILE_SEGMENTS_MAX (BOOT_SEGMENTS_MAX - 2u) // the others are start page and stack
#define STACK_PAGES       8u

static uint64_t rights_of(uint32_t flags) {
    uint64_t rights = ABI_RIGHT_READ;
    if (flags & ELF_FLAG_WRITE)
        rights |= ABI_RIGHT_WRITE;
    if (flags & ELF_FLAG_EXECUTE)
        rights |= ABI_RIGHT_EXECUTE;
    return rights;
}

// New pages, all zero.
static EFI_STATUS add_pages(struct boot_info *info, const char *path, uint64_t address,
                            uint64_t pages, uint64_t rights) {
    uint64_t base = memory_alloc(pages, BOOT_PAGE_SIZE, BOOT_MEMORY_MODULE);
    if (base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory to lay out %s (%llu KiB): give the machine more",
                            path, pages * BOOT_PAGE_SIZE / 1024);
    memset((void *)(uintptr_t)base, 0, pages * BOOT_PAGE_SIZE);
    info->segment[info->segment_count++] = (struct boot_segment){
        .address = address, .base = base, .size = pages * BOOT_PAGE_SIZE, .rights = rights};
    return EFI_SUCCESS;
}

static EFI_STATUS add_segment(struct boot_info *info, const char *path,
                              const struct elf_segment *segment) {
    uint64_t offset = segment->virtual_address % BOOT_PAGE_SIZE;
    uint64_t pages = (offset + segment->memory_size + BOOT_PAGE_SIZE - 1) / BOOT_PAGE_SIZE;
    if (info->segment_count > FILE_SEGMENTS_MAX)
        return console_fail(EFI_LOAD_ERROR, "%s has more than %u segments: " LOADER_COPY_AGAIN,
                            path, FILE_SEGMENTS_MAX);
    EFI_STATUS status =
        add_pages(info, path, segment->virtual_address - offset, pages, rights_of(segment->flags));
    if (!EFI_ERROR(status) && segment->file_size > 0)
        memcpy((uint8_t *)(uintptr_t)info->segment[info->segment_count - 1].base + offset,
               segment->bytes, segment->file_size);
    return status;
}

// Segment 0, whose contents are known when all else is (leave.c).
static EFI_STATUS add_start(struct boot_info *info, const char *path) {
    return add_pages(info, path, ABI_START_ADDRESS, ABI_START_PAGES, ABI_RIGHT_READ);
}

static EFI_STATUS add_stack(struct boot_info *info, const char *path) {
    info->supervisor_stack = ABI_USER_END - BOOT_PAGE_SIZE;
    return add_pages(info, path, info->supervisor_stack - STACK_PAGES * BOOT_PAGE_SIZE, STACK_PAGES,
                     ABI_RIGHT_READ | ABI_RIGHT_WRITE);
}

EFI_STATUS supervisor_load(struct loader *loader) {
    const struct boot_manifest_module *module = &loader->manifest.module[SUPERVISOR_INDEX];
    struct file_contents contents;
    struct elf_image image;
    struct elf_segment segment;
    EFI_STATUS status = file_read(loader, module->path, module, BOOT_MEMORY_LOADER, &contents);
    if (EFI_ERROR(status))
        return status;
    enum elf_error error = elf_check(&image, contents.data, contents.size);
    if (error == ELF_OK)
        error = elf_check_protected(&image, ABI_USER_BASE, ABI_USER_END);
    if (error != ELF_OK)
        return console_fail(EFI_LOAD_ERROR, "%s %s: " LOADER_COPY_AGAIN, module->path,
                            elf_error_text(error));
    loader->info.supervisor_entry = image.entry;
    status = add_start(&loader->info, module->path);
    for (uint32_t cursor = 0; !EFI_ERROR(status) && elf_segment(&image, &cursor, &segment);)
        status = add_segment(&loader->info, module->path, &segment);
    return EFI_ERROR(status) ? status : add_stack(&loader->info, module->path);
}
