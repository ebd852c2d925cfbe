// SPDX-License-Identifier: Apache-2.0
// What a driver in ring 3 gets of the machine: interrupts, ports, and device memory, which is a
// memory object (kernel/memory.h). Their system calls (include/calls.h) are in device.c.
//
// A level interrupt is masked when it fires, until it is acknowledged. An edge interrupt is masked
// only when a second one comes before the acknowledgement, because an I/O APIC forgets the edges of
// a masked input; the acknowledgement then signals that second one. So a device that never stops
// costs two interrupts an acknowledgement.
//
// Locks: one, rank LOCK_DEVICE, for the interrupts and the I/O APICs.
#pragma once

#include "kernel/event.h"

#define DEVICE_INTERRUPTS_MAX 16u // vectors from VECTOR_DEVICE on

struct interrupt {
    struct object object;
    struct event_binding binding;
    uint32_t input;
    uint32_t entry; // of the I/O APIC [lock]
    bool is_asked;  // it fired, and was not acknowledged since [lock]
};

struct ports {
    struct object object;
    uint32_t first, count;
};

extern const struct object_kind interrupt_kind, ports_kind;

// The vector VECTOR_DEVICE + `number` arrived; the EOI is yet to come. No lock is held.
void device_interrupt(uint32_t number);
