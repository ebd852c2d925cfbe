// SPDX-License-Identifier: Apache-2.0
// The 16550 on COM1 at 115200 8n1: registers only, no state but "is it there". Who calls what when
// is drivers/console.c's business. PC16550D data sheet, section 8 "Registers". Context: under the
// console's lock, or alone in panic mode.
#pragma once

#include "lib/types.h"

#define UART_ISA_IRQ 4

// Looks for the device by its loopback and sets it up, interrupts disabled. False: there is none;
// the other functions must not be called then.
bool uart_init(void);

// Takes a received byte. False: there is none.
bool uart_receive(uint8_t *byte);
// How many bytes may be sent at once now: 0 or the depth of the FIFO.
uint32_t uart_send_room(void);
void uart_send(const uint8_t *bytes, uint32_t count); // as many as there is room for
// Waits until uart_send_room, or until all has left the wire; false when that does not happen in
// any reasonable time: the device is broken.
bool uart_wait_room(void);
bool uart_wait_idle(void);

// Which conditions raise the interrupt. The line is edge-triggered: the handler must go on until
// uart_is_interrupting says no.
void uart_set_interrupts(bool on_receive, bool on_room);
bool uart_is_interrupting(void);
