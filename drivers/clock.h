// SPDX-License-Identifier: Apache-2.0
// What the host's clocks are worth: the rate of the TSC and of the local APIC's timer, and the time
// of day. Context: boot CPU, interrupts off.
#pragma once

#include "lib/types.h"

// Sets tsc_hz (arch/tsc.h) and calls lapic_timer_init, after acpi_init and lapic_init_cpu. CPUID's
// word is taken when the PM timer confirms it; else the TSC is measured for 5 ms against the PM
// timer or the 8254. False: the machine has no clock that we know; tsc_hz is unchanged.
bool clock_init(void);

// The CMOS clock, taken as UTC, in seconds since 1970, and the TSC at that moment. The seconds are
// whole: up to one second late. False: no clock, or not a date.
bool clock_read_utc(uint64_t *seconds, uint64_t *tsc);
