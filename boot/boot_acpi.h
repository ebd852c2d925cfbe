// SPDX-License-Identifier: Apache-2.0
// What Bulkhead takes from the firmware's ACPI tables. They are read once; no AML is ever executed.
// No UEFI calls, so that the host's tests can link it.
//
// The tables are untrusted. All reads go through boot_acpi_field, which answers 0 beyond the end of
// what it reads, and every loop comes nearer to that end with each round: nothing that stands in a
// table can make this read elsewhere or go on for ever. A table counts when its length and its
// checksum are good.
//
//   boot_acpi_parse   all of it
//   boot_acpi_node    the node of a physical address
//
// Sources: ACPI 6.5 5.2.5 "Root System Description Pointer (RSDP)", 5.2.9 "Fixed ACPI Description
// Table (FADT)", 5.2.12 "Multiple APIC Description Table (MADT)", 5.2.16 "System Resource Affinity
// Table (SRAT)", 5.2.17 "System Locality Information Table (SLIT)"; PCI Firmware 3.3 4.1.2 "MCFG
// Table Description"; IA-PC HPET 1.0a 3.2.4 "The ACPI 2.0 HPET Description Table (HPET)";
// Microsoft's "Serial Port Console Redirection Table (SPCR)" and "Debug Port Table 2 (DBG2)".
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "boot/boot_platform.h"

#define BOOT_AFFINITIES_MAX 256

// Memory of one node, in the order of the table.
struct boot_affinity {
    uint64_t base;
    uint64_t length;
    uint32_t node;
};

// A table, where the firmware has it.
struct boot_acpi_found {
    uint64_t address; // 0: there is none
    uint32_t size;
};

// Status and enable registers of events, as ports.
struct boot_event_block {
    uint16_t port; // 0: there is none
    uint16_t size; // bytes, of both halves
};

// What the boot application itself needs, and what there was to complain about.
struct boot_acpi {
    uint16_t pm_timer_port; // 0: none
    bool pm_timer_is_32bit; // else 24 bits
    uint16_t smi_command;   // takes acpi_enable to leave legacy mode; 0: there is no other mode
    uint8_t acpi_enable;
    struct boot_event_block event[4]; // PM1a, PM1b, GPE0, GPE1
    const char *no_button;            // why platform->start.button is not; NULL: it is
    struct boot_acpi_found dmar, ivrs;
    uint32_t affinity_count;
    struct boot_affinity affinity[BOOT_AFFINITIES_MAX];
    uint32_t domain[BOOT_NODES_MAX]; // the firmware's number of each node, ascending

    uint32_t damaged_count; // tables that were ignored: bad length or checksum
    // What there was beyond the bounds of the arrays.
    uint32_t cpus_left, ioapics_left, consoles_left, ecams_left, affinities_left;
    bool has_more_nodes;
};

// Returns `size` readable bytes that stand at a physical address, or NULL. They stay until
// boot_acpi_parse returns.
typedef const void *(*boot_acpi_map_t)(uint64_t base, uint64_t size);

// Fills all of `found`, and of `info` what the tables tell: cpu, ioapic, isa_irq, console, ecam,
// distance, their counts, node_count, hpet, power and button. False: there are no tables (`rsdp` 0
// or a damaged root); then these are what a PC without tables has: interrupts identity mapped, one
// I/O APIC at 0xfec00000.
bool boot_acpi_parse(uint64_t rsdp, boot_acpi_map_t map, struct boot_info *info,
                     struct boot_acpi *found);

// The node of the memory at `address`: the first affinity that covers it, else BOOT_NODE_NONE.
// `*end` is lowered to where that may change, and stays above `address`.
uint32_t boot_acpi_node(const struct boot_acpi *found, uint64_t address, uint64_t *end);
