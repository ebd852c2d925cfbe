// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own console: a prompt, a line to type, and the commands of command.h.
#pragma once

#include <stdint.h>

// Prints the prompt for an empty line.
void shell_open(void);

void shell_input(uint8_t byte);

// Prints prompt and typed text again, after other lines went between.
void shell_redraw(void);
