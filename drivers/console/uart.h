// SPDX-License-Identifier: Apache-2.0
// The console's 16550, which the kernel has set up, by ports or memory. PC16550D data sheet,
// section 8 "Registers".
#pragma once

#include "include/driver.h"

#include <stdbool.h>
#include <stdint.h>

// Maps what is to be mapped. False: there is no UART, or nothing answers; the other functions must
// not be called then.
bool uart_open(const struct console_start *start);
// Takes a received byte. False: there is none.
bool uart_receive(uint8_t *byte);
// How many bytes may be sent at once now: 0 or the depth of the FIFO.
uint32_t uart_send_room(void);
// At most as many as there is room for.
void uart_send(const uint8_t *bytes, uint32_t count);
// Which conditions raise the interrupt.
void uart_set_interrupts(bool on_receive, bool on_room);
bool uart_is_interrupting(void);
