// SPDX-License-Identifier: Apache-2.0
// What the parts of the self-check share: selfcheck.c has the order of the checks, selfcheck_smp.c
// those of several processors, selfcheck_ptp.c that of the host's clock.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

// Prints `selfcheck: FAIL ...` and ends the program.
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);
// Adds to the line `selfcheck: PASS ...`.
__attribute__((format(printf, 1, 2))) void pass(const char *format, ...);
void read_text(const char *path, char *text, size_t size);
int64_t now_ns(void);

// Nothing to do on a bare machine.
void check_host_clock(void);
// Nothing to do with one processor.
void check_processors_together(unsigned cpu_count);
