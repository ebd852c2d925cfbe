// SPDX-License-Identifier: Apache-2.0
// What the kernel takes from the firmware's ACPI tables. The tables are parsed once at boot into
// one constant struct; nothing reads them afterwards, and no AML is ever executed.
//
// Sources: ACPI 6.5 5.2.5 "Root System Description Pointer (RSDP)", 5.2.9 "Fixed ACPI Description
// Table (FADT)", 5.2.12 "Multiple APIC Description Table (MADT)", 7.4.2 "System \_Sx states".
#pragma once

#include "lib/types.h"

#define ACPI_CPUS_MAX    256
#define ACPI_IOAPICS_MAX 32
#define ACPI_ISA_IRQS    16

struct acpi_ioapic {
    hpa_t address;
    uint32_t id;
    uint32_t gsi_base;
};

// Where one of the 16 ISA interrupts arrives, and how.
struct acpi_isa_irq {
    uint32_t gsi;
    bool is_active_low;
    bool is_level;
};

struct acpi_info {
    bool is_present;                     // false: no tables, everything below is the fallback
    uint32_t cpu_count;                  // 0: unknown; the boot CPU is all there is
    uint32_t cpu_apic_id[ACPI_CPUS_MAX]; // enabled processors, in the firmware's order
    uint32_t cpu_ignored_count;          // enabled ones beyond ACPI_CPUS_MAX
    hpa_t lapic_address;
    uint32_t ioapic_count;
    struct acpi_ioapic ioapic[ACPI_IOAPICS_MAX];
    struct acpi_isa_irq isa_irq[ACPI_ISA_IRQS];

    // Ports are 0 where the machine lacks the register.
    uint16_t pm_timer_port;
    bool pm_timer_is_32bit; // else 24 bits
    uint16_t pm1a_control_port, pm1b_control_port;
    uint16_t smi_command_port; // takes acpi_enable_value to leave legacy mode
    uint8_t acpi_enable_value;
    uint16_t reset_port; // I/O space only: others are not used by x86 firmware
    uint8_t reset_value;
    uint8_t rtc_century_index; // CMOS register of the century, 0: none

    bool has_s5;
    uint8_t s5_type_a, s5_type_b; // SLP_TYPa, SLP_TYPb of soft off

    uint32_t damaged_count; // tables that were ignored: bad length or checksum
};

// The result of acpi_init; before it, and where there are no tables, the fallbacks: ISA interrupts
// identity mapped (edge, active high), one I/O APIC at 0xfec00000, no CPU list, no ports.
extern struct acpi_info acpi_info;

// Reads the tables through space_map_firmware. Once, on the boot CPU, after space_init. False:
// there are none (`rsdp` 0 or damaged root); acpi_info then holds the fallbacks. Says in the log
// what was wrong with the tables.
bool acpi_init(hpa_t rsdp);

// The parser itself, which trusts no length, count or address in a table: `map` returns `size`
// readable bytes at a physical address, or NULL. Fills all of *info. For acpi_init and the tests.
typedef const void *(*acpi_map_t)(hpa_t base, uint64_t size);
bool acpi_parse(hpa_t rsdp, acpi_map_t map, struct acpi_info *info);
