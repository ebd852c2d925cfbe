// SPDX-License-Identifier: Apache-2.0
// What hostile guests share: a seeded source of random numbers, and a number of rounds, both from
// the command line (`seed=N rounds=N`), so that each run can be repeated and made longer.
#pragma once

#include "lib/types.h"

// Takes the command line's words over, and prints them. First of all in `test`.
void hostile_init(uint32_t default_rounds);
extern uint64_t hostile_rounds;

uint64_t random64(void);
// 0 to limit - 1.
uint32_t random_below(uint32_t limit);
// One chance in `n`.
bool random_one_in(uint32_t n);
// A value that programs fail on: small numbers, single bits, masks, addresses of devices, halves of
// anything; as often any number at all.
uint64_t random_value(void);
void random_fill(void *to, size_t size);
