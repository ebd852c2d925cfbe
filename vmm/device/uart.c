// SPDX-License-Identifier: Apache-2.0
// The 16550A: registers in the order of the data sheet, then the receiving side, then save and
// restore. Every function that may change the interrupt ends in irq_update().
#include "vmm/device/uart.h"

#include <assert.h>

#include "lib/string.h"

enum uart_register { RBR_THR = 0, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum {
    IER_RX = 0x01,
    IER_THRE = 0x02,
    IER_LINE = 0x04,
    IER_MODEM = 0x08,
    IER_MASK = 0x0f,

    IIR_MODEM = 0x00,
    IIR_NONE = 0x01,
    IIR_THRE = 0x02,
    IIR_RX = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFO = 0xc0,

    FCR_ENABLE = 0x01,
    FCR_CLEAR_RX = 0x02,
    FCR_KEPT = 0xc9, // enable, DMA mode, trigger level

    LCR_LENGTH = 0x03,
    LCR_DLAB = 0x80,

    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08, // on a PC the gate of the interrupt line
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,

    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_EMPTY = 0x60, // THRE and TEMT: always
    LSR_ERRORS = 0x1e,

    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
    MSR_TERI = 0x04,
    MSR_DELTAS = 0x0f,

    DLL_RESET = 0x0c, // 9600 baud
};

// --- interrupts ----------------------------------------------------------------------------------

static uint8_t rx_trigger(const struct uart *uart) {
    static const uint8_t level[4] = {1, 4, 8, 14};

    return uart->fcr & FCR_ENABLE ? level[uart->fcr >> 6] : 1;
}

// The pending interrupt of the highest priority ("Table IV. Interrupt Control Functions").
static uint8_t interrupt_id(const struct uart *uart) {
    if ((uart->ier & IER_LINE) && uart->lsr_errors)
        return IIR_LINE;
    if ((uart->ier & IER_RX) && uart->rx_count >= rx_trigger(uart))
        return IIR_RX;
    if ((uart->ier & IER_RX) && uart->rx_count > 0)
        return IIR_TIMEOUT;
    if ((uart->ier & IER_THRE) && uart->thre_pending)
        return IIR_THRE;
    if ((uart->ier & IER_MODEM) && uart->msr_deltas)
        return IIR_MODEM;
    return IIR_NONE;
}

static bool irq_wanted(const struct uart *uart) {
    return (uart->mcr & MCR_OUT2) && interrupt_id(uart) != IIR_NONE;
}

static void irq_update(struct uart *uart) {
    bool level = irq_wanted(uart);

    if (level == uart->irq_level)
        return;
    uart->irq_level = level;
    irq_line_set(&uart->irq, level);
}

// --- the receiver's FIFO -------------------------------------------------------------------------

static uint8_t rx_capacity(const struct uart *uart) {
    return uart->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static void rx_put(struct uart *uart, uint8_t byte) {
    uart->rx[(uart->rx_head + uart->rx_count) % UART_FIFO] = byte;
    uart->rx_count++;
}

// Tells the backend that was refused before.
static void rx_offer_room(struct uart *uart) {
    if (!uart->rx_starved || uart_receive_room(uart) == 0)
        return;
    uart->rx_starved = false;
    if (uart->backend.rx_room)
        uart->backend.rx_room(uart->backend.opaque);
}

static uint8_t rx_take(struct uart *uart) {
    uint8_t byte = uart->rx[uart->rx_head];

    if (uart->rx_count == 0)
        return 0;
    uart->rx_head = (uart->rx_head + 1) % UART_FIFO;
    uart->rx_count--;
    irq_update(uart);
    rx_offer_room(uart);
    return byte;
}

static void rx_clear(struct uart *uart) {
    uart->rx_head = 0;
    uart->rx_count = 0;
}

size_t uart_receive_room(const struct uart *uart) {
    return uart->mcr & MCR_LOOP ? 0 : (size_t)(rx_capacity(uart) - uart->rx_count);
}

void uart_expect(struct uart *uart) {
    uart->rx_starved = true;
}

size_t uart_receive(struct uart *uart, const uint8_t *data, size_t n) {
    size_t room = uart_receive_room(uart);
    size_t taken = n < room ? n : room;

    for (size_t i = 0; i < taken; i++)
        rx_put(uart, data[i]);
    if (taken < n)
        uart->rx_starved = true;
    irq_update(uart);
    return taken;
}

// --- register writes -----------------------------------------------------------------------------

// A full FIFO loses the newest byte, a full holding register the oldest.
static void loopback(struct uart *uart, uint8_t byte) {
    byte &= (uint8_t)(0xff >> (3 - (uart->lcr & LCR_LENGTH)));
    if (uart->rx_count == rx_capacity(uart)) {
        uart->lsr_errors |= LSR_OVERRUN;
        if (uart->fcr & FCR_ENABLE)
            return;
        rx_clear(uart);
    }
    rx_put(uart, byte);
}

// The line falls while the byte is in the transmitter and rises when it is gone, so that a guest
// which never reads IIR sees an edge for each byte.
static void write_thr(struct uart *uart, uint8_t byte) {
    uart->thre_pending = false;
    irq_update(uart);
    if (uart->mcr & MCR_LOOP)
        loopback(uart, byte);
    else
        uart->backend.tx(uart->backend.opaque, &byte, 1);
    uart->thre_pending = true;
    irq_update(uart);
}

static void write_ier(struct uart *uart, uint8_t value) {
    value &= IER_MASK;
    if ((value & IER_THRE) && !(uart->ier & IER_THRE))
        uart->thre_pending = true; // the transmitter is empty, always
    uart->ier = value;
    irq_update(uart);
}

static void write_fcr(struct uart *uart, uint8_t value) {
    if (((value ^ uart->fcr) & FCR_ENABLE) || (value & FCR_ENABLE && value & FCR_CLEAR_RX))
        rx_clear(uart);
    uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    irq_update(uart);
    rx_offer_room(uart);
}

// A modem that is always there, or in loopback the UART's own outputs.
static uint8_t modem_inputs(const struct uart *uart) {
    uint8_t inputs = 0;

    if (!(uart->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    if (uart->mcr & MCR_RTS)
        inputs |= MSR_CTS;
    if (uart->mcr & MCR_DTR)
        inputs |= MSR_DSR;
    if (uart->mcr & MCR_OUT1)
        inputs |= MSR_RI;
    if (uart->mcr & MCR_OUT2)
        inputs |= MSR_DCD;
    return inputs;
}

static void write_mcr(struct uart *uart, uint8_t value) {
    uint8_t before = modem_inputs(uart), changed;

    uart->mcr = value & MCR_MASK;
    changed = before ^ modem_inputs(uart);
    uart->msr_deltas |= (changed & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4;
    if (changed & before & MSR_RI) // the ring indicator counts at its end only
        uart->msr_deltas |= MSR_TERI;
    irq_update(uart);
    rx_offer_room(uart);
}

static void uart_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct uart *uart = (struct uart *)device;
    uint8_t byte = (uint8_t)value;
    bool dlab = uart->lcr & LCR_DLAB;

    (void)size;
    switch ((enum uart_register)offset) {
    case RBR_THR:
        if (dlab)
            uart->dll = byte;
        else
            write_thr(uart, byte);
        break;
    case IER:
        if (dlab)
            uart->dlm = byte;
        else
            write_ier(uart, byte);
        break;
    case IIR_FCR:
        write_fcr(uart, byte);
        break;
    case LCR:
        uart->lcr = byte;
        break;
    case MCR:
        write_mcr(uart, byte);
        break;
    case SCR:
        uart->scr = byte;
        break;
    case LSR: // factory test
    case MSR: // read only
        break;
    }
}

// --- register reads ------------------------------------------------------------------------------

static uint8_t read_iir(struct uart *uart) {
    uint8_t id = interrupt_id(uart);

    if (id == IIR_THRE) { // reading its name is what acknowledges it
        uart->thre_pending = false;
        irq_update(uart);
    }
    return id | (uart->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *uart) {
    uint8_t value = LSR_EMPTY | uart->lsr_errors | (uart->rx_count > 0 ? LSR_DATA : 0);

    uart->lsr_errors = 0;
    irq_update(uart);
    return value;
}

static uint8_t read_msr(struct uart *uart) {
    uint8_t value = modem_inputs(uart) | uart->msr_deltas;

    uart->msr_deltas = 0;
    irq_update(uart);
    return value;
}

static uint32_t uart_read(struct device *device, uint16_t offset, uint8_t size) {
    struct uart *uart = (struct uart *)device;
    bool dlab = uart->lcr & LCR_DLAB;

    (void)size;
    switch ((enum uart_register)offset) {
    case RBR_THR:
        return dlab ? uart->dll : rx_take(uart);
    case IER:
        return dlab ? uart->dlm : uart->ier;
    case IIR_FCR:
        return read_iir(uart);
    case LCR:
        return uart->lcr;
    case MCR:
        return uart->mcr;
    case LSR:
        return read_lsr(uart);
    case MSR:
        return read_msr(uart);
    case SCR:
        return uart->scr;
    }
    return 0xff;
}

// --- reset, save, restore ------------------------------------------------------------------------

static void registers_reset(struct uart *uart) {
    uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scr = uart->dlm = 0;
    uart->dll = DLL_RESET;
    uart->lsr_errors = uart->msr_deltas = 0;
    uart->thre_pending = false;
    rx_clear(uart);
}

static void uart_reset(struct device *device) {
    struct uart *uart = (struct uart *)device;

    registers_reset(uart);
    irq_update(uart);
    rx_offer_room(uart);
}

struct uart_record {
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    uint8_t lsr_errors, msr_deltas;
    uint8_t thre_pending, rx_starved;
    uint8_t rx_count;
    uint8_t rx[UART_FIFO]; // oldest first
} __attribute__((packed));

static_assert(sizeof(struct uart_record) == 28, "format of a saved UART, version 1");

static void uart_save(const struct device *device, void *record) {
    const struct uart *uart = (const struct uart *)device;
    struct uart_record r = {
        .ier = uart->ier,
        .fcr = uart->fcr,
        .lcr = uart->lcr,
        .mcr = uart->mcr,
        .scr = uart->scr,
        .dll = uart->dll,
        .dlm = uart->dlm,
        .lsr_errors = uart->lsr_errors,
        .msr_deltas = uart->msr_deltas,
        .thre_pending = uart->thre_pending,
        .rx_starved = uart->rx_starved,
        .rx_count = uart->rx_count,
    };

    for (uint8_t i = 0; i < uart->rx_count; i++)
        r.rx[i] = uart->rx[(uart->rx_head + i) % UART_FIFO];
    memcpy(record, &r, sizeof(r));
}

static bool record_is_valid(const struct uart_record *r) {
    uint8_t fcr_kept = r->fcr & FCR_ENABLE ? FCR_KEPT : 0;

    if (r->rx_count > (r->fcr & FCR_ENABLE ? UART_FIFO : 1))
        return false;
    if ((r->ier & ~IER_MASK) || (r->fcr & ~fcr_kept) || (r->mcr & ~MCR_MASK))
        return false;
    if ((r->lsr_errors & ~LSR_ERRORS) || (r->msr_deltas & ~MSR_DELTAS))
        return false;
    for (uint8_t i = r->rx_count; i < UART_FIFO; i++)
        if (r->rx[i])
            return false;
    return r->thre_pending <= 1 && r->rx_starved <= 1;
}

static enum device_error uart_restore(struct device *device, const void *record, uint32_t version,
                                      uint32_t size) {
    struct uart *uart = (struct uart *)device;
    enum device_error error = device_check_record(device, version, size);
    struct uart_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if (!record_is_valid(&r))
        return DEVICE_RECORD_VALUE;
    uart->ier = r.ier;
    uart->fcr = r.fcr;
    uart->lcr = r.lcr;
    uart->mcr = r.mcr;
    uart->scr = r.scr;
    uart->dll = r.dll;
    uart->dlm = r.dlm;
    uart->lsr_errors = r.lsr_errors;
    uart->msr_deltas = r.msr_deltas;
    uart->thre_pending = r.thre_pending;
    uart->rx_starved = r.rx_starved;
    uart->rx_head = 0;
    uart->rx_count = r.rx_count;
    memcpy(uart->rx, r.rx, sizeof(uart->rx));
    uart->irq_level = irq_wanted(uart);
    return DEVICE_OK;
}

static const struct device_ops uart_ops = {
    .name = "uart",
    .version = 1,
    .record_size = sizeof(struct uart_record),
    .reset = uart_reset,
    .port_read = uart_read,
    .port_write = uart_write,
    .save = uart_save,
    .restore = uart_restore,
};

void uart_init(struct uart *uart, const struct device_host *host,
               const struct uart_backend *backend, struct irq_line irq) {
    *uart =
        (struct uart){.device = {.ops = &uart_ops, .host = host}, .backend = *backend, .irq = irq};
    registers_reset(uart);
}

enum bus_error uart_attach(struct uart *uart, struct bus *bus, uint16_t base) {
    return bus_add_ports(bus, base, UART_PORTS, &uart->device, 0, 1);
}
