// SPDX-License-Identifier: Apache-2.0
// Multiboot 2. Source: "Multiboot2 Specification version 2.0" (Free Software Foundation, 2016),
// chapter 3; names as there. Its header is a row of tags; one that is not known and not optional is
// refused. Wishes for a screen stay unfulfilled, but who cannot go without one is refused.
#include "include/vmm.h"
#include "lib/string.h"
#include "lib/types.h"
#include "vmm/load/exec.h"

#define HEADER_MAGIC  0xe85250d6u
#define HEADER_SEARCH 32768u // "contained completely within the first 32768 bytes"
#define HEADER_SIZE   16u
#define ARCHITECTURE  4u // offsets
#define HEADER_LENGTH 8u
#define CHECKSUM      12u
#define I386          0u // "32-bit (protected) mode of i386"
#define ALIGN         8u

#define TAG_HEAD     8u // type, flags, size
#define TAG_OPTIONAL BIT(0)

enum header_tag {
    TAG_END = 0,
    TAG_REQUEST = 1,
    TAG_ADDRESS = 2,
    TAG_ENTRY = 3,
    TAG_CONSOLE = 4,
    TAG_FRAMEBUFFER = 5,
    TAG_MODULE_ALIGN = 6,
    TAG_EFI_SERVICES = 7,
    TAG_EFI_ENTRY_32 = 8,
    TAG_EFI_ENTRY_64 = 9,
    TAG_RELOCATABLE = 10,
};

#define CONSOLE_REQUIRED BIT(0)

enum info_tag {
    INFO_END = 0,
    INFO_CMDLINE = 1,
    INFO_LOADER = 2,
    INFO_MODULE = 3,
    INFO_MEMORY = 4,
    INFO_MAP = 6,
    INFO_RSDP_OLD = 14,
    INFO_RSDP_NEW = 15,
    INFO_LOAD_BASE = 21,
    INFO_LAST = 21,
};

#define INFO_HEAD     8u  // total size, reserved
#define RSDP_OLD_SIZE 20u // ACPI 6.5, 5.2.5.3
#define RSDP_NEW_SIZE 36u

// What the header asks for.
struct header {
    uint32_t offset;
    struct exec_address address;
    bool has_address, has_entry, is_relocatable;
};

static bool find_header(const struct load_images *images, uint32_t *offset) {
    uint64_t end = MIN(images->kernel_size, HEADER_SEARCH);
    for (uint32_t at = 0; at + HEADER_SIZE <= end; at += ALIGN) {
        const uint8_t *header = images->kernel + at;
        if (load_get(header, 4) == HEADER_MAGIC &&
            (uint32_t)(HEADER_MAGIC + load_get(header + ARCHITECTURE, 4) +
                       load_get(header + HEADER_LENGTH, 4) + load_get(header + CHECKSUM, 4)) == 0) {
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

// ---- the header's tags --------------------------------------------------------------------------

static bool refuse_tag(const struct load_images *images, struct load_refusal *refusal,
                       const char *what) {
    return load_refuse(refusal,
                       "kernel '%s' requires %s in its Multiboot 2 header, which there is not",
                       images->kernel_name, what);
}

// What is not available may be left out, but what is not known may not.
static bool check_request(const struct load_images *images, const uint8_t *tag, uint32_t size,
                          struct load_refusal *refusal) {
    for (uint32_t at = TAG_HEAD; at + 4 <= size; at += 4)
        if (load_get(tag + at, 4) > INFO_LAST)
            return refuse_tag(images, refusal, "information of an unknown type");
    return true;
}

static void read_address(const uint8_t *tag, struct header *header) {
    header->has_address = true;
    header->address.header = (uint32_t)load_get(tag + TAG_HEAD, 4);
    header->address.load = (uint32_t)load_get(tag + TAG_HEAD + 4, 4);
    header->address.load_end = (uint32_t)load_get(tag + TAG_HEAD + 8, 4);
    header->address.bss_end = (uint32_t)load_get(tag + TAG_HEAD + 12, 4);
}

// Bytes that a tag of this type has at least.
static uint32_t tag_size_min(uint32_t type) {
    return type == TAG_ADDRESS                        ? TAG_HEAD + 16
           : type == TAG_ENTRY || type == TAG_CONSOLE ? TAG_HEAD + 4
                                                      : TAG_HEAD;
}

// `size` is at least tag_size_min, and within the file.
static bool read_tag(const struct load_images *images, const uint8_t *tag, uint32_t size,
                     struct header *header, struct load_refusal *refusal) {
    bool is_optional = load_get(tag + 2, 2) & TAG_OPTIONAL;
    switch (load_get(tag, 2)) {
    case TAG_REQUEST:
        return is_optional || check_request(images, tag, size, refusal);
    case TAG_ADDRESS:
        read_address(tag, header);
        return true;
    case TAG_ENTRY:
        header->has_entry = true;
        header->address.entry = (uint32_t)load_get(tag + TAG_HEAD, 4);
        return true;
    case TAG_CONSOLE:
        return is_optional || !(load_get(tag + TAG_HEAD, 4) & CONSOLE_REQUIRED) ||
               refuse_tag(images, refusal, "a screen");
    case TAG_RELOCATABLE:
        header->is_relocatable = true;
        return true;
    case TAG_FRAMEBUFFER:
    case TAG_MODULE_ALIGN:
    case TAG_EFI_ENTRY_32:
    case TAG_EFI_ENTRY_64:
        return true;
    case TAG_EFI_SERVICES:
        return is_optional || refuse_tag(images, refusal, "EFI boot services");
    default:
        return is_optional || refuse_tag(images, refusal, "an unknown tag");
    }
}

static bool read_header(const struct load_images *images, struct header *header,
                        struct load_refusal *refusal) {
    const uint8_t *at = images->kernel + header->offset;
    uint64_t length = load_get(at + HEADER_LENGTH, 4), next = HEADER_SIZE;
    if (load_get(at + ARCHITECTURE, 4) != I386)
        return load_refuse(refusal, "kernel '%s' has a Multiboot 2 header, but not for x86",
                           images->kernel_name);
    if (length > MIN(images->kernel_size, HEADER_SEARCH) - header->offset)
        return load_refuse(refusal, "kernel '%s' is truncated in its Multiboot 2 header",
                           images->kernel_name);
    while (next + TAG_HEAD <= length) {
        const uint8_t *tag = at + next;
        uint64_t type = load_get(tag, 2), size = load_get(tag + 4, 4);
        if (type == TAG_END)
            return true;
        if (size < tag_size_min((uint32_t)type) || size > length - next)
            break;
        if (!read_tag(images, tag, (uint32_t)size, header, refusal))
            return false;
        next = align_up(next + size, ALIGN);
    }
    return load_refuse(refusal, "kernel '%s' has a malformed Multiboot 2 header: build it again",
                       images->kernel_name);
}

static bool open_exec(const struct load_images *images, struct header *header, struct exec *exec,
                      struct load_refusal *refusal) {
    if (header->has_address && header->has_entry) {
        header->address.header_offset = header->offset;
        return exec_from_address(images, &header->address, exec, refusal);
    }
    if (!exec_is_elf(images))
        return load_refuse(refusal,
                           "kernel '%s' has a Multiboot 2 header without addresses, but is no ELF "
                           "file: copy or build it again",
                           images->kernel_name);
    if (!exec_open(images, exec, refusal))
        return false;
    if (header->has_entry)
        exec->entry = header->address.entry;
    return true;
}

static bool load(const struct memory *memory, const struct load_images *images,
                 struct load_kernel *kernel, struct load_refusal *refusal) {
    struct header header = {0};
    struct exec exec;
    (void)find_header(images, &header.offset); // recognises() has seen it
    if (!read_header(images, &header, refusal) || !open_exec(images, &header, &exec, refusal))
        return false;
    kernel->initrd_last = UINT32_MAX;
    kernel->is_initrd_next = true;
    kernel->has_load_base_tag = header.is_relocatable;
    kernel->cmdline_max = VMM_CMDLINE_MAX - 1;
    return exec_load(memory, images, &exec, kernel, refusal);
}

// ---- the information's tags ---------------------------------------------------------------------

struct info {
    uint8_t *page;
    uint32_t used;
};

// A tag of a fixed part and of a variable one, which may be empty.
static void put_tag(struct info *info, uint32_t type, const void *fixed, size_t fixed_size,
                    const void *rest, size_t rest_size) {
    uint32_t head[2] = {type, (uint32_t)(sizeof(head) + fixed_size + rest_size)};
    (void)load_append(info->page, &info->used, head, sizeof(head), ALIGN);
    (void)load_append(info->page, &info->used, fixed, fixed_size, 1);
    (void)load_append(info->page, &info->used, rest, rest_size, 1);
}

static void put_string(struct info *info, uint32_t type, const char *text) {
    put_tag(info, type, NULL, 0, text, strlen(text) + 1);
}

static void put_memory(struct info *info, const struct memory *memory) {
    struct memory_e820 e820[MEMORY_E820_MAX];
    struct {
        uint64_t base, length;
        uint32_t type, reserved;
    } map[MEMORY_E820_MAX];
    size_t count = memory_e820(memory, e820);
    const uint32_t lower_upper[2] = {(uint32_t)(MEMORY_EBDA_BASE >> 10),
                                     (uint32_t)((memory->low_size - MEMORY_BIOS_END) >> 10)};
    const uint32_t entry_size_version[2] = {sizeof(map[0]), 0};
    memset(map, 0, sizeof(map));
    for (size_t i = 0; i < count; i++) {
        map[i].base = e820[i].base;
        map[i].length = e820[i].size;
        map[i].type = e820[i].type;
    }
    put_tag(info, INFO_MEMORY, lower_upper, sizeof(lower_upper), NULL, 0);
    put_tag(info, INFO_MAP, entry_size_version, sizeof(entry_size_version), map,
            count * sizeof(map[0]));
}

static void tell(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *page) {
    struct info info = {page, INFO_HEAD};
    const uint32_t base = (uint32_t)kernel->start;
    const uint32_t module[2] = {(uint32_t)kernel->initrd,
                                (uint32_t)(kernel->initrd + images->initrd_size)};
    const void *rsdp =
        images->rsdp == 0 ? NULL : memory_pointer(memory, images->rsdp, RSDP_NEW_SIZE);
    put_string(&info, INFO_CMDLINE, images->cmdline);
    put_string(&info, INFO_LOADER, LOAD_LOADER_NAME);
    if (kernel->initrd != 0)
        put_tag(&info, INFO_MODULE, module, sizeof(module), images->initrd_name,
                strlen(images->initrd_name) + 1);
    put_memory(&info, memory);
    if (rsdp != NULL) {
        put_tag(&info, INFO_RSDP_OLD, NULL, 0, rsdp, RSDP_OLD_SIZE);
        put_tag(&info, INFO_RSDP_NEW, NULL, 0, rsdp, RSDP_NEW_SIZE);
    }
    if (kernel->has_load_base_tag)
        put_tag(&info, INFO_LOAD_BASE, &base, sizeof(base), NULL, 0);
    put_tag(&info, INFO_END, NULL, 0, NULL, 0);
    load_put(page, 4, info.used);
}

const struct load_method load_method_multiboot2 = {.protocol = LOAD_MULTIBOOT2,
                                                   .name = "Multiboot 2",
                                                   .recognises = recognises,
                                                   .load = load,
                                                   .tell = tell};
