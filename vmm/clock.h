// SPDX-License-Identifier: Apache-2.0
// The VM's own monotonic clock in nanoseconds (device.h, "Time"), computed from the TSC. No division
// after clock_init.
#pragma once

#include <stdint.h>

struct clock {
    uint64_t tsc_base;   // TSC at which ...
    uint64_t ns_base;    // ... the clock showed this
    uint64_t ns_per_tsc; // fixed point, 32 bits behind the point
    uint64_t tsc_per_ns; // fixed point, 31 bits behind the point
};

// The clock shows `ns` at TSC `tsc`. `tsc_hz` is from 1 MHz to 8 GHz.
void clock_init(struct clock *clock, uint64_t tsc_hz, uint64_t tsc, uint64_t ns);

// What the clock shows at a TSC value not before tsc_base.
uint64_t clock_ns(const struct clock *clock, uint64_t tsc);

// The TSC value at which the clock will show `ns`, seen from TSC value `tsc`: `tsc` itself when it shows as
// much already, UINT64_MAX for what is years away. May be early by a nanosecond a second.
uint64_t clock_tsc(const struct clock *clock, uint64_t tsc, uint64_t ns);

// Nanoseconds since 1970 (below 2^63) at which the guest's own clock, which shows `guest_ticks` of its TSC
// now, showed 0; that TSC counts at `guest_hz`. It is `utc_ticks` since the date was `utc_seconds`.
uint64_t clock_boot_ns(const struct clock *clock, uint64_t utc_seconds, uint64_t utc_ticks,
                       uint64_t guest_ticks, uint64_t guest_hz);

// The processor's time-stamp counter.
static inline uint64_t clock_read_tsc(void) {
    return __builtin_ia32_rdtsc();
}
