// SPDX-License-Identifier: Apache-2.0
// The console's 16550, which the kernel has set up, by ports or memory. PC16550D data sheet,
// section 8 "Registers".
#pragma once

#include "include/driver.h"

#include <stdbool.h>
#include <stdint.h>

// Maps what is to be mapped. False: there is no UART, or nothing answers as a 16550; the other
// functions must not be called then.
bool uart_open(const struct console_start *start);
// What stands now of enum uart_status; of a device that has vanished nothing. One look tells both:
// each costs a system call.
enum uart_status { UART_HAS_BYTE = 1, UART_HAS_ROOM = 2 };
uint32_t uart_status(void);
// The received byte, where there is one.
uint8_t uart_receive(void);
// At most uart_depth() bytes, where there is room.
uint32_t uart_depth(void);
void uart_send(const uint8_t *bytes, uint32_t count);
// Which conditions raise the interrupt.
void uart_set_interrupts(bool on_receive, bool on_room);
bool uart_is_interrupting(void);
