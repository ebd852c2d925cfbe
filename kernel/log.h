// SPDX-License-Identifier: Apache-2.0
// The kernel's side of arch/log.h: where its lines go. They stand in a ring, each behind the mark.
// From there they go to the UART by polling, until a driver has taken the log (LOG_TAKE): then that
// reads them, and prints them between what others say. When the driver ends, or falls so far behind
// that the ring is full, the kernel prints again.
//
// log_line takes a lock of rank LOCK_LOG and signals an event: nobody holds a lock who calls it.
#pragma once

#include "arch/log.h"
#include "kernel/event.h"

// Whoever holds the last one that was made prints. Its handle going tells that the driver ended.
struct log {
    struct object object;
    struct event_binding binding; // told of each line
    struct memory *memory;        // struct console_rings, referenced
    hpa_t rings;                  // where it lies, in one piece
};

extern const struct object_kind log_kind;

// Finds UART and screen. Once the kernel's tables are there. False: there is no UART.
bool log_open(void);
// Prints all that there is, what the driver had in hand too, and waits until it has left the wire.
// For whoever ends the machine.
void log_drain(void);
// The machine is about to stand still. From now on nothing waits for a lock; what the driver has
// not printed is said, then each line at once, and on the screen from its top on, until that is
// full.
void log_panic(void);
