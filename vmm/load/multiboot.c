// SPDX-License-Identifier: Apache-2.0
// Multiboot 1. Source: "Multiboot Specification version 0.6.96" (Free Software Foundation, 2009),
// chapter 3; names as there. A kernel that asks for a video mode starts without one, as with other
// loaders: there is no screen.
#include "include/vmm.h"
#include "lib/string.h"
#include "lib/types.h"
#include "vmm/load/exec.h"

#define HEADER_MAGIC   0x1badb002u
#define HEADER_SEARCH  8192u // "completely within the first 8192 bytes"
#define HEADER_ALIGN   4u
#define HEADER_SIZE    12u
#define ADDRESSES_SIZE 32u // with the address fields

enum header_field {
    FLAGS = 4,
    HEADER_ADDR = 12,
    LOAD_ADDR = 16,
    LOAD_END = 20,
    BSS_END = 24,
    ENTRY = 28
};

#define FLAGS_REQUIRED  0xffffu
#define FLAGS_KNOWN     0x7u // page alignment, memory, video mode
#define FLAGS_ADDRESSES BIT(16)

enum info_flag {
    INFO_MEMORY = 1 << 0,
    INFO_CMDLINE = 1 << 2,
    INFO_MODULES = 1 << 3,
    INFO_MAP = 1 << 6,
    INFO_LOADER = 1 << 9,
};

struct info {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
    uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
    uint32_t apm_table, vbe[4], framebuffer[7];
};
_Static_assert(offsetof(struct info, mmap_length) == 44 &&
                   offsetof(struct info, boot_loader_name) == 64 && sizeof(struct info) == 116,
               "3.3 Boot information format");

struct info_map {
    uint32_t size; // of what follows
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));

struct info_module {
    uint32_t start, end, string, reserved;
};

// Offset of the header in the file. False: there is none.
static bool find_header(const struct load_images *images, uint32_t *offset) {
    uint64_t end = MIN(images->kernel_size, HEADER_SEARCH);
    for (uint32_t at = 0; at + HEADER_SIZE <= end; at += HEADER_ALIGN) {
        const uint8_t *header = images->kernel + at;
        if (load_get(header, 4) == HEADER_MAGIC &&
            (uint32_t)(load_get(header, 4) + load_get(header + 4, 4) + load_get(header + 8, 4)) ==
                0) {
            *offset = at;
            return true;
        }
    }
    return false;
}

static bool recognises(const struct load_images *images) {
    uint32_t offset;
    return find_header(images, &offset);
}

// "If bit 16 is set, use these fields instead of those of the executable's own header."
static bool open_exec(const struct load_images *images, uint32_t offset, struct exec *exec,
                      struct load_refusal *refusal) {
    const uint8_t *header = images->kernel + offset;
    if (!(load_get(header + FLAGS, 4) & FLAGS_ADDRESSES)) {
        if (exec_is_elf(images))
            return exec_open(images, exec, refusal);
        return load_refuse(refusal,
                           "kernel '%s' has a Multiboot header without addresses, but is no ELF "
                           "file: copy or build it again",
                           images->kernel_name);
    }
    if (offset + ADDRESSES_SIZE > MIN(images->kernel_size, HEADER_SEARCH))
        return load_refuse(refusal, "kernel '%s' is truncated in its Multiboot header",
                           images->kernel_name);
    struct exec_address address = {.header_offset = offset,
                                   .header = (uint32_t)load_get(header + HEADER_ADDR, 4),
                                   .load = (uint32_t)load_get(header + LOAD_ADDR, 4),
                                   .load_end = (uint32_t)load_get(header + LOAD_END, 4),
                                   .bss_end = (uint32_t)load_get(header + BSS_END, 4),
                                   .entry = (uint32_t)load_get(header + ENTRY, 4)};
    return exec_from_address(images, &address, exec, refusal);
}

static bool load(const struct memory *memory, const struct load_images *images,
                 struct load_kernel *kernel, struct load_refusal *refusal) {
    struct exec exec;
    uint32_t offset = 0;
    (void)find_header(images, &offset); // recognises() has seen it
    uint64_t flags = load_get(images->kernel + offset + FLAGS, 4) & FLAGS_REQUIRED;
    if (flags & ~FLAGS_KNOWN)
        return load_refuse(refusal,
                           "kernel '%s' requires features (flags 0x%lx) that Multiboot 0.6.96 does "
                           "not have",
                           images->kernel_name, flags);
    kernel->initrd_last = UINT32_MAX;
    kernel->is_initrd_next = true;
    kernel->cmdline_max = VMM_CMDLINE_MAX - 1;
    return open_exec(images, offset, &exec, refusal) &&
           exec_load(memory, images, &exec, kernel, refusal);
}

static void tell(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *page) {
    struct memory_e820 e820[MEMORY_E820_MAX];
    struct info_map map[MEMORY_E820_MAX];
    struct info_module module = {.start = (uint32_t)kernel->initrd,
                                 .end = (uint32_t)(kernel->initrd + images->initrd_size)};
    struct info info = {.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER,
                        .mem_lower = MEMORY_EBDA_BASE >> 10,
                        .mem_upper = (uint32_t)((memory->low_size - MEMORY_BIOS_END) >> 10),
                        .cmdline = (uint32_t)LOAD_CMDLINE};
    uint32_t used = sizeof(info), count = (uint32_t)memory_e820(memory, e820);
    for (uint32_t i = 0; i < count; i++)
        map[i] = (struct info_map){sizeof(map[i]) - sizeof(map[i].size), e820[i].base, e820[i].size,
                                   e820[i].type};
    info.mmap_length = count * (uint32_t)sizeof(map[0]);
    info.mmap_addr = load_append(page, &used, map, info.mmap_length, 4);
    info.boot_loader_name = load_append(page, &used, LOAD_LOADER_NAME, sizeof(LOAD_LOADER_NAME), 1);
    if (kernel->initrd != 0) {
        module.string =
            load_append(page, &used, images->initrd_name, strlen(images->initrd_name) + 1, 1);
        info.mods_count = 1;
        info.mods_addr = load_append(page, &used, &module, sizeof(module), 4);
    }
    used = 0;
    (void)load_append(page, &used, &info, sizeof(info), 4);
}

const struct load_method load_method_multiboot = {.protocol = LOAD_MULTIBOOT,
                                                  .name = "Multiboot",
                                                  .recognises = recognises,
                                                  .load = load,
                                                  .tell = tell};
