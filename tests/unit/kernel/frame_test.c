// SPDX-License-Identifier: Apache-2.0
// kernel/frame.c: the bitmap against a model that knows each frame's owner, and the pool.
#include "tests/unit/kernel/support.h"

#include "boot/boot_pool.h"
#include "kernel/bitmap.h"
#include "kernel/frame.h"

#include <criterion/criterion.h>
#include <string.h>

#define FRAMES(bytes) ((bytes) >> PAGE_SHIFT)
#define RUN           SIZE_2M // of the bitmap and the first of the pool, for these maps

// RAM with a hole and odd ends; the kernel can touch the first 64 MiB of it.
static const struct boot_memory odd_map[] = {
    {.base = HOST_RAM_BASE, .length = 40ULL << 20, .type = BOOT_MEMORY_FREE},
    {.base = HOST_RAM_BASE + (48ULL << 20),
     .length = (8ULL << 20) - 0x3000,
     .type = BOOT_MEMORY_FREE},
    {.base = HOST_RAM_BASE + (56ULL << 20), .length = 1ULL << 20, .type = BOOT_MEMORY_LOADER},
    {.base = HOST_RAM_BASE + (58ULL << 20), .length = 4ULL << 20, .type = BOOT_MEMORY_FIRMWARE},
};
#define MODEL_FRAMES FRAMES(HOST_RAM_BASE + HOST_RAM_SIZE)

// 1: free. What the allocator may give and how much of it.
static uint8_t model[MODEL_FRAMES];

static void model_set(uint64_t base, uint64_t size, uint8_t value) {
    for (uint64_t i = FRAMES(base); i < FRAMES(base + size); i++) {
        cr_assert_neq(model[i], value, "frame %#lx twice", i);
        model[i] = value;
    }
}

static uint64_t model_free(void) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < MODEL_FRAMES; i++)
        count += model[i];
    return count << PAGE_SHIFT;
}

// Where such a run may begin at the lowest and at the highest, by looking at each frame.
static bool model_find(uint64_t size, uint64_t *lowest, uint64_t *highest) {
    uint64_t count = FRAMES(size), step = size >= SIZE_2M ? count : 1;
    uint64_t free = 0;
    bool is_found = false;
    for (uint64_t i = 0; i < MODEL_FRAMES; i++) {
        free = model[i] ? free + 1 : 0;
        if (free < count || (i + 1 - count) % step != 0)
            continue;
        *highest = (i + 1 - count) << PAGE_SHIFT;
        *lowest = is_found ? *lowest : *highest;
        is_found = true;
    }
    return is_found;
}

static void set_up_odd(void) {
    host_init(odd_map, ARRAY_COUNT(odd_map));
    for (uint32_t i = 0; i < ARRAY_COUNT(odd_map); i++)
        if (odd_map[i].type == BOOT_MEMORY_FREE)
            model_set(odd_map[i].base, odd_map[i].length, 1);
    model_set(HOST_RAM_BASE, RUN, 0);
}

TestSuite(kernel_frame, .init = set_up_odd);
TestSuite(kernel_frame_large, .init = host_init_all);

static bool take(uint64_t size, hpa_t *base) {
    uint64_t lowest, highest;
    bool has_run = model_find(size, &lowest, &highest);
    bool is_taken = frame_alloc(FRAME_ANYWHERE, size, base);
    cr_assert_eq(is_taken, has_run, "size %#lx: %d, model %d", size, is_taken, has_run);
    if (is_taken) {
        uint64_t wanted = size >= SIZE_2M ? highest : lowest;
        cr_assert_eq(base->v, wanted, "size %#lx: %#lx, not %#lx", size, base->v, wanted);
        model_set(base->v, size, 0);
    }
    return is_taken;
}

static void give(hpa_t base, uint64_t size) {
    frame_free(base, size);
    model_set(base.v, size, 1);
}

Test(kernel_frame, totals_after_boot) {
    struct frame_totals totals = frame_totals();
    cr_expect_eq(totals.free, model_free());
    cr_expect_eq(totals.total, model_free() + RUN);
    cr_expect_eq(host_boot.pool_size, RUN);
}

Test(kernel_frame, every_page_is_given_once_and_never_frame_0) {
    hpa_t page;
    uint64_t count = 0;
    while (frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &page)) {
        cr_assert_neq(page.v, 0);
        model_set(page.v, PAGE_SIZE, 0);
        count++;
    }
    cr_expect_eq(frame_totals().free, 0);
    cr_expect_eq(model_free(), 0);
    cr_expect_gt(count, 1000);
}

Test(kernel_frame, every_2m_run_is_given) {
    hpa_t run;
    while (take(SIZE_2M, &run)) {
    }
    cr_expect_gt(frame_totals().free, 0, "the odd ends are left");
    cr_expect(take(PAGE_SIZE, &run));
}

Test(kernel_frame, small_from_the_bottom_large_from_the_top) {
    hpa_t small, large;
    cr_assert(take(PAGE_SIZE, &small));
    cr_assert(take(SIZE_2M, &large));
    cr_expect_eq(small.v, HOST_RAM_BASE + RUN);
    cr_expect_eq(large.v, HOST_RAM_BASE + (52ULL << 20));
}

// All that is there of a range, and nothing beside it, in pages and in chunks.
static void take_within(uint64_t base, uint64_t length, uint64_t size, uint64_t count) {
    hpa_t run;
    for (; frame_alloc((struct abi_range){base, length}, size, &run); count--) {
        cr_assert_geq(run.v, base);
        cr_assert_leq(run.v + size - base, length);
        model_set(run.v, size, 0);
    }
    cr_expect_eq(count, 0, "%ld too few", (long)count);
}

Test(kernel_frame, a_range_gives_its_own_and_no_more) {
    const uint64_t base = HOST_RAM_BASE + (20ULL << 20);
    take_within(base + PAGE_SIZE, 3 * SIZE_2M, SIZE_2M, 2);
    take_within(base, 3 * SIZE_2M, SIZE_2M, 1);
    take_within(base + 3 * SIZE_2M - 5, 3 * PAGE_SIZE, PAGE_SIZE, 2);
    take_within(base + 3 * SIZE_2M, SIZE_2M, SIZE_2M, 0);
    cr_expect(take(SIZE_2M, &(hpa_t){0}), "others are as they were");
}

Test(kernel_frame, of_a_range_that_is_none_nothing_is_given) {
    const struct abi_range bad[] = {{HOST_RAM_BASE, 0},
                                    {0, PAGE_SIZE},
                                    {1ULL << 51, 1ULL << 51},
                                    {UINT64_MAX - PAGE_SIZE + 1, PAGE_SIZE},
                                    {UINT64_MAX, 1},
                                    {UINT64_MAX, UINT64_MAX},
                                    {HOST_RAM_BASE + (20ULL << 20), UINT64_MAX}};
    hpa_t run;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        cr_expect_not(frame_alloc(bad[i], PAGE_SIZE, &run), "%u", i);
        cr_expect_not(frame_alloc(bad[i], SIZE_2M, &run), "%u", i);
        cr_expect_eq(frame_count_free(bad[i]), 0, "%u", i);
    }
    cr_expect_eq(frame_totals().free, model_free());
}

Test(kernel_frame, free_chunks_of_a_range_are_counted) {
    const uint64_t base = HOST_RAM_BASE + (20ULL << 20);
    hpa_t run;
    cr_expect_eq(frame_count_free((struct abi_range){base, 5 * SIZE_2M}), 5 * SIZE_2M);
    cr_expect_eq(frame_count_free((struct abi_range){base + 1, 5 * SIZE_2M - 1}), 4 * SIZE_2M);
    cr_expect_eq(frame_count_free((struct abi_range){base, 5 * SIZE_2M - 1}), 4 * SIZE_2M);
    cr_assert(frame_alloc((struct abi_range){base + SIZE_2M, SIZE_2M}, PAGE_SIZE, &run));
    cr_assert(frame_alloc((struct abi_range){base + 3 * SIZE_2M, SIZE_2M}, SIZE_2M, &run));
    cr_expect_eq(frame_count_free((struct abi_range){base, 5 * SIZE_2M}), 3 * SIZE_2M);
    uint64_t whole = frame_count_free(FRAME_ANYWHERE), count = 0;
    while (frame_alloc(FRAME_ANYWHERE, SIZE_2M, &run))
        count++;
    cr_expect_eq(whole, count * SIZE_2M);
}

// More than are counted with the lock at a time.
Test(kernel_frame_large, all_chunks_are_counted) {
    uint64_t half = HOST_HIGH_SIZE / 2;
    cr_expect_eq(frame_count_free((struct abi_range){HOST_HIGH_BASE, half}), half);
    cr_expect_eq(frame_count_free((struct abi_range){HOST_HIGH_BASE, UINT64_MAX / 2}),
                 HOST_HIGH_SIZE);
}

Test(kernel_frame, freed_runs_above_the_hint_are_found_again) {
    hpa_t run[64], again;
    unsigned count = 0;
    while (take(SIZE_2M, &run[count]))
        count++;
    // In two halves, so that neither is a run by itself.
    give((hpa_t){run[0].v + SIZE_2M / 2}, SIZE_2M / 2);
    cr_expect_not(take(SIZE_2M, &again));
    give(run[0], SIZE_2M / 2);
    cr_assert(take(SIZE_2M, &again));
    cr_expect_eq(again.v, run[0].v);
    // Page by page, from the top down and from the bottom up.
    for (uint64_t i = 512; i-- > 0;)
        give((hpa_t){run[1].v + i * PAGE_SIZE}, PAGE_SIZE);
    cr_expect(take(SIZE_2M, &again));
    for (uint64_t i = 0; i < 512; i++)
        give((hpa_t){run[2].v + i * PAGE_SIZE}, PAGE_SIZE);
    cr_expect(take(SIZE_2M, &again));
}

Test(kernel_frame, added_memory_is_given) {
    uint64_t before = frame_totals().free, total = frame_totals().total;
    frame_add((hpa_t){odd_map[2].base}, odd_map[2].length);
    model_set(odd_map[2].base, odd_map[2].length, 1);
    cr_expect_eq(frame_totals().free, before + odd_map[2].length);
    cr_expect_eq(frame_totals().total, total + odd_map[2].length);
    hpa_t page;
    while (frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &page))
        model_set(page.v, PAGE_SIZE, 0);
    cr_expect_eq(model_free(), 0);
}

static void random_operations(uint64_t seed, const uint64_t *sizes, uint64_t size_count) {
    struct {
        hpa_t base;
        uint64_t size;
    } held[512];
    unsigned count = 0;
    for (unsigned round = 0; round < 4000; round++) {
        uint64_t size = sizes[host_random(&seed) % size_count];
        bool is_growing = round / 500 % 2 == 0; // fill up, then empty
        if (count < ARRAY_COUNT(held) && host_random(&seed) % 4 < (is_growing ? 3u : 1u)) {
            held[count].size = size;
            count += take(size, &held[count].base);
        } else if (count > 0) {
            unsigned i = (unsigned)(host_random(&seed) % count);
            give(held[i].base, held[i].size);
            held[i] = held[--count];
        }
        cr_assert_eq(frame_totals().free, model_free());
    }
}

// The model is searched at each step, so these take RAM that is small.
Test(kernel_frame, random_operations_match_the_model) {
    const uint64_t sizes[] = {PAGE_SIZE,   2 * PAGE_SIZE, 63 * PAGE_SIZE, 65 * PAGE_SIZE,
                              SIZE_2M / 2, SIZE_2M,       SIZE_2M};
    random_operations(88172645463325252ULL, sizes, ARRAY_COUNT(sizes));
}

Test(kernel_frame, random_large_operations_match_the_model) {
    const uint64_t sizes[] = {SIZE_2M, 2 * SIZE_2M, 8 * SIZE_2M, SIZE_2M - PAGE_SIZE};
    random_operations(362436069ULL, sizes, ARRAY_COUNT(sizes));
}

// Any run at any state: where the naive search finds it.
Test(kernel_frame, broken_up_memory_is_searched_from_the_bottom) {
    uint64_t seed = 2463534242ULL;
    hpa_t run;
    for (unsigned world = 0; world < 40; world++) {
        uint64_t longest = host_random(&seed) % 150 + 1;
        for (unsigned tries = 0; tries < 30; tries++)
            take((host_random(&seed) % longest + 1) * PAGE_SIZE, &run);
        for (unsigned tries = 0; tries < 300; tries++) {
            uint64_t i = host_random(&seed) % FRAMES(40ULL << 20);
            uint64_t base = HOST_RAM_BASE + RUN + (i << PAGE_SHIFT);
            if (i < FRAMES((40ULL << 20) - RUN) && !model[FRAMES(base)])
                give((hpa_t){base}, PAGE_SIZE);
        }
    }
}

// The lock is the whole machine's, and interrupts are off with it: a search lets go of it behind
// some dozens of candidates. It may not look at each frame of a run again from the next one on,
// either.
Test(kernel_frame_large, search_of_broken_up_memory_is_cut_and_looks_at_it_once) {
    hpa_t run;
    static hpa_t runs[(HOST_HIGH_BASE + HOST_HIGH_SIZE) / SIZE_2M];
    uint32_t count = 0;
    while (frame_alloc(FRAME_ANYWHERE, SIZE_2M, &run))
        runs[count++] = run;
    while (frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &run)) {
    }
    uint32_t before = host_preempts;
    cr_assert_not(frame_alloc(FRAME_ANYWHERE, SIZE_2M - PAGE_SIZE, &run));
    cr_expect_eq(host_preempts, before, "nothing to look at");
    for (uint64_t i = 0; i < count; i++)
        frame_free((hpa_t){runs[i].v + 2 * PAGE_SIZE}, SIZE_2M - 2 * PAGE_SIZE);
    cr_assert_not(frame_alloc(FRAME_ANYWHERE, SIZE_2M - PAGE_SIZE, &run));
    uint32_t pieces = host_preempts - before;
    cr_expect_geq(pieces, count / 100, "%u pieces for %u runs", pieces, count);
    cr_expect_leq(pieces, count / 30, "%u pieces for %u runs", pieces, count);
    cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_2M - 2 * PAGE_SIZE, &run));
}

Test(kernel_frame_large, gibs_are_aligned) {
    hpa_t base[16];
    unsigned count = 0;
    while (frame_alloc(FRAME_ANYWHERE, SIZE_1G, &base[count])) {
        cr_assert(is_aligned(base[count].v, SIZE_1G));
        cr_assert_geq(base[count].v, HOST_HIGH_BASE);
        count++;
    }
    cr_expect_eq(count, HOST_HIGH_SIZE / SIZE_1G);
    frame_free(base[3], SIZE_1G);
    hpa_t again;
    cr_expect(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &again));
    cr_expect_eq(again.v, base[3].v);
}

// Wherever the others lack a chunk.
Test(kernel_frame_large, only_whole_gib_is_found) {
    const uint64_t gaps[] = {0, 1, 63, 64, 255, 510, 511};
    hpa_t base[HOST_HIGH_SIZE / SIZE_1G], gap[ARRAY_COUNT(base)], found;
    for (unsigned i = 0; i < ARRAY_COUNT(base); i++)
        cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &base[i]));
    for (unsigned whole = 0; whole < ARRAY_COUNT(base); whole++) {
        for (unsigned i = 0; i < ARRAY_COUNT(base); i++) {
            uint64_t before = gaps[(i + whole) % ARRAY_COUNT(gaps)] * SIZE_2M;
            gap[i].v = base[i].v + before;
            frame_free(base[i], before);
            frame_free((hpa_t){gap[i].v + SIZE_2M}, SIZE_1G - SIZE_2M - before);
        }
        cr_expect_not(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &found));
        frame_free(gap[whole], SIZE_2M);
        cr_expect(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &found));
        cr_expect_eq(found.v, base[whole].v);
        cr_expect_not(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &found));
        for (unsigned i = 0; i < ARRAY_COUNT(base); i++)
            if (i != whole)
                frame_free(gap[i], SIZE_2M);
        for (unsigned i = 1; i < ARRAY_COUNT(base); i++)
            cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &found));
    }
}

// What boot/ takes is enough for the maps, whatever the machine; and less is refused.
Test(kernel_frame_none, pool_holds_the_maps_of_all_frames) {
    static const uint64_t ends[] = {64ULL << 20, 4ULL << 30,   5ULL << 30, 37ULL << 30, 1ULL << 40,
                                    3ULL << 41,  127ULL << 40, 1ULL << 47, 1ULL << 52};
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(ends); i++) {
        uint64_t end = ends[i / 2] - (i % 2) * PAGE_SIZE, count = end >> PAGE_SHIFT;
        uint64_t chunks = align_up(count / 512 + 1, 512);
        uint64_t maps = 3 * bitmap_bytes(count) + 4 * bitmap_bytes(chunks) + count;
        cr_expect_geq(boot_pool_size(end), align_up(maps, PAGE_SIZE) + (3ULL << 19), "%#lx", end);
        cr_expect_leq(boot_pool_size(end), maps + maps / 64 + (4ULL << 20), "%#lx", end);
    }
    const struct boot_memory map[] = {
        {.base = HOST_RAM_BASE, .length = 4ULL << 20, .type = BOOT_MEMORY_KERNEL}};
    const struct boot_info info = {.memory_count = 1,
                                   .memory_end = 16ULL << 30,
                                   .pool = HOST_RAM_BASE,
                                   .pool_size = boot_pool_size(16ULL << 30) - SIZE_2M};
    cr_expect(HOST_PANICS(frame_init(&info, map)));
    cr_expect_neq(strstr(host_panic_text, "too little memory"), NULL);
}

// ---- the pool -----------------------------------------------------------------------------------

Test(kernel_frame, kernel_pages_are_zeroed_mapped_and_distinct) {
    static bool is_seen[MODEL_FRAMES];
    uint64_t kernel = frame_totals().kernel;
    unsigned count = 0;
    for (uint8_t *page = kernel_page_alloc(); page != NULL; page = kernel_page_alloc()) {
        hpa_t frame = frame_of_kernel(page);
        cr_assert_eq(frame_to_kernel(frame), page);
        cr_assert_not(is_seen[FRAMES(frame.v)], "%#lx twice", frame.v);
        is_seen[FRAMES(frame.v)] = true;
        cr_assert(host_is_mapped(frame), "%#lx is not mapped", frame.v);
        for (unsigned i = 0; i < PAGE_SIZE; i++)
            cr_assert_eq(page[i], 0);
        memset(page, 0x5a, PAGE_SIZE);
        count++;
    }
    cr_expect_eq(frame_totals().kernel, kernel + count * PAGE_SIZE);
    cr_expect_eq(frame_totals().free, 0, "all that was free became the pool's");
}

Test(kernel_frame, freed_kernel_pages_come_back_zeroed) {
    uint8_t *page = kernel_page_alloc();
    uint64_t kernel = frame_totals().kernel;
    memset(page, 0xff, PAGE_SIZE);
    kernel_page_free(page);
    cr_expect_eq(frame_totals().kernel, kernel - PAGE_SIZE);
    uint8_t *again = kernel_page_alloc();
    cr_expect_eq(again, page);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        cr_assert_eq(again[i], 0);
}

Test(kernel_frame, tables_are_there_when_pages_are_not) {
    while (kernel_page_alloc() != NULL) {
    }
    // The reserve, for mapping what the pool will grow by.
    for (unsigned i = 0; i < 8; i++)
        cr_expect_neq(frame_table_alloc(), NULL, "table %u", i);
    cr_expect_null(frame_table_alloc());
}

// ---- the pool gives back ------------------------------------------------------------------------

#define CHUNK_PAGES (SIZE_2M / PAGE_SIZE)

static void *held[4 * CHUNK_PAGES];

// Four chunks' worth of pages, then all of them back, every `keep`-th excepted.
static void fill_and_empty(unsigned keep) {
    for (unsigned i = 0; i < ARRAY_COUNT(held); i++)
        cr_assert_not_null(held[i] = kernel_page_alloc());
    for (unsigned i = 0; i < ARRAY_COUNT(held); i++)
        if (keep == 0 || i % keep != 0)
            kernel_page_free(held[i]);
}

Test(kernel_frame, pool_gives_back_what_is_in_no_use) {
    uint64_t before = frame_totals().free;
    for (unsigned round = 0; round < 3; round++) {
        fill_and_empty(0);
        uint64_t full = frame_totals().free;
        cr_expect(frame_reclaim(false));
        cr_expect_eq(host_unflushed, 0, "freed before all CPUs forgot it");
        cr_expect_geq(frame_totals().free, full + 3 * SIZE_2M);
        cr_expect_geq(frame_totals().free + SIZE_2M, before, "all but one chunk at most");
        cr_expect_not(frame_reclaim(false), "nothing is left to give");
    }
    uint64_t mapped = 0;
    for (uint64_t f = HOST_RAM_BASE + RUN; f < HOST_RAM_BASE + HOST_RAM_SIZE; f += SIZE_2M)
        mapped += host_is_mapped((hpa_t){f});
    cr_expect_leq(mapped, 1, "and is no longer mapped");
}

// Each flush stops all CPUs for a moment, with interrupts off.
Test(kernel_frame, many_chunks_come_back_with_few_flushes) {
    static void *pages[MODEL_FRAMES];
    uint64_t count = 0, before = frame_totals().free;
    while ((pages[count] = kernel_page_alloc()) != NULL)
        count++;
    cr_assert_eq(frame_totals().free, 0);
    while (count > 0)
        kernel_page_free(pages[--count]);
    for (uint32_t calls = 1; frame_reclaim(false); calls++) {
        cr_assert_eq(host_flushes_of_all, calls);
        cr_assert_eq(host_unflushed, 0);
        cr_assert_leq(frame_totals().free, calls * 16 * SIZE_2M, "a bounded piece at a time");
    }
    cr_expect_eq(host_flushes_of_all, 2, "%u flushes", host_flushes_of_all);
    cr_expect_geq(frame_totals().free + 2 * SIZE_2M, align_down(before, SIZE_2M));
}

Test(kernel_frame, chunk_with_a_page_in_use_stays) {
    fill_and_empty(CHUNK_PAGES / 2);
    frame_reclaim(false); // what the pool grew by and did not use
    cr_expect_not(frame_reclaim(false));
    for (unsigned i = 0; i < ARRAY_COUNT(held); i += CHUNK_PAGES / 2) {
        uint8_t *page = held[i];
        cr_expect(host_is_mapped(frame_of_kernel(page)));
        memset(page, 0x5a, PAGE_SIZE);
        kernel_page_free(page);
    }
    cr_expect(frame_reclaim(false));
}

Test(kernel_frame, pages_come_from_chunks_in_use_first) {
    fill_and_empty(0);
    void *first = kernel_page_alloc(), *second = kernel_page_alloc();
    cr_expect_eq(align_down((uint64_t)first, SIZE_2M), align_down((uint64_t)second, SIZE_2M));
    cr_expect(frame_reclaim(false));
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        cr_assert_eq(((uint8_t *)second)[i], 0);
}

// Not even a whole chunk, which it cannot give as one without going below its reserve.
Test(kernel_frame, pool_keeps_nothing_but_its_reserve_from_others) {
    uint64_t free = frame_totals().free;
    while (frame_totals().free == free)
        cr_assert_not_null(kernel_page_alloc());
    while (frame_reclaim(true))
        cr_assert_eq(host_unflushed, 0);
    struct frame_totals totals = frame_totals();
    cr_expect_leq(totals.total - totals.free - totals.kernel, 9 * PAGE_SIZE);
}

Test(kernel_frame, random_pages_come_and_go_and_the_sums_hold) {
    uint64_t seed = 88172645463325252ULL, count = 0;
    uint64_t kernel = frame_totals().kernel;
    for (unsigned round = 0; round < 30000; round++) {
        bool is_growing = round / 3000 % 2 == 0;
        if (count < ARRAY_COUNT(held) && host_random(&seed) % 4 < (is_growing ? 3u : 1u)) {
            cr_assert_not_null(held[count] = kernel_page_alloc());
            memset(held[count++], 0xa5, PAGE_SIZE);
        } else if (count > 0) {
            uint64_t i = host_random(&seed) % count;
            kernel_page_free(held[i]);
            held[i] = held[--count];
        }
        if (round % 1000 == 0)
            frame_reclaim(false);
        cr_assert_eq(frame_totals().kernel, kernel + count * PAGE_SIZE);
    }
}
