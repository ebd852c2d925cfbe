// SPDX-License-Identifier: Apache-2.0
// See boot/boot_apic.h.
#include "boot/boot_apic.h"

#include "lib/types.h"

#define APIC_SVR     0x0f0u
#define APIC_LVT     0x320u // of the timer
#define APIC_INITIAL 0x380u
#define APIC_CURRENT 0x390u
#define APIC_DIVIDE  0x3e0u

#define SVR_ENABLE        BIT(8)
#define LVT_MASKED        BIT(16)
#define LVT_VECTOR        0xffu // any that is allowed: it is masked
#define DIVIDE_BY_1       0xbu  // as in arch/lapic.c
#define SAMPLE_TRIES      3u
#define MEASURES_A_SECOND 200u

// Timer and TSC at one moment: the try that took the shortest, so an SMI in between does no harm.
static uint64_t sample(const struct boot_apic *apic, uint32_t *count) {
    uint64_t best = UINT64_MAX, at = 0;
    for (uint32_t i = 0; i < SAMPLE_TRIES; i++) {
        uint64_t before = apic->rdtsc();
        uint32_t now = apic->read(APIC_CURRENT);
        uint64_t span = apic->rdtsc() - before;
        if (span < best) {
            best = span;
            at = before + span / 2;
            *count = now;
        }
    }
    return at;
}

uint64_t boot_apic_timer_hz(const struct boot_apic *apic, uint64_t tsc_hz) {
    uint32_t first, last, svr = apic->read(APIC_SVR);
    apic->write(APIC_SVR, svr | (uint32_t)SVR_ENABLE);
    // The mode first: in TSC-deadline mode the initial count is not taken.
    apic->write(APIC_LVT, (uint32_t)LVT_MASKED | LVT_VECTOR);
    apic->write(APIC_DIVIDE, DIVIDE_BY_1);
    apic->write(APIC_INITIAL, UINT32_MAX);
    uint64_t start = sample(apic, &first);
    while (apic->rdtsc() - start < tsc_hz / MEASURES_A_SECOND)
        __builtin_ia32_pause();
    uint64_t end = sample(apic, &last);
    apic->write(APIC_INITIAL, 0);
    apic->write(APIC_SVR, svr);
    return (uint64_t)(first - last) * tsc_hz / (end - start);
}
