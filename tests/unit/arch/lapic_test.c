// SPDX-License-Identifier: Apache-2.0
// arch/lapic: the rate of the timer, and which sources are masked.
#include "arch/x86.h"
#define x86_rdtsc    lapic_test_rdtsc
#define x86_rdmsr    lapic_test_rdmsr
#define x86_wrmsr    lapic_test_wrmsr
#define cpu_features lapic_test_cpu_features
static uint64_t lapic_test_rdtsc(void);
static uint64_t lapic_test_rdmsr(uint32_t msr);
static void lapic_test_wrmsr(uint32_t msr, uint64_t value);
struct cpu_features cpu_features;

// Other tests of this binary have stand-ins of these names.
#define lapic_eoi        tested_lapic_eoi
#define lapic_send       tested_lapic_send
#define lapic_timer_set  tested_lapic_timer_set
#define lapic_timer_stop tested_lapic_timer_stop
#include "arch/lapic.c"

#include <criterion/criterion.h>

#define READ_TIME 100u
#define SMI_TIME  1000000u

static struct {
    uint64_t tsc, tsc_hz, timer_hz, start;
    uint64_t initial, lvt;
    uint32_t reads;
} sim;

static uint64_t lapic_test_rdtsc(void) {
    return sim.tsc += 20;
}
static uint32_t last_entry, enabled_at, error_at,
    writes;               // of the LVT; when SVR, error were written
static uint64_t lvt[256]; // by register / 16
static uint64_t lapic_test_rdmsr(uint32_t msr) {
    if (msr == MSR_APIC_BASE)
        return APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    if (msr == MSR_X2APIC_FIRST + LAPIC_VERSION / 16)
        return last_entry << 16 | 0x15;
    if (last_entry != 0)
        return lvt[msr - MSR_X2APIC_FIRST];
    cr_assert_eq(msr, MSR_X2APIC_FIRST + LAPIC_TIMER_CURRENT / 16);
    sim.tsc += READ_TIME / 2;
    uint64_t count = sim.initial - (uint64_t)((unsigned __int128)(sim.tsc - sim.start) *
                                              sim.timer_hz / sim.tsc_hz);
    sim.tsc += READ_TIME / 2 + (sim.reads++ % 3 == 1 ? SMI_TIME : 0);
    return count;
}
static void lapic_test_wrmsr(uint32_t msr, uint64_t value) {
    writes++;
    enabled_at = msr == MSR_X2APIC_FIRST + LAPIC_SVR / 16 ? writes : enabled_at;
    error_at = msr == MSR_X2APIC_FIRST + LAPIC_LVT_ERROR / 16 ? writes : error_at;
    lvt[(msr - MSR_X2APIC_FIRST) % 256] = value;
    if (msr == MSR_X2APIC_FIRST + LAPIC_TIMER_INITIAL / 16) {
        sim.initial = value;
        sim.start = sim.tsc;
    }
    if (msr == MSR_X2APIC_FIRST + LAPIC_LVT_TIMER / 16)
        sim.lvt = value;
}

// The timer's rate is measured by the TSC, while an SMI falls into some of the readings.
Test(arch_lapic, timer_is_measured_by_the_tsc) {
    static const uint64_t rates[] = {1000000, 25000000, 100000000, 1000000000};
    for (size_t i = 0; i < ARRAY_COUNT(rates); i++) {
        mmio = NULL;
        sim.tsc_hz = 2400000000;
        sim.timer_hz = rates[i];
        sim.reads = 0;
        cpu_features.has_tsc_deadline = false;
        cr_assert(lapic_timer_init(sim.tsc_hz));
        uint64_t apart = timer_rate > rates[i] ? timer_rate - rates[i] : rates[i] - timer_rate;
        cr_assert_leq(apart, rates[i] / 1000, "%lu, not %lu", timer_rate, rates[i]);
        cr_assert_eq(sim.initial, 0);
        cr_assert_eq(sim.lvt, VECTOR_TIMER); // not masked any more
    }
    sim.timer_hz = 0;
    cr_assert_not(lapic_timer_init(sim.tsc_hz));
}

Test(arch_lapic, timer_on_the_deadline_is_not_measured) {
    mmio = NULL;
    sim.reads = 0;
    cpu_features.has_tsc_deadline = true;
    cr_assert(lapic_timer_init(2400000000));
    cr_assert_eq(sim.reads, 0);
    cr_assert_eq(sim.lvt, VECTOR_TIMER | LVT_TIMER_DEADLINE);
}

Test(arch_lapic, sources_are_masked_as_far_as_they_are_there) {
    mmio = NULL;
    last_entry = 5; // the thermal sensor; no CMCI
    lvt[LAPIC_LVT_CMCI / 16] = lvt[LAPIC_LVT_PERF / 16] = 0x20;
    lvt[LAPIC_LVT_THERMAL / 16] = 0x200; // an SMI: the firmware's
    lapic_init_cpu();
    cr_assert_eq(lvt[LAPIC_LVT_PERF / 16], LVT_MASKED);
    cr_assert_eq(lvt[LAPIC_LVT_THERMAL / 16], 0x200);
    cr_assert_eq(lvt[LAPIC_LVT_CMCI / 16], 0x20, "a write to it would fault");
    cr_assert_eq(lvt[LAPIC_LVT_LINT0 / 16], LVT_MASKED);
    cr_assert(enabled_at < error_at, "before, its mask could not be cleared");
    last_entry = 6;
    lapic_init_cpu();
    cr_assert_eq(lvt[LAPIC_LVT_CMCI / 16], LVT_MASKED);
}
