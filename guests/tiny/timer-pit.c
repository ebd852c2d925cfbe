// SPDX-License-Identifier: Apache-2.0
// The 8254's interrupt through the 8259 and through the IOAPIC: as many as were asked for, none
// while masked.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define IOAPIC_VECTOR 0x50
#define IOAPIC_INPUT  2u // where ISA line 0 goes
#define PERIOD        (uint16_t)(PIT_HZ / 1000)
#define COUNT         20u

static void on_pic(struct trap_frame *frame) {
    (void)frame;
    pic_eoi(0);
}

static void on_ioapic(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void check_pic(void) {
    volatile uint32_t *count = &trap_count[PIC_VECTOR];
    pic_init();
    trap_set_handler(PIC_VECTOR, on_pic);
    pit_start(2, PERIOD);
    interrupts_on();
    wait_us(5000);
    CHECK_EQ(*count, 0); // masked
    pic_unmask(0);
    CHECK(wait_for(count, COUNT, PATIENCE_S));
    interrupts_off();
    uint32_t before = *count;
    wait_us(5000);
    CHECK_EQ(*count, before);
    interrupts_on(); // one waits
    CHECK(wait_for(count, before + 1, PATIENCE_S));
    pic_mask_all();
    *count = 0;
    pit_start(0, PERIOD);
    pic_unmask(0);
    CHECK(wait_for(count, 1, PATIENCE_S));
    pit_start(0, PERIOD);
    CHECK(wait_for(count, 2, PATIENCE_S));
    wait_us(20000);
    CHECK(*count <= 3); // once for each start, and an edge may have waited from before
    pic_mask_all();
    interrupts_off();
}

static void check_ioapic(void) {
    volatile uint32_t *count = &trap_count[IOAPIC_VECTOR];
    trap_set_handler(IOAPIC_VECTOR, on_ioapic);
    ioapic_route(IOAPIC_INPUT, IOAPIC_VECTOR);
    pit_start(2, PERIOD);
    interrupts_on();
    CHECK(wait_for(count, COUNT, PATIENCE_S));
    ioapic_write(IOAPIC_ENTRY(IOAPIC_INPUT), IOAPIC_MASKED | IOAPIC_VECTOR);
    wait_us(100);
    *count = 0;
    wait_us(5000);
    CHECK_EQ(*count, 0);
    ioapic_write(IOAPIC_ENTRY(IOAPIC_INPUT), IOAPIC_VECTOR);
    CHECK(wait_for(count, COUNT, PATIENCE_S));
    interrupts_off();
}

void test(void) {
    lapic_init(false);
    check_pic();
    check_ioapic();
}
