// SPDX-License-Identifier: Apache-2.0
// The machine's I/O APICs. 82093AA data sheet, 3.2 "IOAPIC Registers".
//
// Locks: the caller's, after ioapic_init.
#pragma once

#include "lib/types.h"

// An input's entry: its vector, enum abi_trigger, and this.
#define IOAPIC_MASKED BIT(16)

// The ports of the 8259s, two each, which the boot application has silenced: nobody's.
#define IOAPIC_PIC1 0x20u
#define IOAPIC_PIC2 0xa0u

// Maps every I/O APIC, and masks all its inputs. Interrupts go to the CPU that calls this.
void ioapic_init(void);
// Writes the entry of an input of the machine, by its number among all of them (GSI). False: no I/O
// APIC has it, or the CPU cannot be named without interrupt remapping.
bool ioapic_write(uint32_t gsi, uint32_t entry);
