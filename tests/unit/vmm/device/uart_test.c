// SPDX-License-Identifier: Apache-2.0
// The 16550A, from the data sheet and from what Linux's 8250 driver probes.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/uart.h"

enum { THR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

static struct dev_world world;
static struct dev_line line;
static struct uart uart;
static char sent[64];
static size_t sent_count;
static uint32_t room_calls;

static void on_tx(void *opaque, const uint8_t *data, size_t n) {
    (void)opaque;
    for (size_t i = 0; i < n; i++)
        sent[sent_count++ % sizeof(sent)] = (char)data[i];
}

static void on_room(void *opaque) {
    (void)opaque;
    room_calls++;
}

static const struct uart_backend backend = {.tx = on_tx, .rx_room = on_room};

static void uart_setup(void) {
    dev_world_init(&world);
    uart_init(&uart, &world.host, &backend, dev_line(&line));
    sent_count = room_calls = 0;
}

static uint8_t in(uint16_t offset) {
    return dev_in(&uart.device, offset);
}

static void out(uint16_t offset, uint8_t value) {
    dev_out(&uart.device, offset, value);
}

static size_t receive(const char *text) {
    return uart_receive(&uart, (const uint8_t *)text, strlen(text));
}

TestSuite(dev_uart, .init = uart_setup);

Test(dev_uart, transmits_at_once) {
    cr_assert_eq(in(LSR), 0x60);
    out(THR, 'h');
    out(THR, 'i');
    cr_assert_eq(in(LSR), 0x60);
    cr_assert_eq(sent_count, 2);
    cr_assert_arr_eq(sent, "hi", 2);
    cr_assert_eq(line.rises, 0);
}

// autoconfig() of drivers/tty/serial/8250/8250_port.c
Test(dev_uart, passes_the_autodetection_of_linux) {
    out(IER, 0);
    cr_assert_eq(in(IER), 0);
    out(IER, 0x0f);
    cr_assert_eq(in(IER), 0x0f);
    out(IER, 0xf0);
    cr_assert_eq(in(IER), 0, "no sleep mode of a 16750");
    out(MCR, 0x1a); // loop, OUT2, RTS
    cr_assert_eq(in(MSR)&0xf0, 0x90);
    out(MCR, 0);
    out(LCR, 0xbf); // no EFR behind it
    out(2, 0);
    out(LCR, 0);
    out(IIR, 0x01);
    cr_assert_eq(in(IIR) >> 6, 3, "a 16550A");
    out(IIR, 0x21);
    out(LCR, 0x80);
    cr_assert_eq(in(IIR)&0x20, 0, "no 64-byte FIFO");
    out(LCR, 0);
    out(SCR, 0xa5);
    cr_assert_eq(in(SCR), 0xa5);
    cr_assert_eq(in(MSR)&0xf0, 0xb0, "the other end is ready");
}

Test(dev_uart, divisor_is_kept_apart) {
    out(IER, 0x05);
    out(LCR, 0x83);
    out(THR, 1);
    out(IER, 2);
    cr_assert_eq(in(THR), 1);
    cr_assert_eq(in(IER), 2);
    out(LCR, 0x03);
    cr_assert_eq(in(IER), 0x05);
    cr_assert_eq(sent_count, 0);
}

Test(dev_uart, thre_interrupt_follows_the_data_sheet) {
    out(MCR, 0x08);
    out(IER, 0x02);
    cr_assert(line.level, "enabling finds the transmitter empty");
    cr_assert_eq(in(IIR), 0x02);
    cr_assert_not(line.level, "reading IIR acknowledges");
    cr_assert_eq(in(IIR), 0x01);
    out(IER, 0x00);
    out(IER, 0x02);
    cr_assert_eq(in(IIR), 0x02, "the THRE test of Linux");
    out(THR, 'x');
    cr_assert(line.level);
    out(THR, 'y');
    cr_assert_eq(line.rises, 4, "one edge a byte");
    out(IER, 0x02);
    cr_assert_eq(line.rises, 4, "no change of the enable, no interrupt");
}

Test(dev_uart, out2_gates_the_line) {
    out(IER, 0x02);
    cr_assert_not(line.level);
    out(MCR, 0x08);
    cr_assert(line.level);
    out(MCR, 0x00);
    cr_assert_not(line.level);
}

Test(dev_uart, receiver_interrupts_by_level_and_timeout) {
    out(MCR, 0x08);
    out(IIR, 0x81); // FIFO, trigger at 8
    out(IER, 0x01);
    cr_assert_eq(receive("1234567"), 7);
    cr_assert_eq(in(IIR), 0xcc);
    cr_assert_eq(receive("8"), 1);
    cr_assert_eq(in(IIR), 0xc4);
    for (char c = '1'; c <= '8'; c++) {
        cr_assert(line.level);
        cr_assert_eq(in(LSR)&1, 1);
        cr_assert_eq(in(THR), c);
    }
    cr_assert_not(line.level);
    cr_assert_eq(in(LSR), 0x60);
    cr_assert_eq(in(IIR), 0xc1);
}

Test(dev_uart, receiver_takes_what_fits_and_asks_for_more) {
    cr_assert_eq(receive("ab"), 1, "no FIFO: one byte");
    cr_assert_eq(in(THR), 'a');
    cr_assert_eq(room_calls, 1);
    out(IIR, 0x01);
    cr_assert_eq(receive("0123456789abcdef"), 16);
    cr_assert_eq(uart_receive_room(&uart), 0);
    in(THR);
    cr_assert_eq(room_calls, 1, "nobody was refused");
    cr_assert_eq(receive("XY"), 1);
    in(THR);
    in(THR);
    cr_assert_eq(room_calls, 2, "told once");
    cr_assert_eq(receive("0123456789"), 2);
    out(IIR, 0x03);
    cr_assert_eq(room_calls, 3, "clearing makes room too");
    cr_assert_eq(in(LSR), 0x60);
}

// As the VMM feeds it: it offers no more than there is room for, and says that more waits.
Test(dev_uart, expecting_more_asks_once_there_is_room) {
    out(IIR, 0x01);
    cr_assert_eq(receive("0123456789abcdef"), 16);
    uart_expect(&uart);
    cr_assert_eq(room_calls, 0, "no room yet");
    in(THR);
    cr_assert_eq(room_calls, 1);
    in(THR);
    cr_assert_eq(room_calls, 1, "told once");
}

Test(dev_uart, loopback_returns_bytes_and_overruns) {
    out(LCR, 0x03);
    out(IIR, 0x01);
    out(MCR, 0x10);
    cr_assert_eq(receive("z"), 0, "the line is cut off");
    for (uint8_t i = 0; i < 17; i++)
        out(THR, 0x80 + i);
    cr_assert_eq(sent_count, 0);
    cr_assert_eq(in(LSR), 0x63);
    cr_assert_eq(in(LSR), 0x61);
    for (uint8_t i = 0; i < 16; i++)
        cr_assert_eq(in(THR), 0x80 + i);
    out(LCR, 0x00); // five bits
    out(THR, 0xff);
    cr_assert_eq(in(THR), 0x1f);
    out(IIR, 0x00);
    out(THR, 1);
    out(THR, 2);
    cr_assert_eq(in(THR), 2, "without a FIFO the old byte is lost");
}

Test(dev_uart, modem_deltas_interrupt) {
    out(MCR, 0x18);
    in(MSR);
    out(IER, 0x08);
    cr_assert_not(line.level);
    out(MCR, 0x1a); // RTS appears as CTS
    cr_assert(line.level);
    cr_assert_eq(in(IIR), 0x00);
    cr_assert_eq(in(MSR), 0x91);
    cr_assert_not(line.level);
    out(MCR, 0x1e); // ring begins: no delta
    cr_assert_eq(in(MSR)&0x0f, 0);
    out(MCR, 0x1a); // ends
    cr_assert_eq(in(MSR)&0x0f, 0x04);
}

Test(dev_uart, line_errors_come_first) {
    out(MCR, 0x18);
    out(IER, 0x0f);
    out(THR, 1);
    out(THR, 2);
    cr_assert_eq(in(IIR), 0x06);
    in(LSR);
    cr_assert_eq(in(IIR), 0x04);
    in(THR);
    cr_assert_eq(in(IIR), 0x02);
    cr_assert_eq(in(IIR), 0x00);
}

Test(dev_uart, reset_restores_power_on) {
    out(MCR, 0x0b);
    out(IER, 0x0f);
    cr_assert(line.level);
    uart.device.ops->reset(&uart.device);
    cr_assert_not(line.level);
    cr_assert_eq(in(IER), 0);
    cr_assert_eq(in(MCR), 0);
}

Test(dev_uart, record_round_trips) {
    struct dev_line other_line;
    struct uart other;

    out(IIR, 0xc1);
    out(MCR, 0x08);
    out(IER, 0x07);
    receive("lost");
    in(THR);
    receive("0123456789abcdefgh");
    uart_init(&other, &world.host, &backend, dev_line(&other_line));
    dev_check_records(&uart.device, &other.device);
    cr_assert_eq(other.irq_level, uart.irq_level);
    cr_assert_eq(other_line.rises, 0, "restore is silent");
    cr_assert_eq(dev_in(&other.device, THR), 'o');
    dev_check_bad_value(&uart.device, 0, 1, 0x10); // ier
    dev_check_bad_value(&uart.device, 1, 1, 0x08); // fcr bits without FIFO
    dev_check_bad_value(&uart.device, 3, 1, 0x20); // mcr
    dev_check_bad_value(&uart.device, 7, 1, 0x20); // lsr_errors
    dev_check_bad_value(&uart.device, 8, 1, 0x10); // msr_deltas
    dev_check_bad_value(&uart.device, 9, 1, 2);    // thre_pending
    dev_check_bad_value(&uart.device, 11, 1, 17);  // rx_count
}
