// SPDX-License-Identifier: Apache-2.0
// See kernel/vmtime.h.
#include "kernel/vmtime.h"

#include "arch/x86.h"

#define RATIO_MAX (BIT(8 + VMTIME_RATIO_BITS) - 1)
#define RATIO_MIN BIT(VMTIME_RATIO_BITS - 8)
#define FAR       BIT(62) // host ticks that nobody waits for

// value / by, or FAR where that is more.
static uint64_t divide(vmtime_wide value, uint64_t by) {
    uint64_t high = (uint64_t)(value >> 64);
    return high < by / 4 ? x86_div(high, (uint64_t)value, by) : FAR;
}

uint64_t vmtime_ratio(uint64_t hz, uint64_t host_hz) {
    uint64_t ratio = divide(((vmtime_wide)hz << VMTIME_RATIO_BITS) + host_hz / 2, host_hz);
    return ratio >= RATIO_MIN && ratio <= RATIO_MAX ? ratio : 0;
}

// By the distance from now, less the part of a tick that the clock has counted already, so that
// clocks that wrap do no harm; rounded up.
uint64_t vmtime_host(const struct vm *vm, uint64_t at) {
    if (vm->tsc_ratio == 0)
        return at;
    uint64_t now = x86_rdtsc();
    vmtime_wide product = (vmtime_wide)now * vm->tsc_ratio;
    uint64_t ahead = at - (uint64_t)(product >> VMTIME_RATIO_BITS);
    if ((int64_t)ahead <= 0)
        return now;
    uint64_t part = (uint64_t)product & (BIT(VMTIME_RATIO_BITS) - 1);
    return now + divide(((vmtime_wide)ahead << VMTIME_RATIO_BITS) - part + vm->tsc_ratio - 1,
                        vm->tsc_ratio);
}
