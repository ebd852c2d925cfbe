// SPDX-License-Identifier: Apache-2.0
// The machine-check banks of the CPUs: errors that the hardware corrected, or that nobody has met
// with yet. They are looked for every BANKS_PERIOD_NS, counted by CPU and bank, and said with a
// line at the first, the second, the fourth and so on of each.
//
//   banks_service         in each round
//   banks_next_deadline   when a round is due for it
//   banks_print           for the command `info`
#pragma once

#include <stdint.h>

#define BANKS_PERIOD_NS 10000000000ULL
#define BANKS_ROUND_MAX 64u // errors that are taken of one CPU at a time
#define BANKS_ROWS      64u // CPUs and banks that are told apart

void banks_service(void);
uint64_t banks_next_deadline(void); // TSC, ABI_FOREVER: never
void banks_print(void);
