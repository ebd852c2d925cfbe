// SPDX-License-Identifier: Apache-2.0
// The interface is told in dice.h.
#include "runtime/dice.h"

#include "include/abi.h"

// splitmix64: any seed will do, 0 included. (G. Steele, D. Lea, C. Flood, "Fast Splittable
// Pseudorandom Number Generators", 2014.)
uint64_t dice_roll(struct dice *dice) {
    dice->state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = dice->state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

uint32_t dice_below(struct dice *dice, uint32_t limit) {
    return (uint32_t)((dice_roll(dice) >> 32) * limit >> 32);
}

bool dice_one_in(struct dice *dice, uint32_t n) {
    return dice_below(dice, n) == 0;
}

uint64_t dice_value(struct dice *dice) {
    static const uint64_t borders[] = {
        ABI_USER_BASE, ABI_USER_END, 0x800000000000ULL, 0xffff800000000000ULL,   1ULL << 52,
        UINT32_MAX,    UINT64_MAX,   INT64_MAX,         (uint64_t)INT64_MAX + 1,
    };
    uint64_t bit = BIT(dice_below(dice, 64));
    switch (dice_below(dice, 8)) {
    case 0:
        return dice_below(dice, 16);
    case 1:
        return bit;
    case 2:
        return bit - 1;
    case 3:
        return ~bit;
    case 4:
        return borders[dice_below(dice, ARRAY_COUNT(borders))] + dice_below(dice, 16) - 8;
    case 5:
        return (uint32_t)dice_roll(dice);
    default:
        return dice_roll(dice);
    }
}

uint64_t dice_address(struct dice *dice) {
    static const uint64_t borders[] = {
        0,
        ABI_CALL_PAGE,
        ABI_START_ADDRESS,
        ABI_USER_BASE,
        ABI_USER_END,
        0x800000000000ULL,
        0xffff800000000000ULL,
        0,
    };
    uint64_t within = dice_below(dice, 2 * ABI_PAGE);
    switch (dice_below(dice, 5)) {
    case 0: // where a window of the kernel's may begin: at any root entry
        return (0xffff800000000000ULL | (uint64_t)dice_below(dice, 256) << 39) + within;
    case 1:
        return 0xffffffff80000000ULL + dice_below(dice, 1u << 20);
    case 2:
        return borders[dice_below(dice, ARRAY_COUNT(borders))] + within - ABI_PAGE;
    case 3:
        return dice_roll(dice) & (ABI_USER_END - 1);
    default:
        return dice_roll(dice);
    }
}
