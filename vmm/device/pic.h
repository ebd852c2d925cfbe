// SPDX-License-Identifier: Apache-2.0
// The pair of 8259A interrupt controllers of the PC, with the edge/level control registers.
//
// Setup: pic_init(), pic_attach(). Devices drive inputs with pic_set(); `intr` follows the INTR pin
// of the master. The processor's interrupt acknowledge cycle is pic_acknowledge().
//
// Source: "8259A Programmable Interrupt Controller (8259A/8259A-2)" (Intel, December 1988,
// 231468-003); ELCR: "82371AB PCI-to-ISA/IDE Xcelerator (PIIX4)" (Intel, April 1997), section 4.2.3
// "Interrupt Controller Registers".
// Invariants: input 2 of the master is the slave's output and nobody else's; `intr_level` follows
// from the registers.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define PIC_INPUTS  16u
#define PIC_CASCADE 2u

struct pic_chip {
    uint8_t irr;   // requests latched or, for level inputs, the inputs themselves
    uint8_t isr;   // in service
    uint8_t imr;   // masked
    uint8_t lines; // levels at the inputs
    uint8_t elcr;  // level-triggered inputs
    uint8_t icw1, icw2, icw3, icw4;
    uint8_t lowest; // input with the lowest priority (7 after initialisation)
    uint8_t step;   // next initialisation word: 0 none, 2, 3 or 4
    bool read_isr;
    bool poll;
    bool special_mask;
    bool rotate_on_aeoi;
};

struct pic {
    struct device device;
    struct irq_line intr;
    struct pic_chip chip[2]; // master, slave
    bool intr_level;
};

void pic_init(struct pic *pic, const struct device_host *host, struct irq_line intr);

enum bus_error pic_attach(struct pic *pic, struct bus *bus);

// Drives input 0..15; anything else and the cascade input are ignored.
void pic_set(struct pic *pic, uint32_t input, bool level);

bool pic_is_unmasked(const struct pic *pic, uint32_t input);

// Level of INTR.
bool pic_intr(const struct pic *pic);

// The acknowledge cycle of the processor: the vector of the highest request, which is in service
// now; a spurious vector (IRQ 7 or 15) when there is none any more.
uint8_t pic_acknowledge(struct pic *pic);
