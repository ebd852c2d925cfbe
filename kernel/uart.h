// SPDX-License-Identifier: Apache-2.0
// The 16550 that is the machine's console, as the kernel uses it: output, by polling. PC16550D data
// sheet, section 8 "Registers". Context: under the log's lock, or alone in a panic.
#pragma once

#include "include/console.h"
#include "lib/types.h"

// Looks for the device by its loopback and sets it up, without interrupts; maps it, the first time,
// where it is memory. False: there is none; the other functions must not be called then. `uart`
// stays.
bool uart_init(const struct boot_uart *uart);
// The same again: others may have changed its registers. What is in its FIFO is sent before.
bool uart_reset(void);

// How many bytes may be sent at once now: 0 or the depth of the FIFO.
uint32_t uart_send_room(void);
void uart_send(char byte);
// Waits until uart_send_room, or until all has left the wire (is_idle); false when that does not
// happen in any reasonable time: the device is broken.
bool uart_wait(bool is_idle);
