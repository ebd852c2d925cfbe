// SPDX-License-Identifier: Apache-2.0
// The 82093AA I/O APIC with 24 inputs.
//
// Setup: ioapic_init(), ioapic_attach() (4 KiB of MMIO). Devices drive inputs with ioapic_set().
// Each interrupt leaves through `send` as the MSI that says the same, so that the VMM turns it into
// one system call:
//   address  0xfee00000 | destination << 12 | redirection hint << 3 | logical << 2
//   data     vector | delivery mode << 8 | level << 14 | trigger << 15
// The VMM calls ioapic_eoi() for each end of interrupt of a level-triggered vector (the broadcast
// of the local APICs); ioapic_handles_vector() tells for which vectors it needs to know, and
// `routes_changed` when that may have changed.
//
// Source: "82093AA I/O Advanced Programmable Interrupt Controller (IOAPIC)" (Intel, May 1996,
// 290566-001), section 3.0 "Register Description". Polarity is kept and read back but changes
// nothing: lines carry "asserted", not volts. An edge at a masked input is lost, as the data sheet
// says. A level that no local APIC takes leaves remote IRR clear; it is sent again when its entry
// is written or its line falls and rises, not by itself. Invariants: reserved bits of the table
// read 0; remote IRR only in unmasked or masked level entries.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define IOAPIC_INPUTS 24u

struct ioapic_backend {
    void *opaque;
    // False: no local APIC took it.
    bool (*send)(void *opaque, uint64_t msi_address, uint32_t msi_data);
    void (*routes_changed)(void *opaque); // may be NULL
};

struct ioapic {
    struct device device;
    struct ioapic_backend backend;
    uint64_t redirection[IOAPIC_INPUTS];
    uint32_t lines; // levels at the inputs
    uint8_t select; // IOREGSEL
    uint8_t id;
};

void ioapic_init(struct ioapic *ioapic, const struct device_host *host,
                 const struct ioapic_backend *backend);

enum bus_error ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t base);

// Drives input 0..23; anything else is ignored.
void ioapic_set(struct ioapic *ioapic, uint32_t input, bool level);

// End of interrupt for `vector` on some local APIC: entries that wait for it are free again, and
// those whose input is still asserted send once more.
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

bool ioapic_is_unmasked(const struct ioapic *ioapic, uint32_t input);

// Is there a level-triggered entry with this vector, unmasked or still waiting for its EOI?
bool ioapic_handles_vector(const struct ioapic *ioapic, uint8_t vector);
