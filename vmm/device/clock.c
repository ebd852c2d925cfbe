// SPDX-License-Identifier: Apache-2.0
// Device time; the interface is told in clock.h. The factors are cut off below a part in 10^9,
// and clock_tsc goes by the distance from now, so that no error adds up over the life of the VM.
#include "vmm/device/clock.h"

#define NS_PER_SECOND 1000000000ULL
#define NS_SHIFT      32
#define TSC_SHIFT     31
#define FAR_NS        (1ULL << 60)

static uint64_t multiply_shift(uint64_t value, uint64_t factor, unsigned shift) {
    return (uint64_t)(((unsigned __int128)value * factor) >> shift);
}

void clock_init(struct clock *clock, uint64_t tsc_hz, uint64_t tsc, uint64_t ns) {
    clock->tsc_base = tsc;
    clock->ns_base = ns;
    clock->ns_per_tsc = (NS_PER_SECOND << NS_SHIFT) / tsc_hz;
    clock->tsc_per_ns = (tsc_hz << TSC_SHIFT) / NS_PER_SECOND;
}

uint64_t clock_ns(const struct clock *clock, uint64_t tsc) {
    return clock->ns_base + multiply_shift(tsc - clock->tsc_base, clock->ns_per_tsc, NS_SHIFT);
}

uint64_t clock_tsc(const struct clock *clock, uint64_t tsc, uint64_t ns) {
    uint64_t now = clock_ns(clock, tsc);
    if (ns <= now)
        return tsc;
    if (ns - now >= FAR_NS)
        return UINT64_MAX;
    return tsc + multiply_shift(ns - now, clock->tsc_per_ns, TSC_SHIFT) + 1;
}

uint64_t clock_ticks_ns(uint64_t ticks, uint64_t hz) {
    return multiply_shift(ticks, (NS_PER_SECOND << NS_SHIFT) / hz, NS_SHIFT);
}
