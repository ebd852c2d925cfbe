// SPDX-License-Identifier: Apache-2.0
// kernel/bitmap.c against a model of a byte a bit, in sizes around those of its words and levels.
#include "kernel/bitmap.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BITS_MAX (64u * 64u * 3u + 5u)

static struct bitmap map;
static uint8_t model[BITS_MAX];
static uint64_t seed = 88172645463325252ULL;

static uint64_t roll(uint64_t limit) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % limit;
}

static void open_map(uint64_t count) {
    void *memory = calloc(1, bitmap_bytes(count)); // ASan guards its ends
    cr_assert_not_null(memory);
    memset(model, 0, sizeof(model));
    bitmap_init(&map, memory, count);
}

static void change(uint64_t first, uint64_t count, bool value) {
    bitmap_set(&map, first, count, value);
    memset(model + first, value, count);
}

static uint64_t model_next(uint64_t i) {
    while (i < map.count && !model[i])
        i++;
    return MIN(i, map.count);
}

static void compare(uint64_t i) {
    uint64_t end = i + roll(map.count - i + 1), clear = i;
    while (clear < end && model[clear])
        clear++;
    cr_assert_eq(bitmap_next(&map, i), model_next(i), "next from %lu of %lu", i, map.count);
    cr_assert_eq(bitmap_run(&map, i, end), clear, "run from %lu to %lu", i, end);
}

Test(kernel_bitmap, agrees_with_a_model) {
    const uint64_t counts[] = {1, 63, 64, 65, 4095, 4096, 4097, BITS_MAX};
    for (unsigned n = 0; n < ARRAY_COUNT(counts); n++) {
        open_map(counts[n]);
        for (unsigned round = 0; round < 3000; round++) {
            uint64_t first = roll(map.count),
                     most = MIN(map.count - first, round % 3 == 0 ? map.count : 3);
            change(first, roll(most) + 1, round / 100 % 2 == 0);
            compare(roll(map.count));
            compare(map.count);
            compare(0);
        }
        free(map.word[0]);
    }
}

// What lies between the first page and the last of a level cannot be touched.
static void close_middle(unsigned level, uint64_t bits) {
    uint64_t begin = align_up((uint64_t)map.word[level] + 1, PAGE_SIZE) + PAGE_SIZE;
    uint64_t end = align_down((uint64_t)map.word[level] + bits / 8, PAGE_SIZE) - PAGE_SIZE;
    cr_assert_eq(mprotect((void *)begin, end - begin, PROT_NONE), 0);
}

// 256 TiB of frames, of which the last one is free, or the first: a search that went along would
// end at once.
Test(kernel_bitmap, searches_of_large_ones_go_along_no_level) {
    const uint64_t count = 1ULL << 36;
    void *memory = mmap(NULL, bitmap_bytes(count), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    bitmap_init(&map, memory, count);
    for (unsigned level = 0; level < 3; level++)
        close_middle(level, count >> 6 * level);
    bitmap_set(&map, count - 1, 1, true);
    cr_expect_eq(bitmap_next(&map, 0), count - 1);
    bitmap_set(&map, count - 1, 1, false);
    bitmap_set(&map, 1, 1, true);
    cr_expect_eq(bitmap_next(&map, 2), count);
    munmap(memory, bitmap_bytes(count));
}
