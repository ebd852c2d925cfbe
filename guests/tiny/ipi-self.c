// SPDX-License-Identifier: Apache-2.0
// Interrupts that a processor sends itself, in xAPIC or (word `x2apic`) x2APIC mode: by shorthand,
// by physical and logical destination, in the order of their priority, held back by TPR and CR8;
// NMIs; and vectors that are illegal.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define LOW      0x51
#define HIGH     0x81
#define ESR_SEND BIT(5) // send illegal vector

static uint8_t order[8];
static volatile uint32_t taken;
static uint8_t in_service;

static void on_interrupt(struct trap_frame *frame) {
    order[taken++ % sizeof(order)] = (uint8_t)frame->vector;
    in_service = lapic_bit(LAPIC_ISR, (uint8_t)frame->vector);
    lapic_eoi();
}

// Sends itself HIGH in the middle of LOW's handler.
static void on_nesting(struct trap_frame *frame) {
    order[taken++ % sizeof(order)] = (uint8_t)frame->vector;
    if (frame->vector == LOW) {
        lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | LOW);
        lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | HIGH);
        trap_set_handler(LOW, on_interrupt);
        interrupts_on();
        __asm__ volatile("nop");
        interrupts_off();
        CHECK_EQ(taken, 2); // HIGH came, the second LOW waits
    }
    lapic_eoi();
}

static void on_nmi(struct trap_frame *frame) {
    (void)frame;
    if (trap_count[EXC_NMI] == 1) {
        lapic_send(0, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT); // blocked until IRET
        CHECK_EQ(trap_count[EXC_NMI], 1);
    }
}

static void on_nmi_thrice(struct trap_frame *frame) {
    (void)frame;
    for (unsigned i = 0; i < 3 && trap_count[EXC_NMI] == 1; i++)
        lapic_send(0, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT);
}

static void send_self(uint8_t vector) {
    lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | vector);
}

static void check_ways(void) {
    static const uint32_t commands[] = {LAPIC_ICR_SELF, LAPIC_ICR_ALL, 0, LAPIC_ICR_LOGICAL};
    uint32_t logical = lapic_is_x2apic() ? lapic_read(LAPIC_LDR) : 2;
    CHECK_EQ(lapic_read(LAPIC_ID), 0);
    if (!lapic_is_x2apic())
        lapic_write(LAPIC_LDR, logical << 24);
    for (uint32_t i = 0; i < ARRAY_COUNT(commands); i++) {
        taken = 0;
        lapic_send(commands[i] == LAPIC_ICR_LOGICAL ? logical : 0,
                   commands[i] | LAPIC_ICR_ASSERT | LOW);
        CHECK(wait_for(&taken, 1, PATIENCE_S));
        CHECK(in_service);
    }
    CHECK(!lapic_bit(LAPIC_ISR, LOW) && !lapic_bit(LAPIC_IRR, LOW));
    if (lapic_is_x2apic()) {
        taken = 0;
        lapic_write(LAPIC_SELF_IPI, LOW);
        CHECK(wait_for(&taken, 1, PATIENCE_S));
    }
    taken = 0;
    lapic_send(1, LAPIC_ICR_ASSERT | LOW); // nobody is there
    wait_us(100);
    CHECK_EQ(taken, 0);
}

static void check_priority(void) {
    taken = 0;
    interrupts_off();
    send_self(LOW);
    send_self(HIGH);
    send_self(LOW); // once is enough
    CHECK(lapic_bit(LAPIC_IRR, LOW) && lapic_bit(LAPIC_IRR, HIGH));
    interrupts_on();
    wait_us(100);
    CHECK_EQ(taken, 2);
    CHECK(order[0] == HIGH && order[1] == LOW);
}

static void check_nesting(void) {
    taken = 0;
    trap_set_handler(LOW, on_nesting);
    trap_set_handler(HIGH, on_nesting);
    send_self(LOW);
    wait_us(100);
    CHECK_EQ(taken, 3);
    CHECK(order[0] == LOW && order[1] == HIGH && order[2] == LOW);
    trap_set_handler(HIGH, on_interrupt);
}

static void check_task_priority(void) {
    taken = 0;
    write_cr8(LOW >> 4);
    CHECK_EQ(lapic_read(LAPIC_TPR), LOW & 0xf0);
    send_self(LOW);
    send_self(HIGH);
    wait_us(100);
    CHECK_EQ(taken, 1);
    CHECK_EQ(order[0], HIGH);
    lapic_write(LAPIC_TPR, 0);
    CHECK_EQ(read_cr8(), 0);
    wait_us(100);
    CHECK_EQ(taken, 2);
}

static void check_illegal_vector(void) {
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ESR, 0);
    send_self(0x0f);
    lapic_write(LAPIC_ESR, 0);
    CHECK(lapic_read(LAPIC_ESR) & (ESR_SEND | ESR_SEND << 1));
    if (!lapic_is_x2apic())
        return;
    lapic_write(LAPIC_SELF_IPI, 0x0f);
    lapic_write(LAPIC_ESR, 0);
    CHECK_EQ(lapic_read(LAPIC_ESR), ESR_SEND << 1);
}

static void check_nmi(void) {
    trap_set_handler(EXC_NMI, on_nmi);
    interrupts_off(); // which holds no NMI
    lapic_send(0, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT);
    CHECK(wait_for(&trap_count[EXC_NMI], 2, PATIENCE_S));
    wait_us(100);
    CHECK_EQ(trap_count[EXC_NMI], 2);
    // What comes while one is in service and another waits is lost.
    trap_count[EXC_NMI] = 0;
    trap_set_handler(EXC_NMI, on_nmi_thrice);
    lapic_send(0, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT);
    wait_us(100);
    CHECK_EQ(trap_count[EXC_NMI], 2);
}

void test(void) {
    lapic_init(cmdline_has("x2apic"));
    trap_set_handler(LOW, on_interrupt);
    trap_set_handler(HIGH, on_interrupt);
    interrupts_on();
    check_ways();
    check_priority();
    check_nesting();
    check_task_priority();
    check_illegal_vector();
    check_nmi();
}
