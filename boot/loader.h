// SPDX-License-Identifier: Apache-2.0
// The boot application from inside: what its files share. main.c is the table of contents.
//
// A step that fails has printed its one line (console_fail) and returns an EFI error; main.c then
// gives everything back (memory_release) and returns to the firmware.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <efi.h>

#include "boot/boot_acpi.h"
#include "boot/boot_manifest.h"
#include "boot/boot_nodes.h"
#include "boot/boot_paging.h"
#include "boot/boot_platform.h"
#include "boot/boot_sections.h"
#include "lib/elf.h"

#define LOADER_MANIFEST_PATH "\\bulkhead\\manifest.dtb"
#define LOADER_COPY_AGAIN    "copy the image to the disk again"

// What the kernel image became in memory.
struct loader_kernel {
    struct elf_image image; // points into the file, which stays until the kernel takes it back
    uint64_t base;          // of the block, physical
    uint64_t size;          // bytes, whole pages
};

// What our own image brings.
struct loader_own {
    bool is_there;
    struct boot_section manifest, files;
};

// Everything that main.c collects; one static object.
struct loader {
    EFI_HANDLE image;
    struct loader_own own;
    EFI_FILE_HANDLE volume;          // root directory, NULL when closed
    bool was_shell;                  // started by a shell, which stays on the screen
    char options[START_CMDLINE_MAX]; // load options, "" when they are no text
    struct boot_manifest manifest;
    struct loader_kernel kernel;
    struct boot_acpi acpi;
    struct platform platform;
    struct nodes *nodes;   // the module of that name; NULL: the machine is one node
    struct boot_info info; // built here, copied into the hand-over last
};

extern EFI_SYSTEM_TABLE *loader_system;    // main.c
extern EFI_BOOT_SERVICES *loader_services; // main.c

// console.c: printing to the firmware's console.
__attribute__((format(printf, 1, 2))) void console_print(const char *format, ...);
// Prints "bulkhead: ...", one line, and returns `status`.
__attribute__((format(printf, 2, 3))) EFI_STATUS console_fail(EFI_STATUS status, const char *format,
                                                              ...);
// Leaves the message on the screen for some seconds or until a key is pressed.
void console_wait_key(void);

// memory.c: pages from the firmware, remembered with their later type.
// Pages above 1 MiB, `align` a power of two of at least BOOT_PAGE_SIZE; 0 when there is no memory.
uint64_t memory_alloc(uint64_t pages, uint64_t align, enum boot_memory_type type);
// The same, all of it below `end`.
uint64_t memory_alloc_below(uint64_t end, uint64_t pages, uint64_t align,
                            enum boot_memory_type type);
// These pages. False: they are no memory, or the firmware's.
bool memory_take(uint64_t base, uint64_t pages, enum boot_memory_type type);
// Gives all of it back.
void memory_release(void);
// Copies the remembered ranges to `ranges` (MEMORY_BLOCKS_MAX); returns how many.
uint32_t memory_list(struct boot_memory *ranges);
// Modules and segments, and: the manifest, the kernel, the crash page, tables of Intel's and AMD's
// IOMMUs, maps of MSRs, the module of nodes, work space and tables for the hand-over, its stack and
// information, the pool, the way to four levels.
#define MEMORY_BLOCKS_MAX (BOOT_MODULES_MAX + BOOT_SEGMENTS_MAX + 12)

// file.c: files of our own image, or of the volume that it came from.
EFI_STATUS file_open(struct loader *loader);
void file_close_volume(struct loader *loader);
// Reads a whole file into new pages of `type`, the rest of the last page zero. With `module`, its
// size and CRC must be those; without, it is the manifest, and any size up to FILE_SIZE_MAX is
// fine. `module` is one of loader->manifest.
struct file_contents {
    void *data;
    uint64_t size;
};
#define FILE_SIZE_MAX (16ull << 20)
EFI_STATUS file_read(const struct loader *loader, const char *path,
                     const struct boot_manifest_module *module, enum boot_memory_type type,
                     struct file_contents *contents);

// modules.c: the manifest and the modules into memory and into loader->info.
EFI_STATUS modules_read_manifest(struct loader *loader);
EFI_STATUS modules_load(struct loader *loader);
// Behind them the module that tells of nodes, to be filled when the memory map is final. There is
// always room for it: the manifest names two modules that are none in loader->info.
EFI_STATUS modules_add_nodes(struct loader *loader);

// kernel.c: kernel.elf into its block.
EFI_STATUS kernel_load(struct loader *loader);

// supervisor.c: supervisor.elf into segments, and those into loader->info.
EFI_STATUS supervisor_load(struct loader *loader);

// crash.c: what a kernel that could not go on left before the reset, and where this one may.
void crash_read(struct loader *loader);
// Behind the last thing that can fail: from now on it is told by the kernel's log.
void crash_clear(const struct loader *loader);

// machine.c: what the machine is.
void machine_read_options(struct loader *loader);
EFI_STATUS machine_check_cpu(void);
EFI_STATUS machine_collect(struct loader *loader); // threads, framebuffer, command line
// What the processor offers, and what the preflight report says of it: behind clock_end.
void machine_read_features(struct loader *loader);
bool machine_has_1g_pages(void);

// tables.c: what the ACPI tables tell, into loader->acpi and loader->info. Says what was wrong with
// them.
EFI_STATUS tables_read(struct loader *loader);

// clock.c: the TSC's rate and the date into loader->info. clock_begin comes behind tables_read,
// clock_look now and then (for the 8254, which wraps after 55 ms, each ten seconds), clock_end
// once.
void clock_begin(const struct loader *loader);
void clock_look(void);
EFI_STATUS clock_end(struct loader *loader);
// What the firmware added to this CPU's TSC (IA32_TSC_ADJUST) is taken away again, and the times in
// `info` with it. Behind the boot services: they may wait by that TSC.
void clock_zero_adjust(struct boot_info *info);

// fault.c: from fault_install until the kernel has handlers of its own, an exception is told on the
// console of info->uart and on the screen, and halts the machine. NMIs are counted; fault_report
// tells of those until then.
void fault_install(const struct boot_info *info);
void fault_report(struct boot_info *info);

// quiesce.c: what the firmware left working is stopped. Behind the boot services.
void quiesce_all(struct loader *loader);
// Whether the firmware's page tables, which still hold, reach all of that.
bool quiesce_is_mapped(uint64_t base, uint64_t length);

// apic.c: info->apic_timer_hz, against the TSC. Behind clock_zero_adjust.
void apic_measure_timer(struct boot_info *info);

// pic.c: the 8259s, once the firmware has let go of them.
void pic_silence(void);

// levels.c: where the firmware runs in 5-level paging.
// Takes what it needs to leave it. `paging` is complete.
EFI_STATUS levels_prepare(const struct boot_paging *paging);
bool levels_are_five(void);
// Changes to the tables that were prepared, and to these values of CR0 and of CR4 (but for LA57),
// and calls `entry` with `info` in RDI. Behind the boot services, with CR4.PGE, CR4.PCIDE and
// CR4.CET off already.
_Noreturn void levels_enter(uint64_t cr0, uint64_t cr4, uint64_t stack, uint64_t info,
                            uint64_t entry);

// leave.c: page tables, memory map, out of the boot services and into the kernel. Returns only on
// errors.
EFI_STATUS leave_to_kernel(struct loader *loader);
