// SPDX-License-Identifier: Apache-2.0
// See arch/lapic.h.
#include "arch/lapic.h"

#include "arch/cpu.h"

#define LVT_DELIVERY_SMI (2ULL << 8)
#define VERSION_LAST(x)  ((x) >> 16 & 0xff) // number of the last LVT entry
#define DIVIDE_BY_1      0xb                // as boot/boot_apic.c measured
#define ICR_BUSY         BIT(12)

static volatile uint32_t *mmio; // NULL: x2APIC
static uint64_t tsc_rate, timer_rate;

static uint64_t lapic_read(enum lapic_register reg) {
    if (mmio == NULL)
        return x86_rdmsr(MSR_X2APIC_FIRST + (uint32_t)reg / 16);
    return mmio[reg / 4];
}

static void lapic_write(enum lapic_register reg, uint32_t value) {
    if (mmio == NULL)
        x86_wrmsr(MSR_X2APIC_FIRST + (uint32_t)reg / 16, value);
    else
        mmio[reg / 4] = value;
}

void lapic_init(volatile uint32_t *registers, uint64_t tsc_hz, uint64_t timer_hz) {
    tsc_rate = tsc_hz;
    timer_rate = timer_hz;
    mmio = cpu_features.has_x2apic ? NULL : registers;
}

static void timer_set_mode(void) {
    lapic_write(LAPIC_TIMER_DIVIDE, DIVIDE_BY_1);
    lapic_write(LAPIC_LVT_TIMER,
                (cpu_features.has_tsc_deadline ? LVT_TIMER_DEADLINE : 0) | VECTOR_TIMER);
}

// Entries 2 to 6 of the local vector table, as far as there are so many. What arrives as an SMI is
// the firmware's, such as the thermal sensor.
static void mask_sources(void) {
    static const enum lapic_register entries[] = {LAPIC_LVT_LINT0, LAPIC_LVT_LINT1, LAPIC_LVT_PERF,
                                                  LAPIC_LVT_THERMAL, LAPIC_LVT_CMCI};
    uint64_t last = VERSION_LAST(lapic_read(LAPIC_VERSION));
    for (unsigned i = 0; i < ARRAY_COUNT(entries) && i + 2 <= last; i++)
        if ((lapic_read(entries[i]) & LVT_DELIVERY_MODE) != LVT_DELIVERY_SMI)
            lapic_write(entries[i], LVT_MASKED);
}

void lapic_init_cpu(void) {
    uint64_t base = x86_rdmsr(MSR_APIC_BASE);
    if (mmio == NULL && (base & APIC_BASE_X2APIC) == 0) {
        // From disabled the way to x2APIC leads through xAPIC mode (SDM 3A 11.12.5).
        x86_wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
        x86_wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    }
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    mask_sources();
    // While software has it disabled, no mask bit can be cleared (SDM 3A 11.4.7.2).
    lapic_write(LAPIC_SVR, SVR_ENABLED | VECTOR_SPURIOUS);
    lapic_write(LAPIC_LVT_ERROR, VECTOR_ERROR);
    timer_set_mode();
}

uint32_t lapic_get_id(void) {
    uint32_t id = (uint32_t)lapic_read(LAPIC_ID);
    return mmio == NULL ? id : id >> 24;
}

void lapic_eoi(void) {
    lapic_write(LAPIC_EOI, 0);
}

void lapic_send(uint32_t apic_id, uint64_t command) {
    command |= ICR_ASSERT;
    if (mmio == NULL) {
        // The write is not ordered behind earlier stores by itself (SDM 3A 11.12.3).
        __asm__ volatile("mfence; lfence" ::: "memory");
        x86_wrmsr(MSR_X2APIC_FIRST + LAPIC_ICR / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    while ((lapic_read(LAPIC_ICR) & ICR_BUSY) != 0)
        x86_pause();
    lapic_write(LAPIC_ICR2, apic_id << 24);
    lapic_write(LAPIC_ICR, (uint32_t)command);
}

void lapic_timer_set(uint64_t deadline) {
    if (cpu_features.has_tsc_deadline) {
        x86_wrmsr(MSR_TSC_DEADLINE, deadline);
        return;
    }
    uint64_t now = x86_rdtsc();
    // At most 2^32 / timer_hz seconds: shorter waits are simply set again when they fire.
    uint64_t ticks = deadline > now ? MIN(deadline - now, tsc_rate) : 0;
    uint64_t count = ticks * (timer_rate >> 8) / (tsc_rate >> 8) + 1;
    lapic_write(LAPIC_TIMER_INITIAL, (uint32_t)MIN(count, UINT32_MAX));
}

void lapic_timer_stop(void) {
    if (cpu_features.has_tsc_deadline)
        x86_wrmsr(MSR_TSC_DEADLINE, 0);
    else
        lapic_write(LAPIC_TIMER_INITIAL, 0);
}
