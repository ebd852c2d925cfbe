// SPDX-License-Identifier: Apache-2.0
// The interrupt wiring of the PC. Each ISA line n reaches input n of the 8259 pair and of the
// IOAPIC, but line 0 reaches IOAPIC input 2 (the MADT says so), and line 2 is the cascade and
// nobody's. PCI lines A to D reach IOAPIC inputs 16 to 19, and share two 8259 inputs (pc.h).
//
// Setup: irq_router_init(), then irq_router_isa() and irq_router_pirq() make the lines that the
// models' init functions want. Each line has one driver.
// Invariant: what the controllers see follows from `isa` and `pirq`.
#pragma once

#include "vmm/device/device.h"
#include "vmm/device/ioapic.h"
#include "vmm/device/pic.h"

struct irq_router {
    struct device device;
    struct pic *pic;
    struct ioapic *ioapic;
    uint16_t isa;
    uint8_t pirq;
};

void irq_router_init(struct irq_router *router, const struct device_host *host, struct pic *pic,
                     struct ioapic *ioapic);

// The line of ISA interrupt 0..15.
struct irq_line irq_router_isa(struct irq_router *router, uint32_t irq);
// The PCI interrupt line 0..3 (A..D).
struct irq_line irq_router_pirq(struct irq_router *router, uint32_t pirq);
