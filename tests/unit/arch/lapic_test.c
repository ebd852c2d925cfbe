// SPDX-License-Identifier: Apache-2.0
// arch/lapic: what the timer is set to, and which sources are masked.
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

static uint64_t now = 1000000, deadline;
static uint64_t lapic_test_rdtsc(void) {
    return now += 20;
}
static uint32_t last_entry, enabled_at, error_at,
    writes;               // of the LVT; when SVR, error were written
static uint64_t lvt[256]; // by register / 16
static uint64_t lapic_test_rdmsr(uint32_t msr) {
    if (msr == MSR_APIC_BASE)
        return APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    if (msr == MSR_X2APIC_FIRST + LAPIC_VERSION / 16)
        return last_entry << 16 | 0x15;
    return lvt[msr - MSR_X2APIC_FIRST];
}
static void lapic_test_wrmsr(uint32_t msr, uint64_t value) {
    if (msr == MSR_TSC_DEADLINE) {
        deadline = value;
        return;
    }
    writes++;
    enabled_at = msr == MSR_X2APIC_FIRST + LAPIC_SVR / 16 ? writes : enabled_at;
    error_at = msr == MSR_X2APIC_FIRST + LAPIC_LVT_ERROR / 16 ? writes : error_at;
    lvt[(msr - MSR_X2APIC_FIRST) % 256] = value;
}

// 100 MHz against 2.4 GHz.
Test(arch_lapic, timer_counts_until_the_deadline) {
    cpu_features = (struct cpu_features){.has_x2apic = true};
    last_entry = 6;
    lapic_init(NULL, 2400000000, 100000000);
    lapic_init_cpu();
    cr_assert_eq(lvt[LAPIC_TIMER_DIVIDE / 16], DIVIDE_BY_1);
    cr_assert_eq(lvt[LAPIC_LVT_TIMER / 16], VECTOR_TIMER);
    lapic_timer_set(now + 24000000);
    uint64_t count = lvt[LAPIC_TIMER_INITIAL / 16];
    cr_assert(count > 999900 && count < 1000100, "%lu", count);
    lapic_timer_set(UINT64_MAX);
    cr_assert_leq(lvt[LAPIC_TIMER_INITIAL / 16], 100000100, "a second at most");
    lapic_timer_set(now - 1000);
    cr_assert_eq(lvt[LAPIC_TIMER_INITIAL / 16], 1);
    lapic_timer_stop();
    cr_assert_eq(lvt[LAPIC_TIMER_INITIAL / 16], 0);
}

Test(arch_lapic, timer_on_the_deadline_does_not_count) {
    cpu_features = (struct cpu_features){.has_x2apic = true, .has_tsc_deadline = true};
    last_entry = 6;
    lapic_init(NULL, 2400000000, 0);
    lapic_init_cpu();
    cr_assert_eq(lvt[LAPIC_LVT_TIMER / 16], VECTOR_TIMER | LVT_TIMER_DEADLINE);
    lapic_timer_set(12345);
    cr_assert_eq(deadline, 12345);
    lapic_timer_stop();
    cr_assert_eq(deadline, 0);
    cr_assert_eq(lvt[LAPIC_TIMER_INITIAL / 16], 0);
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
