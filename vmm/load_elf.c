// SPDX-License-Identifier: Apache-2.0
// ELF64 executables, started like a Linux kernel: each PT_LOAD at its p_paddr, RSI = a zero page with as much of the
// setup header as a kernel reads that was not packed as a bzImage.
#include "include/vmm.h"
#include "lib/elf.h"
#include "lib/string.h"
#include "lib/types.h"
#include "load.h"

// The protocol whose fields are filled.
#define PROTOCOL_2_12 0x20cu
// Below 2 GiB, where every kernel maps it early.
#define INITRD_LAST 0x7fffffffULL

static bool check_segments(const struct memory *memory, const struct load_images *images,
                           const struct elf_image *image, struct load_kernel *kernel,
                           struct load_refusal *refusal) {
    struct elf_segment segment;
    uint32_t cursor = 0;
    kernel->end = 0;
    while (elf_segment(image, &cursor, &segment)) {
        uint64_t base = segment.physical_address;
        if (base < LOAD_KERNEL_MIN)
            return load_refuse(
                refusal,
                "kernel '%s' wants to lie at 0x%lx, but memory below 1 MiB is taken: "
                "link it to 1 MiB or above",
                images->kernel_name, base);
        if (range_exceeds(base, segment.memory_size, memory->low_size))
            return load_refuse(refusal,
                               "kernel '%s' wants 0x%lx bytes at 0x%lx, beyond the guest's %lu MiB "
                               "of low memory: set memory higher or link it lower",
                               images->kernel_name, segment.memory_size, base,
                               memory->low_size >> 20);
        kernel->end = MAX(kernel->end, base + segment.memory_size);
    }
    return true;
}

// The entry point is physical in a vmlinux; in others it may be virtual, so both are looked for.
static bool find_entry(const struct load_images *images, const struct elf_image *image,
                       uint64_t *entry, struct load_refusal *refusal) {
    struct elf_segment segment;
    for (uint32_t cursor = 0; elf_segment(image, &cursor, &segment);)
        if (image->entry - segment.physical_address < segment.memory_size) {
            *entry = image->entry;
            return true;
        }
    for (uint32_t cursor = 0; elf_segment(image, &cursor, &segment);)
        if (image->entry - segment.virtual_address < segment.memory_size) {
            *entry = image->entry - segment.virtual_address + segment.physical_address;
            return true;
        }
    return load_refuse(refusal, "kernel '%s' has its entry point 0x%lx outside its segments",
                       images->kernel_name, image->entry);
}

// What lies behind file_size is zero: RAM is, before the guest runs.
static void copy_segments(const struct memory *memory, const struct elf_image *image) {
    struct elf_segment segment;
    for (uint32_t cursor = 0; elf_segment(image, &cursor, &segment);) {
        uint8_t *to = memory_pointer(memory, segment.physical_address, segment.memory_size);
        if (segment.file_size > 0)
            memcpy(to, segment.bytes, segment.file_size);
    }
}

static void fill_header(uint8_t *zero_page) {
    load_put(zero_page + ZERO_PAGE_BOOT_FLAG, 2, LOAD_BOOT_FLAG);
    load_put(zero_page + ZERO_PAGE_MAGIC, 4, LOAD_MAGIC);
    load_put(zero_page + ZERO_PAGE_VERSION, 2, PROTOCOL_2_12);
    load_put(zero_page + ZERO_PAGE_CMDLINE_SIZE, 4, VMM_CMDLINE_MAX - 1);
}

bool load_elf(const struct memory *memory, const struct load_images *images, uint8_t *zero_page,
              struct load_kernel *kernel, struct load_refusal *refusal) {
    struct elf_image image;
    enum elf_error error = elf_check(&image, images->kernel, images->kernel_size);
    if (error == ELF_NO_ELF)
        return load_refuse(refusal,
                           "kernel '%s' is neither a Linux bzImage nor an ELF64 file: name one",
                           images->kernel_name);
    if (error != ELF_OK)
        return load_refuse(refusal, "kernel '%s' %s: copy or build it again", images->kernel_name,
                           elf_error_text(error));
    if (!check_segments(memory, images, &image, kernel, refusal) ||
        !find_entry(images, &image, &kernel->entry, refusal))
        return false;
    copy_segments(memory, &image);
    fill_header(zero_page);
    kernel->initrd_last = INITRD_LAST;
    kernel->cmdline_max = VMM_CMDLINE_MAX - 1;
    return true;
}
