// SPDX-License-Identifier: Apache-2.0
// COM1: its registers, loop-back, and its interrupt through the IOAPIC.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define COM1     0x3f8
#define IER      (COM1 + 1)
#define IIR      (COM1 + 2)
#define LCR      (COM1 + 3)
#define MCR      (COM1 + 4)
#define LSR      (COM1 + 5)
#define SCRATCH  (COM1 + 7)
#define IER_THRE 0x02u
#define LCR_DLAB 0x80u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u
#define LSR_DATA 0x01u
#define IIR_THRE 0x02u
#define IIR_NONE 0x01u
#define VECTOR   0x50
#define INPUT    4u

static volatile uint32_t causes[16];

static void on_uart(struct trap_frame *frame) {
    uint8_t iir = in8(IIR) & 0xf;
    (void)frame;
    causes[iir]++;
    lapic_eoi();
}

static void check_registers(void) {
    uint8_t lcr = in8(LCR), low;
    out8(SCRATCH, 0x5a);
    CHECK_EQ(in8(SCRATCH), 0x5a);
    out8(LCR, lcr | LCR_DLAB);
    low = in8(COM1);
    out8(COM1, 0x0c);
    CHECK_EQ(in8(COM1), 0x0c);
    out8(COM1, low);
    out8(LCR, lcr);
    CHECK_EQ(in8(LCR), lcr);
}

static void check_loopback(void) {
    bool is_there, is_gone;
    uint8_t byte;
    out8(IER, 0);
    out8(MCR, MCR_LOOP); // nothing can be printed now
    out8(COM1, 0x42);
    is_there = in8(LSR) & LSR_DATA;
    byte = in8(COM1);
    is_gone = !(in8(LSR) & LSR_DATA);
    out8(MCR, MCR_OUT2);
    CHECK(is_there);
    CHECK_EQ(byte, 0x42);
    CHECK(is_gone);
}

static void check_interrupt(void) {
    lapic_init(false);
    trap_set_handler(VECTOR, on_uart);
    ioapic_route(INPUT, VECTOR);
    interrupts_on();
    out8(MCR, MCR_OUT2);
    out8(IER, IER_THRE); // at once: nothing waits to be sent
    CHECK(wait_for(&causes[IIR_THRE], 1, PATIENCE_S));
    CHECK_EQ(in8(IIR) & 0xf, IIR_NONE); // reading it was the answer
    out8(IER, 0);
    interrupts_off();
}

void test(void) {
    check_registers();
    check_loopback();
    check_interrupt();
}
