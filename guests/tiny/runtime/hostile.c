// SPDX-License-Identifier: Apache-2.0
// The interface is told in hostile.h.
#include "runtime/hostile.h"

#include "runtime/tiny.h"

uint64_t hostile_rounds;
static uint64_t state;

void hostile_init(uint32_t default_rounds) {
    uint64_t seed = cmdline_number("seed");
    hostile_rounds = cmdline_number("rounds");
    if (hostile_rounds == 0)
        hostile_rounds = default_rounds;
    print("seed=%lu rounds=%lu\n", seed, hostile_rounds);
    state = seed;
}

// splitmix64: any seed will do, 0 included. (G. Steele, D. Lea, C. Flood, "Fast Splittable
// Pseudorandom Number Generators", 2014.)
uint64_t random64(void) {
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

uint32_t random_below(uint32_t limit) {
    return (uint32_t)((random64() >> 32) * limit >> 32);
}

bool random_one_in(uint32_t n) {
    return random_below(n) == 0;
}

uint64_t random_value(void) {
    static const uint64_t places[] = {
        0xfee00000, 0xfec00000, 0xd0000000,         0xa0000,
        0x7fffff,   0x800000,   0x7fffffffffffULL,  0x800000000000ULL,
        UINT32_MAX, UINT64_MAX, 0x7fffffffffffffff, 0xffff800000000000ULL,
    };
    uint64_t bit = BIT(random_below(64));
    switch (random_below(8)) {
    case 0:
        return random_below(16);
    case 1:
        return bit;
    case 2:
        return bit - 1;
    case 3:
        return ~bit;
    case 4:
        return places[random_below(ARRAY_COUNT(places))] + random_below(16) - 8;
    case 5:
        return (uint32_t)random64();
    default:
        return random64();
    }
}

void random_fill(void *to, size_t size) {
    uint8_t *bytes = to;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random64();
}
