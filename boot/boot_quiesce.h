// SPDX-License-Identifier: Apache-2.0
// The machine is made quiet, when the boot services are left and before the kernel runs: what the
// firmware left working would go on writing into memory that becomes somebody's.
//
//   boot_quiesce_pci      no PCI function masters the bus; USB controllers are the firmware's no
//                         more
//   boot_quiesce_iommu    IOMMUs and interrupt remapping are off
//   boot_quiesce_events   the machine is in ACPI mode, and no event is on
//
// What was found is added to the preflight report. The hardware is reached by `struct boot_bus`
// alone, so that the host's tests can link it. All waits are bounded.
//
// Sources: PCI 3.0 6.2 "Configuration Space Organization"; xHCI 1.2 7.1 "USB Legacy Support
// Capability"; EHCI 1.0 2.1.7 "USBLEGSUP"; OHCI 1.0a 5.1.1.3.3 "Take Control of Host Controller";
// Intel's UHCI design guide 5.2.1 "LEGSUP"; VT-d 4.1 11.4.4 "Command and Status Registers"; AMD
// IOMMU 3.08 3.4.3 "Control Registers"; ACPI 6.5 4.8.3 "PM1 Event Grouping", 4.8.2.5 "Legacy/ACPI
// Select and the SCI Interrupt".
#pragma once

#include "boot/boot_acpi.h"
#include "boot/boot_platform.h"

// A PCI function: segment, bus, device and function number in bits 31:16, 15:8, 7:3 and 2:0.
// Offsets are multiples of 4. Where nothing is there, or nothing mapped, reads give ones and writes
// are lost; configuration space of segment 0 is reached by ports then.
struct boot_bus {
    uint32_t (*config_read)(uint32_t function, uint32_t offset);
    void (*config_write)(uint32_t function, uint32_t offset, uint32_t value);
    bool (*is_mapped)(uint64_t base, uint64_t length); // by the page tables of now
    uint32_t (*memory_read)(uint64_t address);
    void (*memory_write)(uint64_t address, uint32_t value);
    uint16_t (*port_read)(uint16_t port);
    void (*port_write)(uint16_t port, uint16_t value);
    void (*port_write8)(uint16_t port, uint8_t value);
    void (*wait)(void); // some milliseconds at most
};

// Endpoints first, then the bridges. With configuration space in memory (info->platform->ecam) all
// buses are looked at, else those behind bus 0. `keep-dma=BB:DD.F` on the command line, with
// `SSSS:` before where the segment is not 0, leaves a function as it is, and the bridges above it.
// I/O APICs and IOMMUs that are PCI functions are left, too: their interrupts are writes.
void boot_quiesce_pci(const struct boot_bus *bus, const struct boot_acpi *acpi,
                      struct boot_info *info);

// `dmar` and `ivrs` are the tables, NULL where there is none. A unit that is not mapped, or gives
// ones alone, is left as it is, and named.
void boot_quiesce_iommu(const struct boot_bus *bus, const uint8_t *dmar, uint64_t dmar_size,
                        const uint8_t *ivrs, uint64_t ivrs_size, struct boot_info *info);

// Events off first: in legacy mode they are the firmware's, behind it they would be interrupts that
// nobody awaits.
void boot_quiesce_events(const struct boot_bus *bus, const struct boot_acpi *acpi,
                         struct boot_info *info);
