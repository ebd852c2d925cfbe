// SPDX-License-Identifier: Apache-2.0
// HLT waits for an interrupt and for nothing else, and one that is pending when interrupts go on
// ends it at once: STI and HLT leave no gap in which it could be lost.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR 0x60
#define ROUNDS 50u

static void on_interrupt(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void start_timer(uint32_t microseconds) {
    lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)(tsc_hz() * microseconds / 1000000));
}

void test(void) {
    uint64_t start = rdtsc();
    lapic_init(false);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_LVT_TIMER, VECTOR);
    trap_set_handler(VECTOR, on_interrupt);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        start_timer(1000);
        interrupts_on_and_halt();
        interrupts_off();
        CHECK_EQ(trap_count[VECTOR], i + 1);
    }
    CHECK(rdtsc() - start >= tsc_hz() / 1000 * ROUNDS); // the TSC went on meanwhile
    start_timer(10);
    wait_us(1000); // pending now, interrupts off
    CHECK_EQ(trap_count[VECTOR], ROUNDS);
    interrupts_on_and_halt();
    interrupts_off();
    CHECK_EQ(trap_count[VECTOR], ROUNDS + 1);
    lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | VECTOR);
    interrupts_on_and_halt();
    interrupts_off();
    CHECK_EQ(trap_count[VECTOR], ROUNDS + 2);
}
