// SPDX-License-Identifier: Apache-2.0
// A bitmap in which the next set bit is found in a few steps, however large it is and whatever it
// holds: above its words lie levels of summaries, where each bit stands for one word of the level
// below and is set when that word is not zero.
//
//   bitmap_bytes, bitmap_init    its memory, which is zeroed: no bit is set
//   bitmap_set                   changes a range; in steps for each word of it
//   bitmap_next                  the nearest set bit upwards
//   bitmap_run                   the first clear bit of a range: looks at each word
//
// Locks: the owner's.
#pragma once

#include "lib/types.h"

#define BITMAP_LEVELS 6u // 64^6 bits: of more the top level is searched word by word

struct bitmap {
    uint64_t count; // bits
    uint64_t *word[BITMAP_LEVELS];
};

uint64_t bitmap_bytes(uint64_t count);
// Returns what is behind its memory.
void *bitmap_init(struct bitmap *map, void *memory, uint64_t count);
void bitmap_set(struct bitmap *map, uint64_t first, uint64_t count, bool value);
// The first set bit from `i` on; `count` of the map: there is none.
uint64_t bitmap_next(const struct bitmap *map, uint64_t i);
// The first clear bit of [first, end); `end`: all are set.
uint64_t bitmap_run(const struct bitmap *map, uint64_t first, uint64_t end);
