// SPDX-License-Identifier: Apache-2.0
// See drivers/uart.h.
#include "drivers/uart.h"

#include "arch/x86.h"

#define COM1 0x3f8u

enum uart_register {
    UART_DATA = 0,        // RBR, THR
    UART_DIVISOR_LOW = 0, // with LCR_DLAB
    UART_IER = 1,
    UART_DIVISOR_HIGH = 1, // with LCR_DLAB
    UART_IIR = 2,          // read
    UART_FCR = 2,          // write
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
};

#define IER_RECEIVE    BIT(0)
#define IER_ROOM       BIT(1)
#define IIR_NONE       BIT(0) // no interrupt pending
#define IIR_FIFO_MASK  0xc0u
#define FCR_ENABLE     BIT(0)
#define FCR_CLEAR      (BIT(1) | BIT(2))
#define LCR_8N1        0x03u
#define LCR_DLAB       BIT(7)
#define MCR_DTR_RTS    (BIT(0) | BIT(1))
#define MCR_OUT2       BIT(3) // gates the interrupt line on a PC
#define MCR_LOOPBACK   BIT(4)
#define LSR_DATA       BIT(0)
#define LSR_ROOM       BIT(5) // transmit FIFO empty
#define LSR_IDLE       BIT(6) // shift register empty too
#define DIVISOR_115200 1u
#define FIFO_DEPTH     16u

// In loopback the modem outputs come back as modem inputs, at once and whatever the baud rate.
#define MCR_PATTERN (MCR_LOOPBACK | MCR_OUT2 | BIT(1)) // OUT2 and RTS
#define MSR_PATTERN 0x90u                              // DCD and CTS
#define MSR_INPUTS  0xf0u

// A full FIFO takes 1.4 ms; a port read takes about 1 us on hardware, and 20 ns on the fastest
// emulator.
#define POLLS_MAX (1u << 20)

static uint32_t fifo_depth;
static uint8_t interrupts;

static uint8_t read_register(enum uart_register index) {
    return x86_inb((uint16_t)(COM1 + index));
}

static void write_register(enum uart_register index, uint64_t value) {
    x86_outb((uint16_t)(COM1 + index), (uint8_t)value);
}

bool uart_init(void) {
    write_register(UART_IER, 0);
    write_register(UART_MCR, MCR_PATTERN);
    if ((read_register(UART_MSR) & MSR_INPUTS) != MSR_PATTERN)
        return false;
    write_register(UART_LCR, LCR_8N1 | LCR_DLAB);
    write_register(UART_DIVISOR_LOW, DIVISOR_115200);
    write_register(UART_DIVISOR_HIGH, 0);
    write_register(UART_LCR, LCR_8N1);
    write_register(UART_FCR, FCR_ENABLE | FCR_CLEAR);
    write_register(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
    fifo_depth = (read_register(UART_IIR) & IIR_FIFO_MASK) == IIR_FIFO_MASK ? FIFO_DEPTH : 1;
    interrupts = 0;
    return true;
}

bool uart_receive(uint8_t *byte) {
    if ((read_register(UART_LSR) & LSR_DATA) == 0)
        return false;
    *byte = read_register(UART_DATA);
    return true;
}

uint32_t uart_send_room(void) {
    return (read_register(UART_LSR) & LSR_ROOM) != 0 ? fifo_depth : 0;
}

void uart_send(const uint8_t *bytes, uint32_t count) {
    x86_outsb(COM1 + UART_DATA, bytes, count);
}

static bool wait_status(uint64_t bit) {
    for (uint32_t i = 0; i < POLLS_MAX; i++) {
        if ((read_register(UART_LSR) & bit) != 0)
            return true;
        x86_pause();
    }
    return false;
}

bool uart_wait_room(void) {
    return wait_status(LSR_ROOM);
}

bool uart_wait_idle(void) {
    return wait_status(LSR_IDLE);
}

void uart_set_interrupts(bool on_receive, bool on_room) {
    uint8_t wanted = (uint8_t)((on_receive ? IER_RECEIVE : 0) | (on_room ? IER_ROOM : 0));
    if (wanted == interrupts)
        return;
    interrupts = wanted;
    write_register(UART_IER, wanted);
}

bool uart_is_interrupting(void) {
    return (read_register(UART_IIR) & IIR_NONE) == 0;
}
