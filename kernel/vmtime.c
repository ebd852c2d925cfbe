// SPDX-License-Identifier: Apache-2.0
// See kernel/vmtime.h.
#include "kernel/vmtime.h"

#include "arch/x86.h"

#define RATIO_MAX (BIT(8 + VMTIME_RATIO_BITS) - 1)
#define RATIO_MIN BIT(VMTIME_RATIO_BITS - 8)
#define FAR       BIT(62) // host ticks that nobody waits for

// (value << VMTIME_RATIO_BITS) / by, or FAR where that is more.
static uint64_t divide(uint64_t value, uint64_t by) {
    uint64_t high = value >> (64 - VMTIME_RATIO_BITS);
    return high < by / 4 ? x86_div(high, value << VMTIME_RATIO_BITS, by) : FAR;
}

uint64_t vmtime_ratio(uint64_t hz, uint64_t host_hz) {
    // Twice as much, and half of that rounded up: to the nearest.
    uint64_t ratio = hz < FAR ? (divide(2 * hz, host_hz) + 1) / 2 : 0;
    return ratio >= RATIO_MIN && ratio <= RATIO_MAX ? ratio : 0;
}

// By the distance from now, so that clocks that wrap do no harm. The product of a sum, cut off, is at least the sum of
// the products, cut off: as many ticks as make up the distance, rounded up, are never too few.
uint64_t vmtime_host(const struct vm *vm, uint64_t at) {
    if (vm->tsc_ratio == 0)
        return at;
    uint64_t now = x86_rdtsc();
    uint64_t ahead = at - vmtime_at(vm, now);
    return (int64_t)ahead > 0 ? now + divide(ahead, vm->tsc_ratio) + 1 : now;
}
