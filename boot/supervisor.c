// SPDX-License-Identifier: Apache-2.0
// supervisor.elf: checked strictly, then laid out segment by segment, so that the kernel only maps
// it. The file itself stays in memory of type LOADER until the kernel takes that back.
#include "boot/boot_map.h"
#include "boot/loader.h"
#include "include/abi.h"
#include "lib/string.h"

#define SUPERVISOR_INDEX 1u // in the manifest: boot_manifest_read checks it

static uint64_t rights_of(uint32_t flags) {
    uint64_t rights = ABI_RIGHT_READ;
    if (flags & ELF_FLAG_WRITE)
        rights |= ABI_RIGHT_WRITE;
    if (flags & ELF_FLAG_EXECUTE)
        rights |= ABI_RIGHT_EXECUTE;
    return rights;
}

static EFI_STATUS add_segment(struct boot_info *info, const char *path,
                              const struct elf_segment *segment) {
    uint64_t offset = segment->virtual_address % BOOT_PAGE_SIZE;
    uint64_t pages = (offset + segment->memory_size + BOOT_PAGE_SIZE - 1) / BOOT_PAGE_SIZE;
    if (info->segment_count == BOOT_SEGMENTS_MAX)
        return console_fail(EFI_LOAD_ERROR, "%s has more than %u segments: " LOADER_COPY_AGAIN,
                            path, BOOT_SEGMENTS_MAX);
    uint64_t base = memory_alloc(pages, BOOT_PAGE_SIZE, BOOT_MEMORY_MODULE);
    if (base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory to lay out %s (%llu KiB): give the machine more",
                            path, pages * BOOT_PAGE_SIZE / 1024);
    uint8_t *to = (uint8_t *)(uintptr_t)base;
    memset(to, 0, pages * BOOT_PAGE_SIZE);
    if (segment->file_size > 0)
        memcpy(to + offset, segment->bytes, segment->file_size);
    info->segment[info->segment_count++] =
        (struct boot_segment){.address = segment->virtual_address - offset,
                              .base = base,
                              .size = pages * BOOT_PAGE_SIZE,
                              .rights = rights_of(segment->flags)};
    return EFI_SUCCESS;
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
    for (uint32_t cursor = 0; !EFI_ERROR(status) && elf_segment(&image, &cursor, &segment);)
        status = add_segment(&loader->info, module->path, &segment);
    return status;
}
