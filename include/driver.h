// SPDX-License-Identifier: Apache-2.0
// What the console's driver (drivers/console/) gets of the supervisor (supervisor/driver.c).
#pragma once

#include "include/console.h"

// Bits of the driver's event.
#define CONSOLE_EVENT_DEVICE (1u << 0) // the UART's interrupt
#define CONSOLE_EVENT_LOG    (1u << 1) // the kernel has a line
#define CONSOLE_EVENT_RINGS  (1u << 2) // text to be printed, or room for what is typed

// What the driver finds at ABI_START_ADDRESS. Handles are 0 where there is no such thing.
struct console_start {
    uint32_t event;      // its own
    uint32_t supervisor; // event, of which it may signal supervisor_mask
    uint64_t supervisor_mask;
    uint32_t log;
    uint32_t rings;     // memory: struct console_rings
    uint32_t ports;     // of the UART,
    uint32_t registers; // or memory that begins with its page
    uint32_t interrupt;
    uint32_t screen;    // memory that begins with the framebuffer's page
    uint32_t is_batch;  // lines are never interrupted
    uint32_t mark_size; // characters before each line of the kernel's that a screen does not show
    uint64_t tsc_hz;
    struct boot_uart uart;
    struct boot_framebuffer framebuffer;
};
