// SPDX-License-Identifier: Apache-2.0
// Indices that somebody else chose. A processor runs ahead of a branch: behind "if (index < count)"
// it may read table[index] with an index that is not, and what it reads shows in the caches
// (Spectre variant 1; Intel, "Bounds Check Bypass"). So who has checked an index of a guest's or of
// ring 3's also cuts it, without a branch.
#pragma once

#include "lib/types.h"

// `index` where it is below `count`, and 0 where it is not, also in what the processor only
// supposes.
static inline uint64_t index_mask(uint64_t index, uint64_t count) {
    uint64_t mask;
    __asm__ volatile("cmp %2, %1\n\t"
                     "sbb %0, %0"
                     : "=r"(mask)
                     : "r"(index), "er"(count)
                     : "cc");
    return index & mask;
}
