// SPDX-License-Identifier: Apache-2.0
// The boot hand-over: what boot/ (the UEFI application) leaves in memory for the kernel.
//
// State at the kernel's entry point (the ELF entry of `kernel.elf`, an address in the higher half):
//   - long mode, paging on, interrupts off, direction flag clear, boot CPU only, boot services left
//   - CR3: tables built by the boot application. They map identically, writable and executable, the
//     first 4 GiB, the framebuffer, and all memory that the memory map lists as FREE, LOADER,
//     KERNEL, MODULE or ACPI; and each PT_LOAD segment of kernel.elf at its p_vaddr, in 4 KiB
//     pages, with the rights of its p_flags (EFER.NXE and CR0.WP are set, CR4.PGE and CR4.LA57 are
//     clear)
//   - GDT, IDT and segment registers are still the firmware's, in memory that the map calls FREE:
//     the kernel loads its own before it uses such memory
//   - RDI: physical (= virtual) address of struct boot_info
//   - RSP: a stack of 16 KiB in memory of type BOOT_MEMORY_LOADER
//
// The kernel image lies in one physically contiguous block, aligned to 2 MiB: the byte at virtual
// address v stands at kernel_base + (v - BOOT_KERNEL_VMA).
//
// The kernel copies what it needs out of struct boot_info and then takes all BOOT_MEMORY_LOADER
// memory back. Modules stay where they are: each starts on a page of its own, and what follows it
// in its last page is zero.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BOOT_MAGIC      0x646165686b6c7562ULL // "bulkhead", little endian
#define BOOT_VERSION    1u
#define BOOT_KERNEL_VMA 0xffffffff80000000ULL // lowest p_vaddr of kernel.elf

// The ELF note (in a PT_NOTE segment) with which kernel.elf tells the BOOT_VERSION that it was
// built for; its descriptor is that u32, little endian. See docs/boot.md.
#define BOOT_NOTE_OWNER   "Bulkhead"
#define BOOT_NOTE_VERSION 1u

#define BOOT_MODULES_MAX     128
#define BOOT_MODULE_NAME_MAX 64
#define BOOT_CMDLINE_MAX     512

enum boot_memory_type {
    BOOT_MEMORY_FREE = 1,     // usable RAM, nobody's
    BOOT_MEMORY_LOADER = 2,   // RAM that holds this hand-over, its tables and its stack
    BOOT_MEMORY_KERNEL = 3,   // RAM that holds the kernel image
    BOOT_MEMORY_MODULE = 4,   // RAM that holds a module
    BOOT_MEMORY_ACPI = 5,     // RAM that holds ACPI tables: readable, kept
    BOOT_MEMORY_FIRMWARE = 6, // RAM that the firmware keeps (runtime services, ACPI NVS, reserved)
    BOOT_MEMORY_DEVICE = 7,   // memory-mapped devices
};

// One range of physical memory. Sorted by base, page-aligned, without overlap.
struct boot_memory {
    uint64_t base;
    uint64_t length;
    uint32_t type; // enum boot_memory_type
    uint32_t reserved;
};

// One file that the manifest names. The compiled manifest itself is module 0, "manifest.dtb".
struct boot_module {
    char name[BOOT_MODULE_NAME_MAX]; // NUL-terminated
    uint64_t base;                   // page-aligned
    uint64_t size;                   // bytes
};

enum boot_pixel_format { BOOT_PIXEL_NONE = 0, BOOT_PIXEL_RGBX = 1, BOOT_PIXEL_BGRX = 2 };

// 32 bits a pixel; BOOT_PIXEL_NONE where the machine has no framebuffer.
struct boot_framebuffer {
    uint64_t base;
    uint32_t width;  // pixels
    uint32_t height; // lines
    uint32_t stride; // pixels a line
    uint32_t format; // enum boot_pixel_format
};

struct boot_info {
    uint64_t magic;
    uint32_t version;
    uint32_t size; // sizeof(struct boot_info)
    uint64_t kernel_base;
    uint64_t kernel_size; // bytes, with .bss, rounded up to pages
    uint64_t rsdp;        // physical address of the ACPI root, 0 when there is none
    uint64_t memory;      // physical address of struct boot_memory[memory_count]
    uint64_t entry_tsc;   // TSC when the boot application started
    uint32_t memory_count;
    uint32_t module_count;
    struct boot_framebuffer framebuffer;
    char cmdline[BOOT_CMDLINE_MAX]; // NUL-terminated: the manifest's, then what the firmware passed
    struct boot_module module[BOOT_MODULES_MAX];
};

_Static_assert(sizeof(struct boot_memory) == 24, "layout of struct boot_memory");
_Static_assert(sizeof(struct boot_module) == 80, "layout of struct boot_module");
_Static_assert(offsetof(struct boot_info, framebuffer) == 64, "layout of struct boot_info");
_Static_assert(offsetof(struct boot_info, module) == 600, "layout of struct boot_info");
