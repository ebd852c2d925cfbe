// SPDX-License-Identifier: Apache-2.0
// A text console on the framebuffer that the firmware left: the hypervisor's lines, and where there
// is no UART all output.
//
// In call order: screen_init, screen_write. The state is a value of the caller's, so that
// the tests can have their own.
#pragma once

#include "include/console.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCREEN_COLUMNS_MAX 160
#define SCREEN_ROWS_MAX    68

struct screen {
    uint32_t *pixels; // NULL: there is none, writes do nothing
    uint32_t stride;  // pixels a line
    uint32_t columns, rows;
    uint32_t column, row; // where the next character goes; column == columns: wrap first
    uint8_t cell[SCREEN_ROWS_MAX][SCREEN_COLUMNS_MAX]; // what the screen shows
};

// Clears the screen. `pixels` is the mapped framebuffer, 8-byte aligned. False, and no screen, when
// the format is not one of 32-bit pixels or the size is too small for one character.
bool screen_init(struct screen *screen, const struct boot_framebuffer *boot, void *pixels);
// Bytes that `boot` needs mapped; 0: there is no usable framebuffer.
uint64_t screen_size(const struct boot_framebuffer *boot);
// Printable ASCII, '\n' (which also returns), '\r' (ignored), '\t' as a space; the rest as '?'.
void screen_write(struct screen *screen, const char *text, size_t size);
