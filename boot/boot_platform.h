// SPDX-License-Identifier: Apache-2.0
// What boot/ finds of the machine and ring 0 has no use for: the boot application's own, beside
// struct boot_info. The supervisor is told the distances between nodes (include/nodes.h); drivers
// in ring 3 will ask for more of it (configuration space, IOMMUs): it is checked, sorted and
// bounded like the hand-over.
#pragma once

#include "include/boot.h"
#include "include/start.h"

#define BOOT_NODES_MAX    64
#define BOOT_CONSOLES_MAX 4
#define BOOT_ECAMS_MAX    64
#define BOOT_ISA_IRQS     16

enum boot_space { BOOT_SPACE_MEMORY = 0, BOOT_SPACE_IO = 1, BOOT_SPACE_PCI = 2 };

// A register, as ACPI 6.5 5.2.3.2 "Generic Address Structure" has it. Address 0: there is none.
struct boot_register {
    uint64_t address;
    uint8_t space;       // enum boot_space; others are as in the specification
    uint8_t bits;        // width of the register
    uint8_t access_size; // 1: 8 bits, 2: 16, 3: 32, 4: 64, 0: not told
    uint8_t reserved[5];
};
_Static_assert(sizeof(struct boot_register) == 16, "layout of struct boot_register");

// Where one of the 16 ISA interrupts arrives, and how: the firmware's override, or as on a PC.
struct boot_isa_irq {
    uint32_t gsi;
    uint8_t is_active_low;
    uint8_t is_level;
    uint16_t reserved;
};

// A serial line that the firmware names as console (SPCR, which comes first) or for a debugger
// (DBG2).
struct boot_console {
    struct boot_register base; // its first register; `bits` is the distance to the next one
    uint32_t type;             // subtype of a DBG2 serial port: 0, 1 and 18 are 16550s
    uint32_t gsi;              // of its interrupt, where has_interrupt says so
    uint32_t has_interrupt;
    uint32_t baud; // 0: as the firmware left it
};
_Static_assert(sizeof(struct boot_console) == 32, "layout of struct boot_console");

// Configuration space in memory, of the buses [first_bus, last_bus] of a PCI segment. Sorted by
// segment and bus. Function 0 of bus b's device 0 is at base + (b << 20).
struct boot_ecam {
    uint64_t base;
    uint16_t segment;
    uint8_t first_bus, last_bus;
    uint32_t reserved;
};

// A copy of a whole ACPI table with a good checksum, in memory of type BOOT_MEMORY_ACPI. Base 0:
// none.
struct boot_table {
    uint64_t base;
    uint64_t size; // bytes
};

// What the TSC's rate was taken from.
enum boot_clock_source {
    BOOT_CLOCK_CPUID = 1,    // its word, which nothing contradicted
    BOOT_CLOCK_PM_TIMER = 2, // measured against the ACPI PM timer
    BOOT_CLOCK_HPET = 3,
    BOOT_CLOCK_PIT = 4, // the 8254
};

// What is said of side channels beyond what the kernel does about them (struct mitigation).
struct boot_hazards {
    bool has_enhanced_ibrs; // once on, a guest's branches do not steer ours
    bool needs_verw;        // MDS, TAA, MMIO stale data, register file data
    bool has_return_hazard; // a guest's branches steer our returns (retbleed, SRSO)
};

struct platform {
    struct abi_start start; // filled bit by bit, and laid out on its page last
    uint64_t rsdp;          // physical address of the ACPI root, 0 when there is none
    uint64_t entry_tsc;     // TSC when the boot application started
    uint32_t tsc_source;    // enum boot_clock_source
    uint32_t tsc_error;     // tsc_hz is within so many ppm of what was measured; 0: nothing was
    uint32_t node_count;
    uint32_t console_count;
    uint32_t ecam_count;
    struct boot_hazards hazards;        // all false with mitigations=off
    struct boot_table dmar, ivrs;       // IOMMUs
    uint64_t hpet;                      // physical address of its registers, 0: none
    struct boot_register sleep_control; // of machines without PM1 registers
    struct boot_isa_irq isa_irq[BOOT_ISA_IRQS];
    struct boot_console console[BOOT_CONSOLES_MAX];
    struct boot_ecam ecam[BOOT_ECAMS_MAX];
    uint8_t distance[BOOT_NODES_MAX][BOOT_NODES_MAX]; // between nodes; 10 is "here", 0 is not told
};
