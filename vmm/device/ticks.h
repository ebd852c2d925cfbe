// SPDX-License-Identifier: Apache-2.0
// Exact conversion between nanoseconds and the ticks of a clock of `hz` (up to 18 MHz): no rounding
// adds up, and ticks_from_ns(ns_from_ticks(t)) == t for every t whose time can be represented.
#pragma once

#include <stdint.h>

#define NS_PER_SECOND 1000000000ULL

// Ticks that have passed at `ns`: floor(ns * hz / 10^9).
static inline uint64_t ticks_from_ns(uint64_t ns, uint32_t hz) {
    return ns / NS_PER_SECOND * hz + ns % NS_PER_SECOND * hz / NS_PER_SECOND;
}

// The first nanosecond at which `ticks` have passed: ceil(ticks * 10^9 / hz).
static inline uint64_t ns_from_ticks(uint64_t ticks, uint32_t hz) {
    return ticks / hz * NS_PER_SECOND + (ticks % hz * NS_PER_SECOND + hz - 1) / hz;
}
