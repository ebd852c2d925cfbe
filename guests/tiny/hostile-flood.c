// SPDX-License-Identifier: Apache-2.0
// Floods, as fast as the guest can: interrupts and NMIs to itself, timers that are due at once or a
// thousand times a beat, ports, doorbells that nobody has, device registers, CPUID, and text on the
// serial line. Nothing gets lost of what must not: each interrupt that was waited for has come.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR     0x61
#define TIMER      0x71
#define IOAPIC_PIT 2u
#define NMI_ENTRY  0x400u
#define LINE       120u

static volatile uint32_t *const taken = &trap_count[VECTOR];

static void on_interrupt(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void on_nmi(struct trap_frame *frame) {
    (void)frame;
}

static void flood_self(uint64_t rounds) {
    uint32_t before = *taken;
    interrupts_on();
    for (uint64_t i = 0; i < rounds; i++)
        lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | VECTOR);
    CHECK(wait_for(taken, before + (uint32_t)rounds,
                   PATIENCE_S)); // each is taken before the next is sent
    interrupts_off();
    for (uint64_t i = 0; i < rounds; i++)
        lapic_send(0, LAPIC_ICR_SELF | LAPIC_ICR_ASSERT | (VECTOR + i % 64));
}

static void flood_nmi(uint64_t rounds) {
    uint32_t before = trap_count[EXC_NMI];
    for (uint64_t i = 0; i < rounds; i++)
        lapic_send(0, LAPIC_ICR_NMI | LAPIC_ICR_ASSERT);
    CHECK(wait_for(&trap_count[EXC_NMI], before + 1, PATIENCE_S));
}

static void flood_timer(uint64_t rounds) {
    uint32_t before = trap_count[TIMER];
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_PERIOD | TIMER);
    lapic_write(LAPIC_TIMER_INITIAL, 1);
    interrupts_on();
    CHECK(wait_for(&trap_count[TIMER], before + 20, PATIENCE_S));
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | TIMER);
    before = trap_count[TIMER];
    for (uint64_t i = 0; i < rounds; i++)
        wrmsr(MSR_TSC_DEADLINE, rdtsc() - i);
    CHECK(wait_for(&trap_count[TIMER], before + 1, PATIENCE_S));
    for (uint64_t i = 0; i < rounds; i++)
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() * (i % 2));
    wrmsr(MSR_TSC_DEADLINE, 0);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED);
    interrupts_off();
}

// The 8254 at its fastest, with NMIs from the IOAPIC and with interrupts from the 8259.
static void flood_pit(void) {
    uint32_t before = trap_count[EXC_NMI];
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT) + 1, 0);
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT), NMI_ENTRY);
    pit_start(2, 2);
    CHECK(wait_for(&trap_count[EXC_NMI], before + 20, PATIENCE_S));
    ioapic_write(IOAPIC_ENTRY(IOAPIC_PIT), IOAPIC_MASKED);
    pit_start(0, UINT16_MAX);
}

static void flood_exits(uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++) {
        out8(0x80, (uint8_t)i);
        out16((uint16_t)random_below(32) + 0xc000, (uint16_t)i);
        (void)cpuid((uint32_t)random_value(), 0);
        (void)ioapic_read(random_below(64));
        (void)mmio_read32(0xd0000000ULL + random_below(4096) * 4ULL);
    }
}

static void flood_serial(uint64_t rounds) {
    for (uint64_t i = 0; i < rounds; i++) {
        char line[LINE + 1];
        for (uint32_t k = 0; k < LINE; k++)
            line[k] = (char)('a' + random_below(26));
        line[LINE] = '\0';
        print("%s\n", line);
    }
}

void test(void) {
    hostile_init(1000);
    lapic_init(cmdline_has("x2apic"));
    pic_init();
    for (unsigned vector = 0x20; vector < 0x100; vector++)
        trap_set_handler((uint8_t)vector, on_interrupt);
    trap_set_handler(EXC_NMI, on_nmi);
    flood_self(hostile_rounds);
    flood_nmi(hostile_rounds);
    flood_timer(hostile_rounds);
    flood_pit();
    flood_exits(hostile_rounds);
    flood_serial(hostile_rounds / 20);
}
