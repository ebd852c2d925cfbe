// SPDX-License-Identifier: Apache-2.0
// A 16550A UART with its two FIFOs.
//
// Setup: uart_init(), then the bus hands it 8 ports of width 1 (uart_attach()). Bytes that the
// guest sends appear in `tx` within the write; bytes for the guest are offered with uart_receive(),
// and when it took fewer than offered, `rx_room` tells when more will be taken.
//
// Source: "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs" (National
// Semiconductor, June 1995), section 8 "Registers". What differs from the chip: no line speed (a
// byte takes no time), and the receiver's time-out interrupt comes at once instead of after four
// character times. Invariants: rx_head < UART_FIFO, rx_count <= UART_FIFO; the line's level follows
// from the registers.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define UART_FIFO  16u
#define UART_PORTS 8u

struct uart_backend {
    void *opaque;
    // The guest sent `n` bytes.
    void (*tx)(void *opaque, const uint8_t *data, size_t n);
    // There is room for received bytes again, after a uart_receive() that did not take all. May be
    // NULL.
    void (*rx_room)(void *opaque);
};

struct uart {
    struct device device;
    struct uart_backend backend;
    struct irq_line irq;
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t lsr_errors; // overrun and break, cleared by a read of LSR
    uint8_t msr_deltas; // low four bits of MSR, cleared by a read of MSR
    bool thre_pending;  // the "transmitter empty" interrupt has not been seen yet
    bool rx_starved;    // rx_room is owed
    bool irq_level;     // what the line carries
    uint8_t rx_head, rx_count;
    uint8_t rx[UART_FIFO];
};

void uart_init(struct uart *uart, const struct device_host *host,
               const struct uart_backend *backend, struct irq_line irq);

enum bus_error uart_attach(struct uart *uart, struct bus *bus, uint16_t base);

// Offers `n` received bytes; returns how many were taken (none in loopback mode). When fewer than
// `n`, rx_room will be called once when at least one more can be taken.
size_t uart_receive(struct uart *uart, const uint8_t *data, size_t n);

// More bytes wait than there was room for: rx_room is owed.
void uart_expect(struct uart *uart);
// Bytes that uart_receive() would take now.
size_t uart_receive_room(const struct uart *uart);
