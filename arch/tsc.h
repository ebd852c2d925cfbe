// SPDX-License-Identifier: Apache-2.0
// The host's time-stamp counter, in which all times in the kernel are given: its rate, which the
// boot application found out, and that it shows the same on all CPUs. Times go from one CPU to
// another everywhere, and guests are promised one clock; firmware that has written the counter of
// one CPU alone would break that.
//
// While a CPU starts, tsc_compare there runs tsc_answer on it.
#pragma once

#include "lib/types.h"

extern uint64_t tsc_hz;
// False: some CPU's counter differs from the boot CPU's.
extern bool tsc_is_common;

// On the boot CPU: measures how far the counter of the CPU that runs tsc_answer is ahead of ours.
// What software had added to either is 0 by then (SDM 3B 18.17.3 "Time-Stamp Counter Adjustment").
// Returns the ticks it is ahead, 0 when no difference can be seen.
int64_t tsc_compare(void);
// On the other: answers until the boot CPU is done.
void tsc_answer(void);
