// SPDX-License-Identifier: Apache-2.0
// kernel.elf: checked strictly, then laid out in one block aligned to 2 MiB.
//
// The kernel announces its boot version in an ELF note (docs/boot.md), so that a kernel and a
// loader of different builds on one disk are refused by name instead of crashing.
#include "boot/boot_map.h"
#include "boot/loader.h"
#include "lib/string.h"

#define KERNEL_ALIGN    (2ull << 20)
#define KERNEL_SIZE_MAX (512ull << 20)

static EFI_STATUS check_version(const char *path, const struct elf_image *image) {
    uint32_t size = 0;
    uint32_t version = 0;
    const uint8_t *note = elf_note(image, BOOT_NOTE_OWNER, BOOT_NOTE_VERSION, &size);
    if (note == NULL || size != sizeof(version))
        return console_fail(
            EFI_INCOMPATIBLE_VERSION,
            "%s has no boot version, so it is no Bulkhead kernel: " LOADER_COPY_AGAIN, path);
    memcpy(&version, note, sizeof(version));
    if (version != BOOT_VERSION)
        return console_fail(EFI_INCOMPATIBLE_VERSION,
                            "%s has boot version %u, this loader has %u: " LOADER_COPY_AGAIN, path,
                            version, BOOT_VERSION);
    return EFI_SUCCESS;
}

static EFI_STATUS check_kernel(const char *path, const struct file_contents *contents,
                               struct elf_image *image) {
    enum elf_error error = elf_check(image, contents->data, contents->size);
    if (error == ELF_OK)
        error = elf_check_protected(image, BOOT_KERNEL_VMA, BOOT_KERNEL_VMA + KERNEL_SIZE_MAX);
    if (error != ELF_OK)
        return console_fail(EFI_LOAD_ERROR, "%s %s: " LOADER_COPY_AGAIN, path,
                            elf_error_text(error));
    return check_version(path, image);
}

// End of the last segment, from BOOT_KERNEL_VMA on, in whole pages. Segments are sorted.
static uint64_t image_size(const struct elf_image *image) {
    struct elf_segment segment;
    uint32_t cursor = 0;
    uint64_t end = 0;
    while (elf_segment(image, &cursor, &segment))
        end = segment.virtual_address + segment.memory_size - BOOT_KERNEL_VMA;
    return (end + BOOT_PAGE_SIZE - 1) & ~(BOOT_PAGE_SIZE - 1);
}

static void copy_segments(const struct elf_image *image, uint8_t *block, uint64_t size) {
    struct elf_segment segment;
    uint32_t cursor = 0;
    memset(block, 0, size);
    while (elf_segment(image, &cursor, &segment)) {
        if (segment.file_size > 0)
            memcpy(block + (segment.virtual_address - BOOT_KERNEL_VMA), segment.bytes,
                   segment.file_size);
    }
}

EFI_STATUS kernel_load(struct loader *loader) {
    const struct boot_manifest_module *module = &loader->manifest.module[0];
    struct loader_kernel *kernel = &loader->kernel;
    struct file_contents contents;
    EFI_STATUS status = file_read(loader, module->path, module, BOOT_MEMORY_LOADER, &contents);
    if (!EFI_ERROR(status))
        status = check_kernel(module->path, &contents, &kernel->image);
    if (EFI_ERROR(status))
        return status;
    kernel->size = image_size(&kernel->image);
    kernel->base = memory_alloc(kernel->size / BOOT_PAGE_SIZE, KERNEL_ALIGN, BOOT_MEMORY_KERNEL);
    if (kernel->base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory to lay out %s (%llu KiB): give the machine more",
                            module->path, kernel->size / 1024);
    copy_segments(&kernel->image, (uint8_t *)(uintptr_t)kernel->base, kernel->size);
    loader->info.kernel_base = kernel->base;
    loader->info.kernel_size = kernel->size;
    return EFI_SUCCESS;
}
