// SPDX-License-Identifier: Apache-2.0
// Who is called for which interrupt vector.
#pragma once

#include "lib/types.h"

void interrupt_init(void); // timer and wake-up
// Before the source is unmasked. The handler runs with interrupts off, after the EOI, and may not
// block.
void interrupt_set_handler(uint8_t vector, void (*handler)(void));
