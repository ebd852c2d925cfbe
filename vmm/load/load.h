// SPDX-License-Identifier: Apache-2.0
// Loading the guest's kernel: recognises how it wants to be started, copies kernel, initrd and
// command line into RAM and says how the first vCPU starts.
//
// What counts is the entry protocol that a file names, not the format that it is packed in. In the
// order of the search:
//
//   bzImage      Linux of boot protocol 2.12 or newer with a 64-bit entry
//                linux.c
//   Multiboot 2  a header in the first 32 KiB: ELF32, ELF64, or any file with an address tag
//                multiboot2.c
//   Multiboot 1  a header in the first 8 KiB: ELF32, ELF64, or any file with address fields
//                multiboot.c
//   PVH          ELF32 or ELF64 with Xen's note, but not an ELF64 that has Linux' own note
//                pvh.c
//   Linux ELF    any other ELF64: a vmlinux, a test guest
//                elf.c
//
// bzImage and Linux ELF start in long mode with the first 4 GiB mapped identically, RSI = zero
// page; the others in 32-bit protected mode without paging, EBX = the protocol's structure.
// Interrupts are off.
//
// What the loader puts into the guest's first MiB, all of it free for the guest to overwrite:
//   LOAD_GDT, LOAD_INFO, LOAD_STACK_TOP (below it), LOAD_PAGE_TABLES, LOAD_CMDLINE
// The kernel lies from LOAD_KERNEL_MIN on, the initrd as high as the protocol lets it, or behind
// the kernel (modules of Multiboot and PVH).
//
// All input is untrusted. Pure: everything is in the arguments.
#pragma once

#include <stdbool.h>

#include "include/abi.h"
#include "vmm/memory.h"

#define LOAD_GDT         0x500ULL
#define LOAD_INFO        0x7000ULL // a page: zero page, or the structures of the other protocols
#define LOAD_STACK_TOP   0x9000ULL
#define LOAD_PAGE_TABLES 0x9000ULL // 6 pages
#define LOAD_CMDLINE     0x20000ULL
#define LOAD_KERNEL_MIN  0x100000ULL
#define LOAD_INFO_SIZE   0x1000u

struct load_images {
    const uint8_t *kernel;
    uint64_t kernel_size;
    const char *kernel_name; // the user's, for messages, as the other names
    const uint8_t *initrd;
    uint64_t initrd_size; // 0: none
    const char *initrd_name;
    const char *cmdline;         // shorter than VMM_CMDLINE_MAX
    uint64_t rsdp;               // guest-physical address of the ACPI root; 0: none
    bool has_unrestricted_guest; // vCPUs can run without paging
};

enum load_protocol {
    LOAD_LINUX = 0,
    LOAD_MULTIBOOT,
    LOAD_MULTIBOOT2,
    LOAD_PVH,
};

// How the first vCPU starts.
struct load_entry {
    uint64_t rip;
    uint32_t protocol; // enum load_protocol
};

// Why an image was refused: what is wrong and how to mend it, in one line.
struct load_refusal {
    char text[200];
};

// Loads everything into `memory`, which is all zero but for the ACPI tables. False: refused, and
// RAM may hold part of it.
bool load_guest(const struct memory *memory, const struct load_images *images,
                struct load_entry *entry, struct load_refusal *refusal);

// Sets what the protocol asks for in the registers of a vCPU after reset; leaves all else alone.
void load_set_registers(const struct load_entry *entry, struct vcpu_registers *registers);

// ---- between the files of the loader ------------------------------------------------------------

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
};

#define LOAD_BOOT_FLAG      0xaa55u
#define LOAD_MAGIC          0x53726448u // "HdrS"
#define LOAD_TYPE_UNDEFINED 0xffu       // a boot loader without a number of its own
#define LOAD_LOADER_NAME    "Bulkhead"

#define LOAD_MULTIBOOT_MAGIC  0x2badb002u // EAX at the entry
#define LOAD_MULTIBOOT2_MAGIC 0x36d76289u

// What a protocol's loader hands back to the common part.
struct load_kernel {
    uint64_t entry;         // guest-physical
    uint64_t start;         // first byte of the kernel, where a protocol tells it
    uint64_t end;           // first byte behind the kernel and what it needs to start
    uint64_t initrd_last;   // highest address that the initrd may use
    uint64_t initrd;        // where the initrd has been put; 0: there is none
    uint64_t cmdline_max;   // longest command line, without the NUL
    bool is_initrd_next;    // the initrd goes behind the kernel, not as high as it may
    bool has_load_base_tag; // Multiboot 2: the kernel could lie elsewhere and is told where it does
};

// One way to start a kernel. `load` loads the kernel into RAM; `tell` writes the structures at
// LOAD_INFO, `info`, all zero, once initrd and command line are in their places.
struct load_method {
    enum load_protocol protocol;
    const char *name; // behind "starts by"; NULL: in 64-bit mode
    bool (*recognises)(const struct load_images *images);
    bool (*load)(const struct memory *memory, const struct load_images *images,
                 struct load_kernel *kernel, struct load_refusal *refusal);
    void (*tell)(const struct memory *memory, const struct load_images *images,
                 const struct load_kernel *kernel, uint8_t *info);
};

extern const struct load_method load_method_linux, load_method_multiboot2, load_method_multiboot,
    load_method_pvh, load_method_elf;

// What both kinds of Linux find in the zero page.
void load_tell_linux(const struct memory *memory, const struct load_images *images,
                     const struct load_kernel *kernel, uint8_t *zero_page);

// Sets the text and returns false.
bool load_refuse(struct load_refusal *refusal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Unaligned little-endian fields.
uint64_t load_get(const uint8_t *at, unsigned size);
void load_put(uint8_t *at, unsigned size, uint64_t value);

// Tables and page tables for the entry, in the guest's memory.
void load_build_state(const struct memory *memory, enum load_protocol protocol);

// Appends to the page at LOAD_INFO from *used on, aligned to `align`, and returns the
// guest-physical address. The page has room for all that any protocol tells; a unit test looks.
uint32_t load_append(uint8_t *info, uint32_t *used, const void *data, size_t size, uint32_t align);
