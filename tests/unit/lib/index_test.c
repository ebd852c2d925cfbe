// SPDX-License-Identifier: Apache-2.0
// lib/index.h: what is below the count stays, everything else is 0.
#include <criterion/criterion.h>

#include "lib/index.h"

Test(index, mask_keeps_what_is_below_and_nothing_else) {
    const uint64_t counts[] = {0,    1,          2,          47,         64,        255,
                               4096, 1ULL << 31, 1ULL << 32, 1ULL << 63, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_COUNT(counts); i++) {
        uint64_t count = counts[i];
        const uint64_t indices[] = {0,          1,         count - 2, count - 1,
                                    count,      count + 1, 2 * count, count | 1ULL << 63,
                                    UINT64_MAX, 1ULL << 32};
        for (unsigned k = 0; k < ARRAY_COUNT(indices); k++)
            cr_expect_eq(index_mask(indices[k], count), indices[k] < count ? indices[k] : 0,
                         "%#lx of %#lx", indices[k], count);
    }
}

// Narrow indices, as callers have them, and constants as counts.
Test(index, mask_takes_narrow_indices) {
    uint32_t low = 63, high = 64, huge = UINT32_MAX;
    uint8_t byte = 255;
    cr_expect_eq(index_mask(low, 64u), 63);
    cr_expect_eq(index_mask(high, 64u), 0);
    cr_expect_eq(index_mask(huge, 64u), 0);
    cr_expect_eq(index_mask(byte, 256), 255);
}
