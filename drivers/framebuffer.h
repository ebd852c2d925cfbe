// SPDX-License-Identifier: Apache-2.0
// A text console on the framebuffer that the firmware left: log lines and crash records, no guest
// output. Context: under the console's lock, or alone in panic mode.
//
// In call order: framebuffer_init, framebuffer_write. The state is a value of the caller's, so that
// the tests can have their own.
#pragma once

#include "include/boot.h"
#include "lib/types.h"

#define FRAMEBUFFER_COLUMNS_MAX 160
#define FRAMEBUFFER_ROWS_MAX    68

struct framebuffer {
    uint32_t *pixels; // NULL: there is none, writes do nothing
    uint32_t stride;  // pixels a line
    uint32_t columns, rows;
    uint32_t column, row; // where the next character goes; column == columns: wrap first
    uint8_t cell[FRAMEBUFFER_ROWS_MAX][FRAMEBUFFER_COLUMNS_MAX]; // what the screen shows
};

// Clears the screen. `pixels` is the mapped framebuffer, 8-byte aligned. False, and no screen, when
// the format is not one of 32-bit pixels or the size is too small for one character.
bool framebuffer_init(struct framebuffer *fb, const struct boot_framebuffer *boot, void *pixels);
// Bytes that `boot` needs mapped; 0: there is no usable framebuffer.
uint64_t framebuffer_size(const struct boot_framebuffer *boot);
// Printable ASCII, '\n' (which also returns), '\r' (ignored), '\t' as a space; the rest as '?'.
void framebuffer_write(struct framebuffer *fb, const char *text, size_t size);
