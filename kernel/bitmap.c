// SPDX-License-Identifier: Apache-2.0
// See kernel/bitmap.h.
#include "kernel/bitmap.h"

#define WORD_BITS 64u

static uint64_t level_words(uint64_t count, unsigned level) {
    for (unsigned i = 0; i <= level; i++)
        count = (count + WORD_BITS - 1) / WORD_BITS;
    return count;
}

uint64_t bitmap_bytes(uint64_t count) {
    uint64_t words = 0;
    for (unsigned level = 0; level < BITMAP_LEVELS; level++)
        words += level_words(count, level);
    return words * sizeof(uint64_t);
}

void *bitmap_init(struct bitmap *map, void *memory, uint64_t count) {
    uint64_t *words = memory;
    map->count = count;
    for (unsigned level = 0; level < BITMAP_LEVELS; level++) {
        map->word[level] = words;
        words += level_words(count, level);
    }
    return words;
}

// Bits [first, end) of one level.
static void set_level(uint64_t *word, uint64_t first, uint64_t end, bool value) {
    while (first < end) {
        uint64_t shift = first % WORD_BITS, n = MIN(end - first, WORD_BITS - shift);
        uint64_t mask = (~0ULL >> (WORD_BITS - n)) << shift;
        if (value)
            word[first / WORD_BITS] |= mask;
        else
            word[first / WORD_BITS] &= ~mask;
        first += n;
    }
}

// The level above has a bit for each word that is not zero. Of those that changed, only the first
// and the last one can be different from what `value` says.
void bitmap_set(struct bitmap *map, uint64_t first, uint64_t count, bool value) {
    uint64_t end = first + count;
    for (unsigned level = 0; level < BITMAP_LEVELS && first < end; level++) {
        uint64_t *word = map->word[level];
        uint64_t low = first / WORD_BITS, high = (end - 1) / WORD_BITS, old = word[low];
        set_level(word, first, end, value);
        if (low == high && (old == 0) == (word[low] == 0))
            return;
        first = low + (!value && word[low] != 0);
        end = high + (value || word[high] == 0);
    }
}

uint64_t bitmap_next(const struct bitmap *map, uint64_t i) {
    unsigned level = 0;
    uint64_t bits = 0, count = map->count; // of this level
    while (i < count && (bits = map->word[level][i / WORD_BITS] >> i % WORD_BITS) == 0) {
        i = i / WORD_BITS + 1;
        if (level + 1 < BITMAP_LEVELS)
            count = level_words(map->count, level++);
        else
            i *= WORD_BITS;
    }
    if (i >= count)
        return map->count;
    i += (uint64_t)__builtin_ctzll(bits);
    while (level-- > 0)
        i = i * WORD_BITS + (uint64_t)__builtin_ctzll(map->word[level][i]);
    return i;
}

uint64_t bitmap_run(const struct bitmap *map, uint64_t first, uint64_t end) {
    while (first < end) {
        uint64_t clear = ~map->word[0][first / WORD_BITS] >> first % WORD_BITS;
        if (clear != 0)
            return MIN(first + (uint64_t)__builtin_ctzll(clear), end);
        first = align_down(first, WORD_BITS) + WORD_BITS;
    }
    return end;
}
