// SPDX-License-Identifier: Apache-2.0
// See drivers/console/uart.h.
#include "drivers/console/uart.h"

#include "lib/syscall.h"

#define REGISTERS_AT 0x100000000ULL // where they are mapped
#define PAGE_MASK    (ABI_PAGE - 1)

enum uart_register {
    UART_DATA = 0,
    UART_IER = 1,
    UART_IIR = 2,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
};

#define IER_RECEIVE   0x01u
#define IER_ROOM      0x02u
#define IIR_NONE      0x01u // no interrupt pending
#define IIR_FIFO_MASK 0xc0u
#define LSR_DATA      0x01u
#define LSR_ROOM      0x20u // transmit FIFO empty
#define LSR_IDLE      0x40u // shift register empty too
#define MCR_NORMAL    0x0bu // DTR, RTS, and OUT2, which gates the interrupt line on a PC
#define MCR_LOOPBACK  0x1au // with OUT2 and RTS, which come back as
#define MSR_LOOPBACK  0x90u // DCD and CTS
#define MSR_INPUTS    0xf0u
#define POLLS_MAX     (1u << 20) // a full FIFO takes 17 ms at 9,600 baud
#define NO_DEVICE     0xffu      // what a bus says where nothing answers
#define FIFO_DEPTH    ABI_PORTS_SEND_MAX

static const struct console_start *start;
static volatile uint8_t *memory; // NULL: ports
static uint32_t fifo_depth;
static uint32_t interrupts;

static uint8_t read_register(enum uart_register index) {
    uint32_t offset = (uint32_t)index * start->uart.stride;
    if (memory == NULL)
        return (uint8_t)sys_ports_read(start->ports, (uint16_t)offset, 1);
    return start->uart.width == 4 ? (uint8_t) * (volatile uint32_t *)(memory + offset)
                                  : memory[offset];
}

static void write_register(enum uart_register index, uint32_t value) {
    uint32_t offset = (uint32_t)index * start->uart.stride;
    if (memory == NULL)
        (void)sys_ports_write(start->ports, (uint16_t)offset, 1, value);
    else if (start->uart.width == 4)
        *(volatile uint32_t *)(memory + offset) = value;
    else
        memory[offset] = (uint8_t)value;
}

static bool map_registers(void) {
    int64_t size = sys_memory_size(start->registers);
    if (size <= 0 || sys_process_map(0, start->registers, REGISTERS_AT, 0, (uint64_t)size,
                                     ABI_RIGHT_READ | ABI_RIGHT_WRITE) < 0)
        return false;
    memory = (volatile uint8_t *)REGISTERS_AT + (start->uart.base & PAGE_MASK);
    return true;
}

// As kernel/uart.c asks, whose last bytes may be on their way.
static bool answers(void) {
    uint32_t polls = 0;
    while ((read_register(UART_LSR) & LSR_IDLE) == 0)
        if (++polls == POLLS_MAX)
            return false;
    write_register(UART_MCR, MCR_LOOPBACK);
    bool is_16550 = (read_register(UART_MSR) & MSR_INPUTS) == MSR_LOOPBACK;
    write_register(UART_MCR, MCR_NORMAL);
    return is_16550;
}

bool uart_open(const struct console_start *given) {
    start = given;
    if (start->registers == 0 && start->ports == 0)
        return false;
    if (start->registers != 0 && !map_registers())
        return false;
    if (read_register(UART_LSR) == NO_DEVICE || !answers())
        return false;
    fifo_depth = (read_register(UART_IIR) & IIR_FIFO_MASK) == IIR_FIFO_MASK ? FIFO_DEPTH : 1;
    write_register(UART_IER, 0);
    return true;
}

// A read clears the errors, so no other says that nobody is there twice.
uint32_t uart_status(void) {
    uint8_t status = read_register(UART_LSR);
    if (status == NO_DEVICE)
        return 0;
    return ((status & LSR_DATA) != 0 ? UART_HAS_BYTE : 0) |
           ((status & LSR_ROOM) != 0 ? UART_HAS_ROOM : 0);
}

uint8_t uart_receive(void) {
    return read_register(UART_DATA);
}

uint32_t uart_depth(void) {
    return fifo_depth;
}

void uart_send(const uint8_t *bytes, uint32_t count) {
    if (memory == NULL) {
        (void)sys_ports_send(start->ports, UART_DATA, bytes, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        write_register(UART_DATA, bytes[i]);
}

void uart_set_interrupts(bool on_receive, bool on_room) {
    uint32_t wanted = (on_receive ? IER_RECEIVE : 0) | (on_room ? IER_ROOM : 0);
    if (wanted == interrupts)
        return;
    interrupts = wanted;
    write_register(UART_IER, wanted);
}

bool uart_is_interrupting(void) {
    return (read_register(UART_IIR) & IIR_NONE) == 0;
}
