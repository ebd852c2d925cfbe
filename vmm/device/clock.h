// SPDX-License-Identifier: Apache-2.0
// Device time: monotonic, in nanoseconds (device.h, "Time"), computed from the host's TSC. No
// division after clock_init.
#pragma once

#include <stdint.h>

// Rates that differ by no more than two crystals do are the same.
#define CLOCK_TOLERANCE_PPM 250u

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

// The TSC value at which the clock will show `ns`, seen from TSC value `tsc`: `tsc` itself when it
// shows as much already, UINT64_MAX for what is years away. May be early by a nanosecond a second.
uint64_t clock_tsc(const struct clock *clock, uint64_t tsc, uint64_t ns);

// How many nanoseconds the ticks of a counter are that runs at `hz`.
uint64_t clock_ticks_ns(uint64_t ticks, uint64_t hz);

// The processor's time-stamp counter.
static inline uint64_t clock_read_tsc(void) {
    return __builtin_ia32_rdtsc();
}
