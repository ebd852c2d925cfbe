// SPDX-License-Identifier: Apache-2.0
// A system that knows no APIC: with the 8259 pair and the 8254 alone it gets its ticks, since the
// firmware leaves LINT0 open for the 8259 (virtual wire).
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define PIC1     0x20
#define PIC2     0xa0
#define TICKS    5u
#define PERIOD   (uint16_t)(PIT_HZ / 100)
#define ICW1     0x11
#define ICW4     0x01
#define UNMASK_0 0xfe

static void on_tick(struct trap_frame *frame) {
    (void)frame;
    pic_eoi(0);
}

static void set_up(uint16_t port, uint8_t vector, uint8_t cascade, uint8_t mask) {
    out8(port, ICW1);
    out8(port + 1, vector);
    out8(port + 1, cascade);
    out8(port + 1, ICW4);
    out8(port + 1, mask);
}

void test(void) {
    set_up(PIC1, PIC_VECTOR, 4, UNMASK_0);
    set_up(PIC2, PIC_VECTOR + 8, 2, 0xff);
    trap_set_handler(PIC_VECTOR, on_tick);
    pit_start(2, PERIOD);
    interrupts_on();
    CHECK(wait_for(&trap_count[PIC_VECTOR], TICKS, PATIENCE_S));
    interrupts_off();
}
