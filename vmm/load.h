// SPDX-License-Identifier: Apache-2.0
// Loading the guest's kernel: recognises the format, copies kernel, initrd and command line into RAM and
// says where the first vCPU starts.
//
// Both formats start as the 64-bit Linux boot protocol says (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot
// Protocol"): long mode with the first 4 GiB mapped identically, interrupts off, RSI = zero page.
//
//   bzImage  a Linux kernel of protocol 2.12 or newer with a 64-bit entry            load_linux.c
//   ELF64    x86-64, fixed addresses: PT_LOADs at p_paddr (a vmlinux, test guests)   load_elf.c
//
// What the loader puts into the guest's first MiB, all of it free for the guest to overwrite:
//   LOAD_GDT, LOAD_ZERO_PAGE, LOAD_STACK_TOP (below it), LOAD_PAGE_TABLES, LOAD_CMDLINE
// The kernel lies from LOAD_KERNEL_MIN on, the initrd as high as the format lets it.
//
// All input is untrusted. Pure: everything is in the arguments.
#pragma once

#include <stdbool.h>

#include "include/abi.h"
#include "memory.h"

#define LOAD_GDT         0x500ULL
#define LOAD_ZERO_PAGE   0x7000ULL
#define LOAD_STACK_TOP   0x9000ULL
#define LOAD_PAGE_TABLES 0x9000ULL // 6 pages
#define LOAD_CMDLINE     0x20000ULL
#define LOAD_KERNEL_MIN  0x100000ULL

struct load_images {
    const uint8_t *kernel;
    uint64_t kernel_size;
    const char *kernel_name; // for messages, as the other names
    const uint8_t *initrd;
    uint64_t initrd_size; // 0: none
    const char *initrd_name;
    const char *cmdline; // shorter than VMM_CMDLINE_MAX
    uint64_t rsdp;       // guest-physical address of the ACPI root
};

// Where the first vCPU starts.
struct load_entry {
    uint64_t rip;
};

// Why an image was refused: what is wrong and how to mend it, in one line.
struct load_refusal {
    char text[200];
};

// Loads everything into `memory`. False: refused, and RAM may hold part of it.
bool load_guest(const struct memory *memory, const struct load_images *images,
                struct load_entry *entry, struct load_refusal *refusal);

// Sets what the boot protocol asks for in the registers of a vCPU after reset; leaves all else alone.
void load_set_registers(const struct load_entry *entry, struct vcpu_registers *registers);

// ---- between the files of the loader ----------------------------------------------------------------

// The zero page, "struct boot_params": offsets of Linux, arch/x86/include/uapi/asm/bootparam.h.
enum load_zero_page {
    ZERO_PAGE_RSDP = 0x070,
    ZERO_PAGE_E820_ENTRIES = 0x1e8,
    ZERO_PAGE_SETUP_HEADER = 0x1f1,
    ZERO_PAGE_BOOT_FLAG = 0x1fe,
    ZERO_PAGE_MAGIC = 0x202,
    ZERO_PAGE_VERSION = 0x206,
    ZERO_PAGE_TYPE_OF_LOADER = 0x210,
    ZERO_PAGE_LOADFLAGS = 0x211,
    ZERO_PAGE_RAMDISK_IMAGE = 0x218,
    ZERO_PAGE_RAMDISK_SIZE = 0x21c,
    ZERO_PAGE_CMD_LINE_PTR = 0x228,
    ZERO_PAGE_CMDLINE_SIZE = 0x238,
    ZERO_PAGE_E820_TABLE = 0x2d0,
    ZERO_PAGE_SIZE = 0x1000,
};

#define LOAD_BOOT_FLAG      0xaa55u
#define LOAD_MAGIC          0x53726448u // "HdrS"
#define LOAD_TYPE_UNDEFINED 0xffu       // a boot loader without a number of its own

// What a format's loader hands back to the common part.
struct load_kernel {
    uint64_t entry;       // guest-physical
    uint64_t end;         // first byte behind the kernel and what it needs to start
    uint64_t initrd_last; // highest address that the initrd may use
    uint64_t cmdline_max; // longest command line, without the NUL
};

// Each loads the kernel and prepares the setup header in `zero_page`, which is all zero.
bool load_linux(const struct memory *memory, const struct load_images *images, uint8_t *zero_page,
                struct load_kernel *kernel, struct load_refusal *refusal);
bool load_elf(const struct memory *memory, const struct load_images *images, uint8_t *zero_page,
              struct load_kernel *kernel, struct load_refusal *refusal);
bool load_linux_recognises(const struct load_images *images);

// Sets the text and returns false.
bool load_refuse(struct load_refusal *refusal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Unaligned little-endian fields.
uint64_t load_get(const uint8_t *at, unsigned size);
void load_put(uint8_t *at, unsigned size, uint64_t value);
