// SPDX-License-Identifier: Apache-2.0
// Linux bzImages. Source: Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and
// "64-bit Boot Protocol"; offsets are those of the file, and of the zero page as well.
#include "lib/string.h"
#include "lib/types.h"
#include "vmm/load/load.h"

enum setup_header {
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4,
    JUMP_LENGTH = 0x201, // the header ends so many bytes behind 0x202
    LOADFLAGS = 0x211,
    INITRD_ADDR_MAX = 0x22c,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_MIN_END = 0x264,
    HEADER_MAX_END = 0x290, // where the zero page continues with other things
};

#define SECTOR              512u
#define SETUP_SECTS_DEFAULT 4u
#define PARAGRAPH           16u
#define PROTOCOL_2_12       0x20cu
#define LOADED_HIGH         0x01u // loadflags
#define XLF_KERNEL_64       0x01u // xloadflags
#define ENTRY_64_OFFSET     0x200u
#define MIB                 0x100000u

static bool recognises(const struct load_images *images) {
    const uint8_t *file = images->kernel;
    return images->kernel_size >= HEADER_MIN_END &&
           load_get(file + ZERO_PAGE_BOOT_FLAG, 2) == LOAD_BOOT_FLAG &&
           load_get(file + ZERO_PAGE_MAGIC, 4) == LOAD_MAGIC;
}

static bool check_protocol(const struct load_images *images, struct load_refusal *refusal) {
    const uint8_t *file = images->kernel;
    uint64_t version = load_get(file + ZERO_PAGE_VERSION, 2);
    if (version < PROTOCOL_2_12)
        return load_refuse(refusal,
                           "kernel '%s' speaks boot protocol %lu.%02lu, but 2.12 is needed: use "
                           "Linux 3.8 or newer",
                           images->kernel_name, version >> 8, version & 0xff);
    if (!(file[LOADFLAGS] & LOADED_HIGH) || !(load_get(file + XLOADFLAGS, 2) & XLF_KERNEL_64))
        return load_refuse(refusal,
                           "kernel '%s' has no 64-bit entry: use a kernel built for x86-64 "
                           "(amd64)",
                           images->kernel_name);
    return true;
}

struct payload {
    uint64_t offset; // in the file
    uint64_t size;
    uint64_t address; // where it goes
};

static bool find_payload(const struct load_images *images, struct payload *payload,
                         struct load_refusal *refusal) {
    const uint8_t *file = images->kernel;
    uint64_t sectors = file[SETUP_SECTS] == 0 ? SETUP_SECTS_DEFAULT : file[SETUP_SECTS];
    payload->offset = (sectors + 1) * SECTOR;
    payload->size = load_get(file + SYSSIZE, 4) * PARAGRAPH;
    uint64_t end = payload->offset + payload->size;
    // syssize counts whole paragraphs, of which the last may be cut.
    if (payload->size < ENTRY_64_OFFSET || images->kernel_size + PARAGRAPH <= end)
        return load_refuse(refusal,
                           "kernel '%s' is truncated: %lu of %lu bytes are there; copy it again",
                           images->kernel_name, images->kernel_size, end);
    payload->size = MIN(payload->size, images->kernel_size - payload->offset);
    return true;
}

// The preferred address. A relocatable kernel could be loaded elsewhere, but unpacks itself there
// or higher all the same, so that memory is needed in any case.
static bool choose_address(const struct memory *memory, const struct load_images *images,
                           struct payload *payload, struct load_kernel *kernel,
                           struct load_refusal *refusal) {
    const uint8_t *file = images->kernel;
    uint64_t preferred = load_get(file + PREF_ADDRESS, 8);
    uint64_t needed = MAX(load_get(file + INIT_SIZE, 4), payload->size);
    if (preferred < LOAD_KERNEL_MIN || !is_aligned(preferred, PAGE_SIZE) ||
        range_exceeds(preferred, needed, UINT32_MAX))
        return load_refuse(refusal, "kernel '%s' has a damaged header: it asks to lie at 0x%lx",
                           images->kernel_name, preferred);
    if (range_exceeds(preferred, needed, memory->low_size))
        return load_refuse(refusal,
                           "the guest's %lu MiB are too small for kernel '%s': set memory to at "
                           "least %luM",
                           memory->size >> 20, images->kernel_name,
                           align_up(preferred + needed, SIZE_2M) / MIB);
    payload->address = preferred;
    kernel->end = preferred + needed;
    return true;
}

static void copy_header(const uint8_t *file, uint8_t *zero_page) {
    uint64_t end = ZERO_PAGE_MAGIC + (uint64_t)file[JUMP_LENGTH];
    end = MIN(MAX(end, HEADER_MIN_END), HEADER_MAX_END);
    memcpy(zero_page + ZERO_PAGE_SETUP_HEADER, file + ZERO_PAGE_SETUP_HEADER,
           end - ZERO_PAGE_SETUP_HEADER);
}

static bool load_linux(const struct memory *memory, const struct load_images *images,
                       struct load_kernel *kernel, struct load_refusal *refusal) {
    struct payload payload = {0};
    if (!check_protocol(images, refusal) || !find_payload(images, &payload, refusal) ||
        !choose_address(memory, images, &payload, kernel, refusal))
        return false;
    memcpy(memory_pointer(memory, payload.address, payload.size), images->kernel + payload.offset,
           payload.size);
    kernel->entry = payload.address + ENTRY_64_OFFSET;
    kernel->initrd_last = load_get(images->kernel + INITRD_ADDR_MAX, 4);
    kernel->cmdline_max = load_get(images->kernel + CMDLINE_SIZE, 4);
    return true;
}

static void tell(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *info) {
    copy_header(images->kernel, info);
    load_tell_linux(memory, images, kernel, info);
}

const struct load_method load_method_linux = {
    .protocol = LOAD_LINUX, .recognises = recognises, .load = load_linux, .tell = tell};
