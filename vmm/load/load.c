// SPDX-License-Identifier: Apache-2.0
// The common part of the loader: which protocol, initrd and command line. The interface is told in
// load.h.
#include "vmm/load/load.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/types.h"

// ---- helpers ------------------------------------------------------------------------------------

bool load_refuse(struct load_refusal *refusal, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(refusal->text, sizeof(refusal->text), format, arguments);
    va_end(arguments);
    return false;
}

static uint64_t mib_up(uint64_t bytes) {
    return (bytes + (1u << 20) - 1) >> 20;
}

uint64_t load_get(const uint8_t *at, unsigned size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

void load_put(uint8_t *at, unsigned size, uint64_t value) {
    memcpy(at, &value, size);
}

uint32_t load_append(uint8_t *info, uint32_t *used, const void *data, size_t size, uint32_t align) {
    uint32_t at = (uint32_t)align_up(*used, align);
    if (at > LOAD_INFO_SIZE || size > LOAD_INFO_SIZE - at)
        return 0;
    if (size > 0)
        memcpy(info + at, data, size);
    *used = at + (uint32_t)size;
    return (uint32_t)LOAD_INFO + at;
}

// ---- which protocol -----------------------------------------------------------------------------

struct compression {
    const char *name, *remedy;
    uint8_t size;
    uint8_t magic[6];
};

// Some distributions keep kernels so. The same list is in tools/bulkhead/kernelfile.py.
static const struct compression compressions[] = {
    {"gzip", "gunzip", 2, {0x1f, 0x8b}},
    {"xz", "unxz", 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
    {"zstd", "unzstd", 4, {0x28, 0xb5, 0x2f, 0xfd}},
    {"bzip2", "bunzip2", 3, {'B', 'Z', 'h'}},
    {"lz4", "unlz4", 4, {0x04, 0x22, 0x4d, 0x18}},
    {"lz4", "unlz4", 4, {0x02, 0x21, 0x4c, 0x18}},
    {"lzop", "lzop -d", 4, {0x89, 'L', 'Z', 'O'}},
    {"lzma", "unlzma", 3, {0x5d, 0, 0}},
};

static const struct load_method *const methods[] = {
    &load_method_linux, &load_method_multiboot2, &load_method_multiboot,
    &load_method_pvh,   &load_method_elf,
};

static bool refuse_unknown(const struct load_images *images, struct load_refusal *refusal) {
    for (size_t i = 0; i < sizeof(compressions) / sizeof(compressions[0]); i++) {
        const struct compression *c = &compressions[i];
        if (images->kernel_size >= c->size && memcmp(images->kernel, c->magic, c->size) == 0)
            return load_refuse(refusal,
                               "kernel '%s' is compressed by %s: unpack it first, such as with %s",
                               images->kernel_name, c->name, c->remedy);
    }
    return load_refuse(
        refusal,
        "kernel '%s' is neither a Linux bzImage nor an ELF file, and has no Multiboot "
        "header: name one of these",
        images->kernel_name);
}

// NULL: refused.
static const struct load_method *find_method(const struct load_images *images,
                                             struct load_refusal *refusal) {
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (!methods[i]->recognises(images))
            continue;
        if (methods[i]->name == NULL || images->has_unrestricted_guest)
            return methods[i];
        load_refuse(
            refusal,
            "kernel '%s' starts by %s in 32-bit mode, but this processor has no unrestricted "
            "guest mode: use a 64-bit Linux kernel, or another machine",
            images->kernel_name, methods[i]->name);
        return NULL;
    }
    refuse_unknown(images, refusal);
    return NULL;
}

// ---- initrd, command line -----------------------------------------------------------------------

// Behind the kernel, or as high as it may lie, below the end of low RAM, and above the kernel.
static bool load_initrd(const struct memory *memory, const struct load_images *images,
                        struct load_kernel *kernel, struct load_refusal *refusal) {
    uint64_t size = images->initrd_size;
    uint64_t limit = MIN(memory->low_size, kernel->initrd_last + 1);
    uint64_t first = align_up(kernel->end, PAGE_SIZE);
    if (size == 0)
        return true;
    if (size > limit || align_down(limit - size, PAGE_SIZE) < first)
        return load_refuse(refusal,
                           "initrd '%s' (%lu MiB) does not fit into the guest's %lu MiB beside the "
                           "kernel: set memory to at least %luM, or use a smaller initrd",
                           images->initrd_name, mib_up(size), memory->size >> 20,
                           mib_up(first + size + PAGE_SIZE));
    kernel->initrd = kernel->is_initrd_next ? first : align_down(limit - size, PAGE_SIZE);
    memcpy(memory_pointer(memory, kernel->initrd, size), images->initrd, size);
    return true;
}

static bool load_cmdline(const struct memory *memory, const struct load_images *images,
                         const struct load_kernel *kernel, struct load_refusal *refusal) {
    size_t length = strlen(images->cmdline);
    if (length > kernel->cmdline_max)
        return load_refuse(refusal,
                           "cmdline is %zu bytes long, but '%s' takes only %lu: shorten it", length,
                           images->kernel_name, kernel->cmdline_max);
    memcpy(memory_pointer(memory, LOAD_CMDLINE, length + 1), images->cmdline, length + 1);
    return true;
}

void load_tell_linux(const struct memory *memory, const struct load_images *images,
                     const struct load_kernel *kernel, uint8_t *zero_page) {
    struct memory_e820 map[MEMORY_E820_MAX];
    size_t count = memory_e820(memory, map);
    memcpy(zero_page + ZERO_PAGE_E820_TABLE, map, count * sizeof(map[0]));
    zero_page[ZERO_PAGE_E820_ENTRIES] = (uint8_t)count;
    zero_page[ZERO_PAGE_TYPE_OF_LOADER] = LOAD_TYPE_UNDEFINED;
    load_put(zero_page + ZERO_PAGE_RSDP, sizeof(uint64_t), images->rsdp);
    load_put(zero_page + ZERO_PAGE_CMD_LINE_PTR, sizeof(uint32_t), LOAD_CMDLINE);
    if (kernel->initrd == 0)
        return;
    load_put(zero_page + ZERO_PAGE_RAMDISK_IMAGE, sizeof(uint32_t), kernel->initrd);
    load_put(zero_page + ZERO_PAGE_RAMDISK_SIZE, sizeof(uint32_t), images->initrd_size);
}

bool load_guest(const struct memory *memory, const struct load_images *images,
                struct load_entry *entry, struct load_refusal *refusal) {
    struct load_kernel kernel = {0};
    uint8_t *info = memory_pointer(memory, LOAD_INFO, LOAD_INFO_SIZE);
    if (images->kernel_size == 0)
        return load_refuse(refusal, "kernel '%s' is empty: name a Linux bzImage or an ELF file",
                           images->kernel_name);
    const struct load_method *method = find_method(images, refusal);
    if (method == NULL || !method->load(memory, images, &kernel, refusal) ||
        !load_initrd(memory, images, &kernel, refusal) ||
        !load_cmdline(memory, images, &kernel, refusal))
        return false;
    memset(info, 0, LOAD_INFO_SIZE);
    method->tell(memory, images, &kernel, info);
    load_build_state(memory, method->protocol);
    *entry = (struct load_entry){.rip = kernel.entry, .protocol = method->protocol};
    return true;
}
