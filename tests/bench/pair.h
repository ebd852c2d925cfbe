// SPDX-License-Identifier: Apache-2.0
// What two processors cost that send each other interrupts, in ticks of the TSC, which they share.
// After smp_start; prints medians as `bench NAME TICKS`.
#pragma once

// Each has a CPU of its own: from the write of ICR to the first instruction of the other's handler,
// while that one runs and while it is halted; the mean of both directions, so that a difference of
// their TSCs cancels out. Word `pair`.
void pair_measure_interrupts(void);
// They share a CPU: both wait halted, so each interrupt is a switch from one to the other; half a
// round trip.
void pair_measure_switch(void);
