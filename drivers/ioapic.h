// SPDX-License-Identifier: Apache-2.0
// The machine's I/O APICs and the pair of 8259s they replace. 82093AA data sheet, 3.2 "IOAPIC
// Registers"; 8259A data sheet, "Initialization Command Words".
// Context: boot, on the boot CPU.
#pragma once

#include "include/boot.h"
#include "lib/types.h"

// Moves the 8259s off the exception vectors and masks them; maps every I/O APIC of `boot`, which
// stays, and masks all its inputs.
void ioapic_init(const struct boot_info *boot);
// Unmasks an ISA interrupt towards one CPU, physical mode, with the polarity and trigger that the
// firmware tells. False: no I/O APIC has that input, or `apic_id` needs interrupt remapping (>
// 254).
bool ioapic_route(uint32_t isa_irq, uint8_t vector, uint32_t apic_id);
