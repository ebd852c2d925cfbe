// SPDX-License-Identifier: Apache-2.0
// The map of the virtual PC: ports, addresses and interrupt lines. The ACPI tables (vmm/acpi/)
// state the same numbers in ASL and C; a unit test compares them.
#pragma once

// Ports.
#define PC_PORT_PIC1       0x20  // 2 ports
#define PC_PORT_PIT        0x40  // 4 ports
#define PC_PORT_KEYBOARD   0x60  // data; command and status at 0x64
#define PC_PORT_SPEAKER    0x61  // system control port B
#define PC_PORT_RTC        0x70  // 2 ports
#define PC_PORT_CONTROL_A  0x92  // system control port A: fast reset
#define PC_PORT_PIC2       0xa0  // 2 ports
#define PC_PORT_DEBUG_EXIT 0xf4  // 4 ports
#define PC_PORT_COM1       0x3f8 // 8 ports
#define PC_PORT_ELCR       0x4d0 // 2 ports
#define PC_PORT_PM         0x600 // 12 ports: PM1a event, PM1a control, timer
#define PC_PORT_PCI        0xcf8 // 8 ports; a byte access to 0xcf9 is the reset control register

// Guest-physical addresses. RAM that does not fit below the hole continues at 4 GiB.
#define PC_MMIO_HOLE_BASE 0xc0000000ULL // 32-bit PCI window: end of low RAM ...
#define PC_MMIO_HOLE_SIZE 0x3ec00000ULL // ... up to the IOAPIC
#define PC_IOAPIC_BASE    0xfec00000ULL
#define PC_IOAPIC_SIZE    0x1000ULL
#define PC_LAPIC_BASE     0xfee00000ULL // the kernel's
#define PC_HIGH_RAM_BASE  0x100000000ULL

// ISA interrupt lines.
#define PC_IRQ_PIT      0u
#define PC_IRQ_KEYBOARD 1u
#define PC_IRQ_COM1     4u
#define PC_IRQ_RTC      8u
#define PC_IRQ_SCI      9u // level triggered

// PCI interrupt lines A to D: IOAPIC inputs 16 to 19, and by turns these two 8259 inputs.
#define PC_PIRQS       4u
#define PC_GSI_PIT     2u // ISA line 0, since input 0 is the 8259's place
#define PC_GSI_PIRQ    16u
#define PC_IRQ_PIRQ_AC 10u
#define PC_IRQ_PIRQ_BD 11u
