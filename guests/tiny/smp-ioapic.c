// SPDX-License-Identifier: Apache-2.0
// A device's interrupt goes where the IOAPIC's entry says: the 8254's, which is an edge on input 2,
// to one processor by its ID, to a set of them, to the one with the lowest priority of a set; and
// to nobody where nobody is meant, without harm. In xAPIC or (word `x2apic`) x2APIC mode.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define INPUT       2u
#define VECTOR      0x61
#define LAST        0x41
#define LOWEST      0x100u
#define LOGICAL     0x800u
#define TO(id)      ((uint32_t)(id) << 24)
#define EVERYBODY   0xffu
#define PIT_ONCE    0u
#define PIT_COUNT   200u
#define PIT_WAIT_US 1000u

static volatile uint32_t taken[SMP_CPUS_MAX], last_taken[SMP_CPUS_MAX];
static uint32_t step;

static void on_vector(struct trap_frame *frame) {
    (void)frame;
    smp_add(&taken[smp_self()]);
    lapic_eoi();
}

static void on_last(struct trap_frame *frame) {
    (void)frame;
    smp_add(&last_taken[smp_self()]);
    lapic_eoi();
}

static uint32_t count_taken(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < smp_count; i++)
        sum += taken[i];
    return sum;
}

// One tick of the 8254, of which `count` processors are to hear; whoever else did would have by the
// end.
static void tick(uint32_t destination, uint32_t low, uint32_t count) {
    for (uint32_t i = 0; i < smp_count; i++)
        taken[i] = 0;
    pit_stop(); // one that nobody took may be late
    ioapic_write(IOAPIC_ENTRY(INPUT), IOAPIC_MASKED);
    ioapic_write(IOAPIC_ENTRY(INPUT) + 1, destination);
    ioapic_write(IOAPIC_ENTRY(INPUT), low | VECTOR);
    pit_start(PIT_ONCE, PIT_COUNT);
    for (uint32_t i = 0; i < PATIENCE_S * 1000 && count_taken() < count; i++)
        smp_nap_us(1000);
    if (count == 0)
        for (uint32_t i = 0; i < 10; i++)
            smp_nap_us(PIT_WAIT_US);
    step++;
    lapic_send(0, LAPIC_ICR_ALL | LAPIC_ICR_ASSERT | LAST);
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK(smp_wait_for(&last_taken[i], step));
    CHECK_EQ(count_taken(), count);
}

static void set_logical(void) {
    if (!lapic_is_x2apic())
        lapic_write(LAPIC_LDR, TO(1u << smp_self()));
}

// In x2APIC mode an entry has 8 bits only: physical IDs, and the processors of cluster 0 by their
// bits.
static void check_fixed(void) {
    for (uint32_t i = 0; i < smp_count; i++) {
        tick(TO(i), 0, 1);
        CHECK_EQ(taken[i], 1);
        tick(TO(1u << i), LOGICAL, 1);
        CHECK_EQ(taken[i], 1);
    }
    tick(TO(3), LOGICAL, 2);
    CHECK_EQ(taken[0] + taken[1], 2);
    tick(TO(EVERYBODY), 0, smp_count);
    tick(TO(smp_count), 0, 0); // nobody
    tick(TO(0), 0, 1);
}

static uint32_t chosen;

static void set_priority(void) {
    lapic_write(LAPIC_TPR, smp_self() == chosen ? 0x10 : 0x20);
}

static void check_lowest(void) {
    for (chosen = 0; chosen < smp_count; chosen++) {
        smp_run_all(set_priority);
        tick(TO((1u << smp_count) - 1), LOGICAL | LOWEST, 1);
        CHECK_EQ(taken[chosen], 1);
    }
}

void test(void) {
    trap_set_handler(VECTOR, on_vector);
    trap_set_handler(LAST, on_last);
    smp_start(cmdline_has("x2apic"));
    smp_run_all(set_logical);
    pit_stop();
    check_fixed();
    check_lowest();
}
