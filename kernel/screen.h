// SPDX-License-Identifier: Apache-2.0
// The screen, when the kernel ends: what it says then. Before, it is the console's driver's
// (drivers/console/screen.c).
#pragma once

#include "lib/types.h"

// Maps it, if the machine has one.
void screen_init(void);
// Draws a line of printable characters, cut at the right border, blanks behind it; nothing where
// there is no such row, or no screen.
void screen_draw(uint32_t row, const char *text, size_t size);
