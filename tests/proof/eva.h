// SPDX-License-Identifier: Apache-2.0
// For the drivers that Eva starts from: inputs that may have any value.
#pragma once

#include "lib/types.h"

extern volatile uint64_t eva_any; // to Eva each read is another value
extern volatile uint32_t eva_word;
extern volatile uint8_t eva_byte;

static inline bool any_bool(void) {
    return eva_byte != 0;
}

static inline uint8_t any_u8(void) {
    return eva_byte;
}

static inline uint32_t any_u32(void) {
    return eva_word;
}

static inline uint64_t any_u64(void) {
    return eva_any;
}

static inline uint64_t any_within(uint64_t min, uint64_t max) {
    uint64_t value = eva_any;
    return value < min ? min : value > max ? max : value;
}

static inline uint64_t any_below(uint64_t limit) {
    return eva_any % limit;
}
