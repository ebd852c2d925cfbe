// SPDX-License-Identifier: Apache-2.0
// The boot hand-over: what boot/ (the UEFI application) leaves in memory for the kernel.
//
// State at the kernel's entry point (the ELF entry of `kernel.elf`, an address in the higher half):
//   - long mode, paging on, interrupts off, direction flag clear, boot CPU only, boot services left
//   - CR3: tables built by the boot application. They map identically, writable and executable, the
//     first 4 GiB, the framebuffer, and all memory that the memory map lists as FREE, LOADER,
//     KERNEL, MODULE or ACPI; and each PT_LOAD segment of kernel.elf at its p_vaddr, in 4 KiB
//     pages, with the rights of its p_flags (EFER.NXE and CR0.WP are set, CR4.PGE and CR4.LA57 are
//     clear). What is mapped identically below 512 GiB is there at BOOT_DIRECT + address, too.
//   - GDT, IDT and segment registers are still the firmware's, in memory that the map calls FREE:
//     the kernel loads its own before it uses such memory
//   - the machine is quiet: no PCI function masters the bus, but those named by keep-dma, no IOMMU
//     is on, and in ACPI mode no event is
//   - the boot CPU's local APIC is in the firmware's mode; where apic_timer_hz was measured, its
//     timer is masked and stopped
//   - the pair of 8259s is masked, with vectors beyond the exceptions'
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

#include "include/console.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/features.h"
#include "include/machine_check.h"
#include "include/svm.h"
#include "include/vmx.h"

#define BOOT_MAGIC      0x646165686b6c7562ULL // "bulkhead", little endian
#define BOOT_VERSION    12u
#define BOOT_KERNEL_VMA 0xffffffff80000000ULL // lowest p_vaddr of kernel.elf
#define BOOT_DIRECT     0xffff800000000000ULL // where the kernel's direct map will be, too

// The ELF note (in a PT_NOTE segment) with which kernel.elf tells the BOOT_VERSION that it was
// built for; its descriptor is that u32, little endian. See docs/boot.md.
#define BOOT_NOTE_OWNER   "Bulkhead"
#define BOOT_NOTE_VERSION 1u

#define BOOT_MODULES_MAX 128
#define BOOT_MARK_MAX    32u // characters of the key

// Bounds of the arrays below. What a machine has beyond them the boot application names and leaves
// off.
#define BOOT_MEMORY_MAX   512
#define BOOT_CPUS_MAX     1024
#define BOOT_IOAPICS_MAX  64
#define BOOT_SEGMENTS_MAX 10 // start page, stack, and eight of the file: one with more is refused
#define BOOT_REPORT_MAX   8192
#define BOOT_REFUSAL_MAX  256
#define BOOT_WORDS_MAX    48

#define BOOT_TSC_HZ_MIN  1000000u // slower ones do not exist
#define BOOT_PAGE        4096u
#define BOOT_LOW_END     0x100000u
#define BOOT_POOL_ALIGN  0x200000u
#define BOOT_POOL_END    (1ull << 32) // the other CPUs load CR3 while they are in 32-bit code
#define BOOT_IOAPIC_SIZE 32u          // bytes of its registers

// The screen's letters, ASCII from the blank to the tilde: a row of pixels a byte, the leftmost in
// bit 7.
#define BOOT_GLYPHS       95
#define BOOT_GLYPH_HEIGHT 16

#define BOOT_NODE_NONE UINT32_MAX // the firmware's tables name no node

enum boot_memory_type {
    BOOT_MEMORY_FREE = 1,     // usable RAM, nobody's
    BOOT_MEMORY_LOADER = 2,   // RAM that holds this hand-over, its tables and its stack
    BOOT_MEMORY_KERNEL = 3,   // RAM of the kernel's image, its pool, what guests' accesses go by
    BOOT_MEMORY_MODULE = 4,   // RAM that holds a module
    BOOT_MEMORY_ACPI = 5,     // RAM that holds ACPI tables: readable, kept
    BOOT_MEMORY_FIRMWARE = 6, // RAM that the firmware keeps (runtime services, ACPI NVS, reserved)
    BOOT_MEMORY_DEVICE = 7,   // memory-mapped devices
};

// One range of physical memory. Sorted by base, page-aligned, without overlap; a range has one type
// and is of one node. Below BOOT_LOW_END firmwares write, whatever their maps say: RAM there is
// called FIRMWARE.
struct boot_memory {
    uint64_t base;
    uint64_t length;
    uint32_t type; // enum boot_memory_type
    uint32_t node; // below node_count, or BOOT_NODE_NONE
};

// Where a module lies: whole pages. What it is stands on the supervisor's start page.
struct boot_module {
    uint64_t base;
    uint64_t size; // bytes
};

// A part of the supervisor as it is to stand in its address space: whole pages in memory of type
// BOOT_MEMORY_MODULE, with zeroes where nothing is. The start page (include/start.h), what the file
// has, sorted by address and without overlap, and the stack.
struct boot_segment {
    uint64_t address; // in the process: ABI_START_ADDRESS, or from ABI_USER_BASE on
    uint64_t base;
    uint64_t size;   // bytes
    uint64_t rights; // ABI_RIGHT_READ, and one of ABI_RIGHT_WRITE and ABI_RIGHT_EXECUTE or none
};

// One processor that the firmware calls enabled. Sorted by APIC ID, without doubles;
// without x2APIC mode all are below 255.
struct boot_cpu {
    uint32_t apic_id;
    uint32_t node; // below node_count, or BOOT_NODE_NONE
};

// One I/O APIC, not in a page of RAM. Sorted by gsi_base, no address twice.
struct boot_ioapic {
    uint64_t address; // never 0, aligned to BOOT_IOAPIC_SIZE
    uint32_t id;
    uint32_t gsi_base;
};

// What power-off and reset take, both of it in ports. 0: the machine lacks the register.
struct boot_power {
    uint16_t pm1_control[2]; // a and b
    uint16_t s5_type[2];     // SLP_TYP of soft off, in its place
    uint16_t reset_port;     // takes reset_value
    uint8_t reset_value, has_s5;
};

// What the command line tells the kernel.
struct boot_words {
    uint32_t reset_seconds; // panic=reset: how long a machine that cannot go on stands still; 0:
                            // for ever
    enum apic_level apic;   // apic=: more of it is not used
    bool is_batch;          // console=batch: nobody sits at the machine
    // verdict=KEY: the key and a blank; "": none. No guest knows it, so a line behind it is the
    // hypervisor's own, wherever it begins.
    char mark[BOOT_MARK_MAX + 2];
};

struct platform;

struct boot_info {
    uint64_t magic;
    uint32_t version;
    uint32_t size; // sizeof(struct boot_info)
    uint64_t kernel_base;
    uint64_t kernel_size; // bytes, with .bss, rounded up to pages
    uint64_t crash;       // of a struct crash_record, in memory of type FIRMWARE; 0: none
    uint64_t memory;      // physical address of struct boot_memory[memory_count]
    uint64_t memory_end;  // behind all memory of the types up to MODULE
    // For the kernel's maps of all frames, and then its first pages: memory of type KERNEL, below
    // BOOT_POOL_END, aligned to BOOT_POOL_ALIGN.
    uint64_t pool, pool_size;
    uint64_t low_page; // of RAM below BOOT_LOW_END, for the CPUs' first instructions; 0: none
    struct platform *platform; // what else boot/ found (boot/boot_platform.h): its own
    uint32_t memory_count;
    uint32_t module_count;
    struct boot_framebuffer framebuffer;
    uint32_t cpu_count; // 0: unknown; the boot CPU is all there is
    uint32_t ioapic_count;
    uint32_t segment_count;
    uint32_t boot_apic_id;     // of the CPU that enters the kernel
    uint64_t supervisor_entry; // address of its first instruction
    uint64_t supervisor_stack; // and what stands in RSP
    uint32_t thread_bits;      // lowest bits of an APIC ID: the thread within its core; below 32
    uint64_t tsc_hz;           // rate of the TSC, never 0
    // Of the local APIC's timer, divided by 1; 0: it stands still, could not be measured, or the
    // TSC's deadline is used.
    uint64_t apic_timer_hz;
    struct boot_power power;
    struct cpu_features features; // of the boot CPU
    struct mitigation mitigation;
    struct machine_check machine_check;   // likewise, and of all CPUs
    struct vmx_caps vmx;                  // where nothing is refused
    struct svm_caps svm;                  // likewise
    char refusal[BOOT_REFUSAL_MAX];       // why no VM can run here, and the remedy; "": they can
    struct cpu_word word[BOOT_WORDS_MAX]; // in which the other CPUs must be like it
    uint32_t word_count;
    char report[BOOT_REPORT_MAX]; // lines of the preflight report, each with a NUL; then one more
    struct boot_uart uart;
    struct boot_words words;
    struct boot_module module[BOOT_MODULES_MAX];
    struct boot_cpu cpu[BOOT_CPUS_MAX];
    struct boot_ioapic ioapic[BOOT_IOAPICS_MAX];
    struct boot_segment segment[BOOT_SEGMENTS_MAX]; // the supervisor
    uint8_t font[BOOT_GLYPHS][BOOT_GLYPH_HEIGHT];
};

// Is each count within its array, and each number in the range that is promised here?
static inline bool boot_info_is_bounded(const struct boot_info *info) {
    return info->memory_count <= BOOT_MEMORY_MAX && info->module_count <= BOOT_MODULES_MAX &&
           info->cpu_count <= BOOT_CPUS_MAX && info->ioapic_count <= BOOT_IOAPICS_MAX &&
           info->word_count <= BOOT_WORDS_MAX && info->segment_count <= BOOT_SEGMENTS_MAX &&
           info->report[BOOT_REPORT_MAX - 2] == '\0' && info->report[BOOT_REPORT_MAX - 1] == '\0' &&
           info->thread_bits < 32 && info->words.mark[BOOT_MARK_MAX + 1] == '\0' &&
           info->refusal[BOOT_REFUSAL_MAX - 1] == '\0' && info->tsc_hz >= BOOT_TSC_HZ_MIN &&
           info->machine_check.bank_count <= MACHINE_CHECK_BANKS_MAX &&
           info->machine_check.rule_count <= MACHINE_CHECK_RULES_MAX &&
           info->low_page < BOOT_LOW_END && info->low_page % BOOT_PAGE == 0 &&
           (info->pool | info->pool_size) % BOOT_POOL_ALIGN == 0 && info->pool < BOOT_POOL_END &&
           info->pool_size <= BOOT_POOL_END - info->pool;
}

// Can an I/O APIC stand there: aligned, and in no page that the map calls RAM?
static inline bool boot_ioapic_is_apart(uint64_t address, const struct boot_memory *memory,
                                        uint32_t count) {
    bool is_apart = address != 0 && address % BOOT_IOAPIC_SIZE == 0;
    for (uint32_t i = 0; i < count; i++)
        is_apart &= memory[i].type > BOOT_MEMORY_ACPI || address < memory[i].base ||
                    address - memory[i].base >= memory[i].length;
    return is_apart;
}

// Are the memory map (`memory` is a copy of it), CPUs and I/O APICs in the order and aligned as is
// promised here? The counts are within their bounds.
static inline bool boot_info_is_ordered(const struct boot_info *info,
                                        const struct boot_memory *memory) {
    const struct boot_cpu *cpu = info->cpu;
    const struct boot_ioapic *ioapic = info->ioapic;
    const uint64_t limit = 1ull << 52; // of a physical address
    uint64_t pool = info->pool;        // what of it is the kernel's ends here
    bool is_good = info->memory_count > 0;
    for (uint32_t i = 0; i < info->memory_count; i++) {
        uint64_t base = memory[i].base, length = memory[i].length;
        uint64_t end = i == 0 ? 0 : memory[i - 1].base + memory[i - 1].length;
        is_good &= base >= end && base < limit && length > 0 && length <= limit - base &&
                   (base | length) % BOOT_PAGE == 0 && memory[i].type >= BOOT_MEMORY_FREE &&
                   memory[i].type <= BOOT_MEMORY_DEVICE &&
                   (memory[i].type > BOOT_MEMORY_LOADER || base >= BOOT_LOW_END) &&
                   (memory[i].type > BOOT_MEMORY_MODULE || base + length <= info->memory_end);
        if (memory[i].type == BOOT_MEMORY_KERNEL && base <= pool && pool - base < length)
            pool = base + length;
    }
    is_good &= pool >= info->pool + info->pool_size;
    for (uint32_t i = 1; i < info->cpu_count; i++)
        is_good &= cpu[i].apic_id > cpu[i - 1].apic_id;
    for (uint32_t i = 0; i < info->ioapic_count; i++)
        is_good &= (i == 0 || ioapic[i].gsi_base >= ioapic[i - 1].gsi_base) &&
                   boot_ioapic_is_apart(ioapic[i].address, memory, info->memory_count);
    return is_good;
}

_Static_assert(sizeof(struct boot_memory) == 24, "layout of struct boot_memory");
_Static_assert(sizeof(struct boot_module) == 16, "layout of struct boot_module");
_Static_assert(sizeof(struct boot_segment) == 32, "layout of struct boot_segment");
_Static_assert(sizeof(struct boot_power) == 12, "layout of struct boot_power");
_Static_assert(offsetof(struct boot_info, framebuffer) == 96, "layout of struct boot_info");
