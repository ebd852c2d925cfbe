// SPDX-License-Identifier: Apache-2.0
// The rate of the TSC, measured against a counter whose rate is known, over all the time that the
// boot application runs; and the firmware's date. No UEFI calls and no hardware, so that the host's
// tests can link it; clock.c reads the hardware.
//
//   boot_clock_begin   two samples some milliseconds apart: a first idea of the rate
//   boot_clock_add     one more, any time later: how often the counter wrapped is known from the
//                      idea
//   boot_clock_again   anew with the same counter, where those came apart; not without end
//   boot_clock_rate    the rate, and what it may be wrong by
//   boot_clock_is_rate whether the kernel takes it
//   boot_clock_told    the rate that CPUID tells
//   boot_clock_apart, boot_clock_agrees   whether that holds
//   boot_clock_utc     a date in seconds since 1970
#pragma once

#include <stdbool.h>
#include <stdint.h>

// Both at one moment, give or take half of `span`.
struct boot_clock_sample {
    uint64_t tsc;
    uint64_t ticks; // of the counter, below or equal to its mask
    uint64_t span;  // TSC ticks that the reading took
};

struct boot_clock {
    uint64_t hz;                                  // of the counter, known
    uint64_t mask;                                // the counter wraps behind it: 2^n - 1
    struct boot_clock_sample first, middle, last; // their ticks go on where the counter wraps
    uint32_t again;                               // how often boot_clock_again was called
};

#define BOOT_CLOCK_AGAIN_MAX 16u

// Starts anew with a counter that ticks `hz` times a second. Between both samples the counter must
// have wrapped less than once. False: it stands still, or the TSC does.
bool boot_clock_begin(struct boot_clock *clock, uint64_t hz, uint64_t mask,
                      struct boot_clock_sample first, struct boot_clock_sample second);
// False, with the clock unchanged: so long after the last one that it is not known how often the
// counter wrapped, or the counter and the TSC have come apart.
bool boot_clock_add(struct boot_clock *clock, struct boot_clock_sample sample);
// Starts anew with the same counter. False: it stands still, or this happened more often than
// BOOT_CLOCK_AGAIN_MAX since boot_clock_begin: what it reads is noise.
bool boot_clock_again(struct boot_clock *clock, struct boot_clock_sample first,
                      struct boot_clock_sample second);
// The TSC's rate in Hz between the first sample and the last. `*error` is the bound of its error in
// parts per billion: what reading the counters may have cost, and how much further the rates before
// and after the middle are apart than that explains. The counter's own error is not in it.
uint64_t boot_clock_rate(const struct boot_clock *clock, uint64_t *error);

// Is that a rate that include/boot.h allows?
bool boot_clock_is_rate(uint64_t hz);

// What CPUID says: leaf 15H (eax, ebx, ecx) and the base frequency of leaf 16H (in MHz), 0 where a
// leaf is not there. 0: not told, or none that the kernel takes. SDM 3B 18.7.3 "Determining the
// Processor Base Frequency".
uint64_t boot_clock_told(const uint32_t leaf15[3], uint32_t base_mhz);
// How far what CPUID tells is from what was measured, in ppb of that.
uint64_t boot_clock_apart(uint64_t told, uint64_t measured);
// Is that within the error of the measurement? Leaf 16H has whole MHz and tells what was meant, and
// crystals are off: what was measured is the better one where it can tell them apart.
bool boot_clock_agrees(uint64_t told, uint64_t measured, uint64_t error);

// As EFI_TIME has it (UEFI 2.10 8.3 "Time Services"); `zone` in minutes west of Greenwich, or 2047
// for none.
struct boot_date {
    uint32_t year, month, day, hour, minute, second;
    int32_t zone;
};
// Seconds since 1970-01-01, UTC; a date without a zone is taken for UTC. False: not a date from
// 1970 on.
bool boot_clock_utc(const struct boot_date *date, uint64_t *seconds);
