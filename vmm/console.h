// SPDX-License-Identifier: Apache-2.0
// The VM's serial console: from COM1 to the supervisor's ring and back. Nothing that the guest says
// is lost: what the ring can not take waits in a backlog, and whoever put it there waits for the
// ring (process.c). Pure; who is to be told what, the caller learns from the results.
//
// Locks: all under the machine's lock.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/vmm.h"
#include "lib/ring.h"

// A vCPU stops after the byte that did not fit, so there is at most one for each, and what a saved
// FIFO may add.
#define CONSOLE_BACKLOG 256u
// So many bytes are worth a signal before the line is complete.
#define CONSOLE_CHUNK 512u

enum console_tell {
    CONSOLE_TELL_NOBODY,
    CONSOLE_TELL_LATER, // the first bytes of a line: soon, if no more comes
    CONSOLE_TELL_NOW,
};

struct console {
    struct ring_writer out;
    struct ring_reader in;
    uint32_t untold; // bytes put into `out` since the supervisor was last told
    uint32_t backlog_count;
    uint8_t backlog[CONSOLE_BACKLOG];
};

void console_open(struct console *console, struct vmm_console *shared);

// Bytes for the supervisor. On CONSOLE_TELL_NOW the caller signals it.
enum console_tell console_put(struct console *console, const uint8_t *data, size_t count);

// Moves the backlog into the ring, as far as there is room. True: the backlog is empty now.
bool console_flush(struct console *console);

static inline bool console_is_stalled(const struct console *console) {
    return console->backlog_count > 0;
}

// The caller has told the supervisor.
static inline void console_told(struct console *console) {
    console->untold = 0;
}

// Whether something is there for console_get.
bool console_has_input(const struct console *console);

// Takes up to `max` bytes that were typed. *was_full: the supervisor may be waiting for this room.
size_t console_get(struct console *console, uint8_t *data, size_t max, bool *was_full);
