// SPDX-License-Identifier: Apache-2.0
// A seeded source of random numbers that keeps its state where its user says: children have no
// variables of their own.
#pragma once

#include "lib/types.h"

struct dice {
    uint64_t state;
};

uint64_t dice_roll(struct dice *dice);
// 0 to limit - 1.
uint32_t dice_below(struct dice *dice, uint32_t limit);
// One chance in `n`.
bool dice_one_in(struct dice *dice, uint32_t n);
// A value that programs fail on: small numbers, single bits, masks, borders of address spaces,
// halves of anything; as often any number at all.
uint64_t dice_value(struct dice *dice);
// An address: of the kernel's half, on its borders, of the pages that each process has, or any.
uint64_t dice_address(struct dice *dice);
