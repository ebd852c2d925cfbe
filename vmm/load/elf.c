// SPDX-License-Identifier: Apache-2.0
// ELF64 executables that name no other protocol, started like a Linux kernel: each PT_LOAD at its
// p_paddr, RSI = a zero page with as much of the setup header as a kernel reads that was not packed
// as a bzImage.
#include "include/vmm.h"
#include "vmm/load/exec.h"

// The protocol whose fields are filled.
#define PROTOCOL_2_12 0x20cu
// Below 2 GiB, where every kernel maps it early.
#define INITRD_LAST 0x7fffffffULL

static bool load_elf(const struct memory *memory, const struct load_images *images,
                     struct load_kernel *kernel, struct load_refusal *refusal) {
    struct exec exec;
    if (!exec_open(images, &exec, refusal))
        return false;
    if (exec.format == EXEC_ELF32)
        return load_refuse(
            refusal,
            "kernel '%s' is an ELF32 file without a Multiboot header or a PVH entry: "
            "use an ELF64 kernel, or one with either",
            images->kernel_name);
    kernel->initrd_last = INITRD_LAST;
    kernel->cmdline_max = VMM_CMDLINE_MAX - 1;
    return exec_load(memory, images, &exec, kernel, refusal);
}

static void tell(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *info) {
    load_put(info + ZERO_PAGE_BOOT_FLAG, 2, LOAD_BOOT_FLAG);
    load_put(info + ZERO_PAGE_MAGIC, 4, LOAD_MAGIC);
    load_put(info + ZERO_PAGE_VERSION, 2, PROTOCOL_2_12);
    load_put(info + ZERO_PAGE_CMDLINE_SIZE, 4, VMM_CMDLINE_MAX - 1);
    load_tell_linux(memory, images, kernel, info);
}

const struct load_method load_method_elf = {
    .protocol = LOAD_LINUX, .recognises = exec_is_elf, .load = load_elf, .tell = tell};
