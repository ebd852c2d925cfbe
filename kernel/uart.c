// SPDX-License-Identifier: Apache-2.0
// See kernel/uart.h.
#include "kernel/uart.h"

#include "arch/x86.h"
#include "kernel/kspace.h"

enum uart_register {
    UART_DATA = 0,        // THR
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
#define REGISTERS 8u

#define IIR_FIFO_MASK 0xc0u
#define FCR_ENABLE    BIT(0)
#define FCR_CLEAR     (BIT(1) | BIT(2))
#define LCR_8N1       0x03u
#define LCR_DLAB      BIT(7)
#define MCR_DTR_RTS   (BIT(0) | BIT(1))
#define MCR_OUT2      BIT(3) // gates the interrupt line on a PC
#define MCR_LOOPBACK  BIT(4)
#define LSR_ROOM      BIT(5) // transmit FIFO empty
#define LSR_IDLE      BIT(6) // shift register empty too
#define FIFO_DEPTH    16u

// In loopback the modem outputs come back as modem inputs, at once and whatever the baud rate.
#define MCR_PATTERN (MCR_LOOPBACK | MCR_OUT2 | BIT(1)) // OUT2 and RTS
#define MSR_PATTERN 0x90u                              // DCD and CTS
#define MSR_INPUTS  0xf0u

// A full FIFO takes 1.4 ms; a port read takes about 1 us on hardware, and 20 ns on the fastest
// emulator.
#define POLLS_MAX (1u << 20)

static const struct boot_uart *uart;
static volatile uint8_t *memory; // NULL: ports
static uint32_t fifo_depth;

static uint8_t read_register(enum uart_register index) {
    uint32_t offset = (uint32_t)index * uart->stride;
    if (memory == NULL)
        return x86_inb((uint16_t)(uart->base + offset));
    return uart->width == 4 ? (uint8_t) * (volatile uint32_t *)(memory + offset) : memory[offset];
}

static void write_register(enum uart_register index, uint64_t value) {
    uint32_t offset = (uint32_t)index * uart->stride;
    if (memory == NULL)
        x86_outb((uint16_t)(uart->base + offset), (uint8_t)value);
    else if (uart->width == 4)
        *(volatile uint32_t *)(memory + offset) = (uint8_t)value;
    else
        memory[offset] = (uint8_t)value;
}

static bool set_up(void) {
    write_register(UART_LCR, LCR_8N1); // first: DLAB gives other registers these numbers
    write_register(UART_IER, 0);
    write_register(UART_MCR, MCR_PATTERN);
    bool is_16550 = (read_register(UART_MSR) & MSR_INPUTS) == MSR_PATTERN;
    write_register(UART_MCR, MCR_DTR_RTS | MCR_OUT2); // whatever it is, it is not left in loopback
    if (!is_16550)
        return false;
    if (uart->divisor != 0) {
        write_register(UART_LCR, LCR_8N1 | LCR_DLAB);
        write_register(UART_DIVISOR_LOW, uart->divisor);
        write_register(UART_DIVISOR_HIGH, uart->divisor >> 8);
        write_register(UART_LCR, LCR_8N1);
    }
    write_register(UART_FCR, FCR_ENABLE | FCR_CLEAR);
    fifo_depth = (read_register(UART_IIR) & IIR_FIFO_MASK) == IIR_FIFO_MASK ? FIFO_DEPTH : 1;
    return true;
}

bool uart_init(const struct boot_uart *description) {
    uart = description;
    if (uart->base == 0)
        return false;
    if (uart->is_memory != 0)
        memory = kspace_map_device((hpa_t){uart->base}, (uint64_t)REGISTERS * uart->stride);
    return set_up();
}

uint32_t uart_send_room(void) {
    return (read_register(UART_LSR) & LSR_ROOM) != 0 ? fifo_depth : 0;
}

void uart_send(char byte) {
    write_register(UART_DATA, (uint8_t)byte);
}

bool uart_wait(bool is_idle) {
    for (uint32_t i = 0; i < POLLS_MAX; i++) {
        if ((read_register(UART_LSR) & (is_idle ? LSR_IDLE : LSR_ROOM)) != 0)
            return true;
        x86_pause();
    }
    return false;
}

bool uart_reset(void) {
    return uart_wait(true) && set_up();
}
