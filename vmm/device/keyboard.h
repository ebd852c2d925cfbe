// SPDX-License-Identifier: Apache-2.0
// The i8042 keyboard controller with nothing plugged in, and system control port A (0x92).
//
// There for guests that reset the machine through it (command 0xfe, output port bit 0, or port 0x92
// bit 0), that poll its status before they do other things, or that probe for a keyboard: the
// self-test passes, and a byte for the keyboard is answered with "resend" and the time-out flag, at
// once, so a probe ends in microseconds. Line A20 is always open.
//
// Setup: keyboard_init(), keyboard_attach() (ports 0x60, 0x64, 0x92). Source: "PS/2 Hardware
// Interface Technical Reference: Keyboard and Auxiliary Device Controller" (IBM, 1990); port 0x92:
// "PS/2 Hardware Interface Technical Reference: System Control Ports". Invariants: at most one byte
// waits for the guest; `irq_level` = interrupts on and a byte waits.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

struct keyboard_backend {
    void *opaque;
    void (*reset)(void *opaque);
};

struct keyboard {
    struct device device;
    struct keyboard_backend backend;
    struct irq_line irq;
    uint8_t command_byte; // "controller configuration byte"
    uint8_t output_port;  // bits 0 (reset, low) and 1 (A20) always read 1
    uint8_t status;       // register at 0x64
    uint8_t output;       // byte that waits at 0x60
    uint8_t pending;      // command whose data byte is due, 0: none
    uint8_t control_a;    // port 0x92
    bool irq_level;
};

void keyboard_init(struct keyboard *keyboard, const struct device_host *host,
                   const struct keyboard_backend *backend, struct irq_line irq);

enum bus_error keyboard_attach(struct keyboard *keyboard, struct bus *bus);
