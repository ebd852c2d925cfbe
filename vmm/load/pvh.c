// SPDX-License-Identifier: Apache-2.0
// The PVH entry of ELF kernels. Source: Xen, docs/misc/pvh.pandoc "PVH Specification", "x86/HVM
// direct boot ABI" and xen/include/public/arch-x86/hvm/start_info.h; xen/include/public/elfnote.h.
#include "include/vmm.h"
#include "vmm/load/exec.h"

#define NOTE_OWNER        "Xen"
#define NOTE_PHYS32_ENTRY 18u
// Linux, include/linux/build-salt.h: a note that every vmlinux of recent years has. Its ELF entry
// is the 64-bit one, which starts on any processor, so a kernel with it needs no PVH.
#define LINUX_OWNER      "Linux"
#define LINUX_BUILD_SALT 0x100u

#define START_MAGIC   0x336ec578u
#define START_VERSION 1u

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp;
    uint64_t memory_map;
    uint32_t memory_map_count, reserved;
};

struct start_module {
    uint64_t address, size, cmdline, reserved;
};

struct start_memory {
    uint64_t address, size;
    uint32_t type, reserved;
};

_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct start_module) == 32 &&
                   sizeof(struct start_memory) == 24,
               "struct hvm_start_info and its lists");

// The entry that the note names, of 4 or 8 bytes. False: it has none.
static bool find_note(const struct exec *exec, uint64_t *entry) {
    uint32_t size = 0, salt_size;
    const uint8_t *note = exec_note(exec, NOTE_OWNER, NOTE_PHYS32_ENTRY, &size);
    if (note == NULL || (size != 4 && size != 8))
        return false;
    if (exec->format == EXEC_ELF64 &&
        exec_note(exec, LINUX_OWNER, LINUX_BUILD_SALT, &salt_size) != NULL)
        return false;
    *entry = load_get(note, size);
    return true;
}

static bool recognises(const struct load_images *images) {
    struct load_refusal refusal;
    struct exec exec;
    uint64_t entry;
    return exec_is_elf(images) && exec_open(images, &exec, &refusal) && find_note(&exec, &entry);
}

static bool load(const struct memory *memory, const struct load_images *images,
                 struct load_kernel *kernel, struct load_refusal *refusal) {
    struct exec exec;
    if (!exec_open(images, &exec, refusal) || !find_note(&exec, &exec.entry))
        return false; // recognises() has seen it
    kernel->initrd_last = UINT32_MAX;
    kernel->is_initrd_next = true;
    kernel->cmdline_max = VMM_CMDLINE_MAX - 1;
    return exec_load(memory, images, &exec, kernel, refusal);
}

static void tell(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *info) {
    struct memory_e820 e820[MEMORY_E820_MAX];
    struct start_memory map[MEMORY_E820_MAX];
    struct start_module module = {.address = kernel->initrd, .size = images->initrd_size};
    struct start_info start = {.magic = START_MAGIC,
                               .version = START_VERSION,
                               .cmdline = LOAD_CMDLINE,
                               .rsdp = images->rsdp};
    uint32_t used = sizeof(start);
    start.memory_map_count = (uint32_t)memory_e820(memory, e820);
    for (uint32_t i = 0; i < start.memory_map_count; i++)
        map[i] = (struct start_memory){e820[i].base, e820[i].size, e820[i].type, 0};
    start.memory_map = load_append(info, &used, map, start.memory_map_count * sizeof(map[0]), 8);
    if (kernel->initrd != 0) {
        start.module_count = 1;
        start.modules = load_append(info, &used, &module, sizeof(module), 8);
    }
    used = 0;
    (void)load_append(info, &used, &start, sizeof(start), 8);
}

const struct load_method load_method_pvh = {
    .protocol = LOAD_PVH, .name = "PVH", .recognises = recognises, .load = load, .tell = tell};
