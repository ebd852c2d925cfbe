// SPDX-License-Identifier: Apache-2.0
// The kernel's side of arch/log.h: where its lines go. They stand in a ring, each behind the mark.
// From there they go to the UART by polling, until a driver has taken the log (LOG_TAKE): then that
// reads them, and prints them between what others say. When the driver ends, or falls so far behind
// that the ring is full, the kernel prints again.
//
// log_line takes a lock of rank LOCK_LOG and signals an event: nobody holds a lock who calls it.
#pragma once

#include "arch/log.h"
#include "include/boot.h"
#include "kernel/event.h"

// Whoever holds the last one that was made prints. Its handle going tells that the driver ended.
struct log {
    struct object object;
    struct quota *quota;          // referenced
    struct event_binding binding; // told of each line
    struct memory *memory;        // struct console_rings, referenced
    hpa_t rings;                  // where it lies, in one piece
};

extern const struct object_kind log_kind;

// Reads the command line: the mark, batch mode. From now on a panic can be told on a UART of ports;
// `boot` stays.
void log_init(const struct boot_info *boot);
// Finds UART and screen. Once the kernel's tables are there. False: there is no UART.
bool log_open(void);
// Prints all that there is, what the driver had in hand too, and waits until it has left the wire.
// For whoever ends the machine.
void log_drain(void);
// The machine is about to stand still. From now on nothing waits for a lock; what the driver has
// not printed is said, then each line at once, and on the screen from its top on, until that is
// full.
void log_panic(void);

// `console=batch`: nobody sits at the machine.
extern bool log_is_batch;
// `panic=reset`, `panic=reset:SECONDS`: how long a machine that cannot go on stands still; 0: for
// ever.
extern uint32_t log_reset_seconds;
// `verdict=KEY`: the key and a blank; "": none. No guest knows it, so a line behind it is the
// hypervisor's own, wherever it begins.
#define LOG_MARK_MAX 32u // characters of the key
extern char log_mark[LOG_MARK_MAX + 2];

// What follows `start` in the first word that begins with it, words standing between spaces, and
// its size; NULL: none.
const char *cmdline_find(const char *cmdline, const char *start, size_t *size);
// True when `word` stands in the command line, between spaces.
bool cmdline_has(const char *cmdline, const char *word);
