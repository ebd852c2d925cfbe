// SPDX-License-Identifier: Apache-2.0
// kernel/memory.c and kernel/region.c: chunks are cleared once and before anyone sees them; regions
// never overlap; the tables that they fill show each page of the object at its place.
#include "tests/unit/kernel/support.h"

#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/region.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(kernel_memory, .init = host_init_all);

#define RW ((uint32_t)(PT_READ | PT_WRITE))

static uint64_t used(void) {
    return host_quota_read(quota_root()).used;
}

static struct memory *create(uint64_t size) {
    struct memory *memory = memory_create(quota_root(), size);
    cr_assert_not_null(memory);
    return memory;
}

static hpa_t frame_at(struct memory *memory, uint64_t offset) {
    struct memory_run run = memory_get(memory, offset, NULL);
    cr_assert(offset >= run.offset && offset - run.offset < run.size, "%#lx not in its run",
              offset);
    return (hpa_t){run.frame.v + offset - run.offset};
}

Test(kernel_memory, everything_comes_back) {
    const uint64_t sizes[] = {PAGE_SIZE,           SIZE_2M - PAGE_SIZE,     SIZE_2M,
                              SIZE_2M + PAGE_SIZE, SIZE_1G + 5 * PAGE_SIZE, 3 * SIZE_1G};
    object_unref(&create(PAGE_SIZE)->object); // the pool has grown as far as it will
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint64_t used_before = used(), free_before = frame_totals().free;
        struct memory *memory = create(sizes[i]);
        cr_expect_eq(free_before - frame_totals().free, sizes[i]);
        uint64_t tables = 1 + (sizes[i] + SIZE_1G - 1) / SIZE_1G;
        uint64_t pieces = (sizes[i] + SIZE_2M - 1) / SIZE_2M;
        cr_expect_eq(used() - used_before, sizes[i] + (1 + tables + pieces) * PAGE_SIZE);
        object_unref(&memory->object);
        object_finish();
        cr_expect_eq(used(), used_before);
        cr_expect_eq(frame_totals().free, free_before);
    }
}

Test(kernel_memory, chunks_are_aligned_and_the_tail_is_short) {
    struct memory *memory = create(2 * SIZE_2M + 3 * PAGE_SIZE);
    for (uint64_t i = 0; i < 2; i++) {
        struct memory_run run = memory_get(memory, i * SIZE_2M + 7 * PAGE_SIZE, NULL);
        cr_expect_eq(run.offset, i * SIZE_2M);
        cr_expect_eq(run.size, SIZE_2M);
        cr_expect(is_aligned(run.frame.v, SIZE_2M));
    }
    struct memory_run tail = memory_get(memory, 2 * SIZE_2M + 2 * PAGE_SIZE, NULL);
    cr_expect_eq(tail.offset, 2 * SIZE_2M);
    cr_expect_eq(tail.size, 3 * PAGE_SIZE);
}

// Of each range as much as it has, in their order; the rest from anywhere.
Test(kernel_memory, comes_from_home_first) {
    const uint64_t first = HOST_HIGH_BASE + SIZE_1G, second = HOST_RAM_BASE + 8 * SIZE_2M;
    struct quota *q = quota_create(quota_root(), 4 * SIZE_1G);
    q->home = (struct abi_home){{{first, SIZE_1G + 2 * SIZE_2M}, {second, 3 * SIZE_2M}}};
    struct memory *small = memory_create(q, PAGE_SIZE);
    cr_expect_eq(frame_at(small, 0).v, first);
    struct memory *memory = memory_create(q, SIZE_1G + 6 * SIZE_2M);
    cr_assert_not_null(memory);
    for (uint64_t i = 0; i < SIZE_1G + 6 * SIZE_2M; i += SIZE_2M) {
        uint64_t frame = frame_at(memory, i).v;
        if (i < SIZE_1G + SIZE_2M) // one chunk has a page in use
            cr_assert_lt(frame - first, SIZE_1G + 2 * SIZE_2M, "%#lx at %#lx", frame, i);
        else if (i < SIZE_1G + 4 * SIZE_2M)
            cr_assert_lt(frame - second, 3 * SIZE_2M, "%#lx at %#lx", frame, i);
        else
            cr_assert_geq(frame, first + SIZE_1G + 2 * SIZE_2M, "%#lx at %#lx", frame, i);
    }
    cr_expect_eq(frame_count_free(q->home.range[0]), 0);
    object_unref(&memory->object);
    object_finish();
    cr_expect_eq(frame_count_free(q->home.range[0]), SIZE_1G + SIZE_2M, "it goes where it was");
}

// Chunks at home go before a GiB in one piece elsewhere.
Test(kernel_memory, a_gib_elsewhere_does_not_draw_it_from_home) {
    struct quota *q = quota_create(quota_root(), 4 * SIZE_1G);
    q->home = (struct abi_home){{{HOST_HIGH_BASE + SIZE_1G / 2, SIZE_1G}}};
    struct memory *memory = memory_create(q, SIZE_1G);
    cr_assert_not_null(memory);
    cr_expect_eq(frame_count_free(q->home.range[0]), 0);
}

Test(kernel_memory, part_of_a_quota_has_the_home_of_the_whole) {
    struct quota *q = quota_create(quota_root(), 4 * SIZE_2M);
    q->home = (struct abi_home){{{HOST_RAM_BASE + 8 * SIZE_2M, SIZE_2M}}};
    struct memory *memory = memory_create(quota_create(q, 2 * SIZE_2M), SIZE_2M);
    cr_assert_not_null(memory);
    cr_expect_eq(frame_at(memory, 0).v, HOST_RAM_BASE + 8 * SIZE_2M);
}

Test(kernel_memory, no_frame_is_in_two_objects) {
    static uint8_t seen[(HOST_HIGH_BASE + HOST_HIGH_SIZE) >> PAGE_SHIFT];
    const uint64_t sizes[] = {5 * PAGE_SIZE, 3 * SIZE_2M + PAGE_SIZE, SIZE_1G + SIZE_2M, SIZE_2M};
    for (unsigned i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct memory *memory = create(sizes[i]);
        for (uint64_t offset = 0; offset < sizes[i]; offset += PAGE_SIZE) {
            hpa_t frame = frame_at(memory, offset);
            cr_assert_not(host_is_mapped(frame), "the kernel maps %#lx", frame.v);
            cr_assert_eq(seen[frame.v >> PAGE_SHIFT]++, 0, "%#lx twice", frame.v);
        }
    }
}

Test(kernel_memory, clears_once_before_first_use_and_only_that_chunk) {
    struct memory *memory = create(3 * SIZE_2M);
    hpa_t second = frame_at(memory, SIZE_2M);
    frame_at(memory, SIZE_2M);
    frame_at(memory, 2 * SIZE_2M - PAGE_SIZE);
    for (uint64_t offset = 0; offset < SIZE_2M; offset += PAGE_SIZE)
        cr_assert_eq(host_times_cleared((hpa_t){second.v + offset}), 1);
    hpa_t first = frame_at(memory, 0);
    cr_expect_eq(host_times_cleared(first), 1);
    cr_expect_eq(host_times_cleared((hpa_t){second.v - PAGE_SIZE}) +
                     host_times_cleared((hpa_t){second.v + SIZE_2M}),
                 first.v + SIZE_2M == second.v || first.v == second.v + SIZE_2M);
}

Test(kernel_memory, memory_of_another_owner_is_cleared_again) {
    struct memory *memory = create(SIZE_2M);
    hpa_t frame = frame_at(memory, 0);
    object_unref(&memory->object);
    memory = create(SIZE_2M);
    cr_assert_eq(frame_at(memory, 0).v, frame.v);
    cr_expect_eq(host_times_cleared(frame), 2);
}

Test(kernel_memory, gib_becomes_one_run_when_all_is_cleared) {
    struct memory *memory = create(SIZE_1G + SIZE_2M);
    for (uint64_t offset = 0; offset < SIZE_1G; offset += SIZE_2M) {
        bool is_last = offset == SIZE_1G - SIZE_2M;
        cr_assert_eq(memory_get(memory, offset, NULL).size, is_last ? SIZE_1G : SIZE_2M, "%#lx",
                     offset);
    }
    struct memory_run run = memory_get(memory, 17 * SIZE_2M, NULL);
    cr_expect_eq(run.offset, 0);
    cr_expect_eq(run.size, SIZE_1G);
    cr_expect(is_aligned(run.frame.v, SIZE_1G));
    cr_expect_eq(memory_get(memory, SIZE_1G, NULL).size, SIZE_2M);
    cr_expect_eq(host_times_cleared((hpa_t){run.frame.v + 100 * PAGE_SIZE}), 1);
}

Test(kernel_memory, shortage_leaves_nothing_behind) {
    struct quota *q = quota_create(quota_root(), SIZE_2M + 4 * PAGE_SIZE);
    // The struct, the directory and its page, and the list of a chunk in pieces: with them 2 MiB
    // fit exactly.
    uint64_t free = frame_totals().free;
    cr_expect_null(memory_create(q, SIZE_2M + PAGE_SIZE));
    cr_expect_eq(host_quota_read(q).used, 0);
    cr_expect_eq(frame_totals().free, free);
    struct memory *memory = memory_create(q, SIZE_2M);
    cr_assert_not_null(memory);
    cr_expect_eq(host_quota_read(q).used, SIZE_2M + 4 * PAGE_SIZE);
    cr_expect_null(memory_create(q, PAGE_SIZE));
    object_unref(&memory->object);
    cr_expect_eq(host_quota_read(q).used, 0);
}

Test(kernel_memory, each_page_of_the_overhead_may_be_the_one_missing) {
    for (uint64_t pages = 0; pages < 6; pages++) {
        uint64_t least = SIZE_1G + SIZE_2M + 513 * PAGE_SIZE; // with the lists of its chunks
        struct quota *q = quota_create(quota_root(), least + pages * PAGE_SIZE);
        struct memory *memory = memory_create(q, SIZE_1G + SIZE_2M);
        cr_expect_eq(memory != NULL, pages >= 4, "%lu pages", pages);
        object_finish();
        if (memory == NULL)
            cr_expect_eq(host_quota_read(q).used, 0);
    }
}

Test(kernel_memory, machine_without_frames_gives_an_error) {
    hpa_t run;
    kernel_page_free(kernel_page_alloc());
    while (frame_alloc(FRAME_ANYWHERE, SIZE_2M, &run)) {
    }
    cr_assert(frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &run) || true);
    uint64_t before = used(), free = frame_totals().free;
    cr_expect_null(memory_create(quota_root(), 4 * SIZE_2M));
    object_finish();
    cr_expect_eq(used(), before);
    cr_expect_geq(frame_totals().free, free);
}

Test(kernel_memory, module_becomes_free_memory_with_its_last_reference) {
    uint64_t free = frame_totals().free, limit = host_quota_read(quota_root()).limit;
    // As the loader left it: RAM that no allocator has.
    hpa_t base;
    cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_2M, &base));
    struct memory *memory = memory_create_at(quota_root(), base, SIZE_2M, MEMORY_MODULE);
    struct memory_run run = memory_get(memory, 5 * PAGE_SIZE, NULL);
    cr_expect_eq(run.frame.v, base.v);
    cr_expect_eq(run.offset, 0);
    cr_expect_eq(run.size, SIZE_2M);
    cr_expect_eq(host_times_cleared(base), 0);
    object_unref(&memory->object);
    cr_expect_eq(frame_totals().free, free);
    cr_expect_eq(host_quota_read(quota_root()).limit, limit + SIZE_2M);
}

Test(kernel_memory, page_keeps_its_owner_alive) {
    struct quota *owner = quota_create(quota_root(), PAGE_SIZE);
    void *page = quota_alloc_page(quota_root());
    struct memory *memory = memory_create_page(quota_root(), page, &owner->object);
    cr_expect_eq(owner->object.ref_count, 2);
    cr_expect_eq(memory_get(memory, 0, NULL).frame.v, frame_of_kernel(page).v);
    cr_expect_eq(memory->size, PAGE_SIZE);
    object_unref(&memory->object);
    cr_expect_eq(owner->object.ref_count, 1);
}

// ---- regions ------------------------------------------------------------------------------------

static struct region_list list;

static void make_list(void) {
    host_init_all();
    list.quota = quota_root();
}
TestSuite(kernel_region, .init = make_list);

static const struct region *region_number(uint64_t i) {
    const struct region *region = host_region_next(&list, 0);
    while (region != NULL && i-- > 0)
        region = host_region_next(&list, region->base + region->size);
    return region;
}

static struct pagetable pt;

static int insert(uint64_t base, uint64_t size, struct memory *memory, uint64_t offset) {
    struct region region = {base, size, memory, offset, ABI_RIGHT_READ | ABI_RIGHT_WRITE};
    return region_insert(&list, &region);
}

Test(kernel_region, overlap_is_refused_at_every_edge) {
    struct memory *memory = create(SIZE_1G);
    const uint64_t base = 100 * PAGE_SIZE, size = 10 * PAGE_SIZE;
    cr_assert_eq(insert(base, size, memory, 0), ABI_OK);
    const struct {
        int64_t first, count; // pages, from base
        bool is_free;
    } cases[] = {
        {0, 10, false},     {0, 1, false},    {9, 1, false}, {-1, 2, false}, {9, 2, false},
        {-5, 20, false},    {3, 4, false},    {-1, 1, true}, {10, 1, true},  {-100, 100, true},
        {-100, 101, false}, {10, 1000, true}, {11, 1, true},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t at = base + (uint64_t)(cases[i].first * (int64_t)PAGE_SIZE);
        uint64_t bytes = (uint64_t)cases[i].count * PAGE_SIZE;
        struct region removed;
        int error = insert(at, bytes, memory, 0);
        cr_expect_eq(error, cases[i].is_free ? ABI_OK : ABI_ERROR_EXISTS, "case %u", i);
        if (error == ABI_OK)
            cr_assert(host_region_remove(&list, at, bytes, &removed));
    }
    cr_expect_eq(host_region_count(&list), 1);
}

Test(kernel_region, last_addresses_do_not_wrap) {
    struct memory *memory = create(PAGE_SIZE);
    const uint64_t end = 1ULL << 48;
    cr_assert_eq(insert(end - PAGE_SIZE, PAGE_SIZE, memory, 0), ABI_OK);
    cr_expect_eq(insert(0, PAGE_SIZE, memory, 0), ABI_OK);
    cr_expect_eq(insert(end - 2 * PAGE_SIZE, 2 * PAGE_SIZE, memory, 0), ABI_ERROR_EXISTS);
    cr_expect_not_null(region_find(&list, end - 1));
    cr_expect_null(region_find(&list, end));
    cr_expect_null(region_find(&list, PAGE_SIZE));
}

// 256 VMs with 64 vCPUs each are not more mappings in any one process than this.
#define MANY 20000u

static void expect_sorted(void) {
    uint64_t seen = 0, end = 0;
    for (uint64_t i = 0; i < list.page_count; i++) {
        cr_assert_gt(list.page[i]->count, 0, "page %lu is empty", i);
        cr_assert_leq(list.page[i]->count, REGION_PAGE_COUNT);
    }
    for (const struct region *r = host_region_next(&list, 0); r != NULL;
         r = host_region_next(&list, end)) {
        cr_assert_geq(r->base, end);
        end = r->base + r->size;
        seen++;
    }
    cr_expect_eq(seen, host_region_count(&list));
}

static void expect_many(uint64_t (*place)(uint64_t i)) {
    struct memory *memory = create(PAGE_SIZE);
    uint64_t before = used();
    for (uint64_t i = 0; i < MANY; i++)
        cr_assert_eq(insert(place(i) * PAGE_SIZE, PAGE_SIZE, memory, 0), ABI_OK, "%lu", i);
    cr_expect_eq(insert(place(MANY / 2) * PAGE_SIZE, PAGE_SIZE, memory, 0), ABI_ERROR_EXISTS);
    cr_expect_eq(memory->object.ref_count, 1 + MANY);
    cr_expect_eq(used() - before, list.page_count * PAGE_SIZE, "all pages are charged");
    cr_expect_leq(list.page_count, MANY / (REGION_PAGE_COUNT / 2) + 1);
    expect_sorted();
    struct region removed;
    for (uint64_t i = 0; i < MANY; i += 2)
        cr_assert(host_region_remove(&list, place(i) * PAGE_SIZE, PAGE_SIZE, &removed));
    expect_sorted();
    for (uint64_t i = 0; i < MANY; i++)
        cr_assert_eq(region_find(&list, place(i) * PAGE_SIZE) != NULL, i % 2);
    while (region_drop(&list))
        ;
    cr_expect_eq(used(), before);
    cr_expect_eq(host_region_count(&list), 0);
}

static uint64_t upwards(uint64_t i) {
    return i * 2;
}
static uint64_t downwards(uint64_t i) {
    return (MANY - 1 - i) * 2;
}
static uint64_t scattered(uint64_t i) {
    return i * 7919 % MANY; // 7919 has no divisor in common with it
}

Test(kernel_region, many_are_found_in_whatever_order_they_came) {
    expect_many(upwards);
    expect_many(downwards);
    expect_many(scattered);
}

Test(kernel_region, without_memory_for_a_page_nothing_changes) {
    struct memory *memory = create(PAGE_SIZE);
    struct quota *q = quota_create(quota_root(), 2 * PAGE_SIZE);
    list.quota = q;
    uint64_t count = 0;
    while (insert((1000 - count) * PAGE_SIZE, PAGE_SIZE, memory, 0) == ABI_OK)
        count++;
    cr_expect_geq(count, REGION_PAGE_COUNT);
    cr_expect_eq(insert(0, PAGE_SIZE, memory, 0), ABI_ERROR_MEMORY);
    cr_expect_eq(host_region_count(&list), count);
    cr_expect_eq(memory->object.ref_count, 1 + count);
    expect_sorted();
    struct region removed;
    cr_assert(host_region_remove(&list, 1000 * PAGE_SIZE, PAGE_SIZE, &removed));
    while (region_drop(&list))
        ;
    cr_expect_eq(host_quota_read(q).used, 0);
}

Test(kernel_region, list_is_full_at_its_end) {
    struct memory *memory = create(PAGE_SIZE);
    const uint64_t most = REGION_PAGES_MAX * REGION_PAGE_COUNT;
    uint64_t count = 0;
    while (count <= most && insert(count * PAGE_SIZE, PAGE_SIZE, memory, 0) == ABI_OK)
        count++;
    cr_expect_eq(list.page_count, REGION_PAGES_MAX);
    cr_expect_eq(count, most, "in ascending order no room is lost");
    cr_expect_eq(insert(count * PAGE_SIZE, PAGE_SIZE, memory, 0), ABI_ERROR_MEMORY);
    expect_sorted();
    while (region_drop(&list))
        ;
    cr_expect_eq(memory->object.ref_count, 1);
}

Test(kernel_region, remove_takes_exactly_what_was_mapped) {
    struct memory *memory = create(10 * PAGE_SIZE);
    struct region removed;
    cr_assert_eq(insert(PAGE_SIZE, 4 * PAGE_SIZE, memory, 2 * PAGE_SIZE), ABI_OK);
    cr_expect_not(host_region_remove(&list, PAGE_SIZE, 3 * PAGE_SIZE, &removed));
    cr_expect_not(host_region_remove(&list, PAGE_SIZE, 5 * PAGE_SIZE, &removed));
    cr_expect_not(host_region_remove(&list, 2 * PAGE_SIZE, 3 * PAGE_SIZE, &removed));
    cr_expect_not(host_region_remove(&list, 0, 5 * PAGE_SIZE, &removed));
    cr_expect(host_region_remove(&list, PAGE_SIZE, 4 * PAGE_SIZE, &removed));
    cr_expect_eq(removed.memory, memory);
    cr_expect_eq(removed.offset, 2 * PAGE_SIZE);
    cr_expect_eq(memory->object.ref_count, 2, "the list's reference is the caller's now");
    cr_expect_not(host_region_remove(&list, PAGE_SIZE, 4 * PAGE_SIZE, &removed));
}

Test(kernel_region, random_operations_match_a_model) {
    enum { PAGES = 200 };
    static uint64_t owner[PAGES]; // 0: nobody; else base + 1 of the region
    struct memory *memory = create(PAGES * PAGE_SIZE);
    uint64_t seed = 4101842887655102017ULL;
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t first = host_random(&seed) % PAGES, count = host_random(&seed) % 5 + 1;
        count = MIN(count, PAGES - first);
        if (round / 100 % 2 == 0) {
            bool is_free = true;
            for (uint64_t i = first; i < first + count; i++)
                is_free = is_free && owner[i] == 0;
            int error = insert(first * PAGE_SIZE, count * PAGE_SIZE, memory, 0);
            cr_assert_eq(error, is_free ? ABI_OK : ABI_ERROR_EXISTS);
            for (uint64_t i = first; error == ABI_OK && i < first + count; i++)
                owner[i] = first + 1;
        } else {
            struct region removed;
            bool is_one = owner[first] == first + 1 && owner[first + count - 1] == first + 1 &&
                          (first + count == PAGES || owner[first + count] != first + 1);
            cr_assert_eq(host_region_remove(&list, first * PAGE_SIZE, count * PAGE_SIZE, &removed),
                         is_one);
            for (uint64_t i = first; is_one && i < first + count; i++)
                owner[i] = 0;
        }
        uint64_t probe = host_random(&seed) % PAGES;
        const struct region *found = region_find(&list, probe * PAGE_SIZE + 123);
        cr_assert_eq(found == NULL ? 0 : found->base / PAGE_SIZE + 1, owner[probe]);
    }
}

// ---- populating ---------------------------------------------------------------------------------

static void make_tables(void) {
    cr_assert(pt_init(&pt, &paging_format, kspace_quota_memory(quota_root())));
}

static bool touch(uint64_t address) {
    const struct region *region = region_find(&list, address);
    cr_assert_not_null(region);
    return region_populate(region, &pt, align_down(address, PAGE_SIZE), RW);
}

// Each page in the tables is the object's page of that place; the page touched is there.
static void expect_shown(uint64_t touched) {
    cr_expect_neq(pt_lookup(&pt, touched).rights, 0, "%#lx is not mapped", touched);
    for (uint64_t r = 0; r < host_region_count(&list); r++) {
        const struct region *region = region_number(r);
        for (uint64_t at = 0; at < region->size;) {
            struct pt_mapping m = pt_lookup(&pt, region->base + at);
            uint64_t step = m.size - (region->base + at) % m.size;
            if (m.rights != 0) {
                hpa_t frame = frame_at(region->memory, region->offset + at);
                cr_assert_eq(m.frame.v + (region->base + at) % m.size, frame.v, "at %#lx",
                             region->base + at);
                cr_assert_leq(step, region->size - at, "a leaf reaches out of its region");
            }
            at += step;
        }
    }
}

Test(kernel_region, populate_maps_the_chunk_by_a_large_page) {
    struct memory *memory = create(4 * SIZE_2M);
    make_tables();
    cr_assert_eq(insert(SIZE_1G, 4 * SIZE_2M, memory, 0), ABI_OK);
    cr_assert(touch(SIZE_1G + SIZE_2M + 5));
    expect_shown(SIZE_1G + SIZE_2M);
    cr_expect_eq(pt_lookup(&pt, SIZE_1G + SIZE_2M).size, SIZE_2M);
    cr_expect_eq(pt_lookup(&pt, SIZE_1G).rights, 0, "nobody touched it");
    cr_expect(touch(SIZE_1G + SIZE_2M), "again is no error");
}

Test(kernel_region, populate_maps_a_gib_at_once_when_it_can) {
    struct memory *memory = create(SIZE_1G);
    for (uint64_t offset = 0; offset < SIZE_1G; offset += SIZE_2M)
        memory_get(memory, offset, NULL);
    make_tables();
    cr_assert_eq(insert(4 * SIZE_1G, SIZE_1G, memory, 0), ABI_OK);
    cr_assert(touch(4 * SIZE_1G + 33 * SIZE_2M));
    cr_expect_eq(pt_lookup(&pt, 4 * SIZE_1G).size, SIZE_1G);
    expect_shown(4 * SIZE_1G);
}

Test(kernel_region, populate_goes_on_by_chunks_where_it_began_so) {
    struct memory *memory = create(SIZE_1G);
    make_tables();
    cr_assert_eq(insert(4 * SIZE_1G, SIZE_1G, memory, 0), ABI_OK);
    cr_assert(touch(4 * SIZE_1G + 3 * SIZE_2M));
    for (uint64_t offset = 0; offset < SIZE_1G; offset += SIZE_2M)
        memory_get(memory, offset, NULL);
    cr_assert(touch(4 * SIZE_1G + 5 * SIZE_2M));
    cr_expect_eq(pt_lookup(&pt, 4 * SIZE_1G + 5 * SIZE_2M).size, SIZE_2M);
    expect_shown(4 * SIZE_1G + 5 * SIZE_2M);
}

// A GiB of the object that lies across two GiB of addresses: what is mapped in the second one
// already must not be walked into (review C4).
Test(kernel_region, populate_of_a_gib_across_two_keeps_what_is_there) {
    struct memory *memory = create(SIZE_1G);
    const uint64_t base = SIZE_1G + SIZE_2M;
    make_tables();
    cr_assert_eq(insert(base, SIZE_1G, memory, 0), ABI_OK);
    cr_assert(touch(2 * SIZE_1G));
    for (uint64_t offset = 0; offset < SIZE_1G; offset += SIZE_2M)
        memory_get(memory, offset, NULL);
    cr_assert(touch(base));
    expect_shown(base);
    cr_assert(touch(2 * SIZE_1G - SIZE_2M));
    expect_shown(2 * SIZE_1G);
}

// The same for a module, which is one run whatever its size.
Test(kernel_region, populate_of_a_module_across_a_gib) {
    struct memory *module =
        memory_create_at(quota_root(), (hpa_t){HOST_HIGH_BASE}, 4 * SIZE_2M, MEMORY_MODULE);
    struct memory *other = create(PAGE_SIZE);
    make_tables();
    cr_assert_eq(insert(SIZE_1G - 2 * SIZE_2M, 4 * SIZE_2M, module, 0), ABI_OK);
    cr_assert_eq(insert(0, PAGE_SIZE, other, 0), ABI_OK);
    cr_assert(touch(0)); // the first GiB has tables now
    cr_assert(touch(SIZE_1G - SIZE_2M));
    cr_assert(touch(SIZE_1G + SIZE_2M));
    expect_shown(SIZE_1G + SIZE_2M);
    cr_assert(touch(SIZE_1G - 2 * SIZE_2M));
    cr_assert(touch(SIZE_1G));
    expect_shown(SIZE_1G - 2 * SIZE_2M);
}

Test(kernel_region, populate_shows_no_more_than_the_region) {
    struct memory *memory = create(2 * SIZE_2M);
    make_tables();
    const uint64_t base = SIZE_1G + SIZE_2M - PAGE_SIZE;
    cr_assert_eq(insert(base, 2 * PAGE_SIZE, memory, SIZE_2M - PAGE_SIZE), ABI_OK);
    cr_assert(touch(base));
    expect_shown(base);
    cr_expect_eq(pt_lookup(&pt, base - PAGE_SIZE).rights, 0);
    cr_expect_eq(pt_lookup(&pt, base + PAGE_SIZE).rights, 0, "another chunk");
    cr_assert(touch(base + PAGE_SIZE));
    expect_shown(base + PAGE_SIZE);
    cr_expect_eq(pt_lookup(&pt, base + 2 * PAGE_SIZE).rights, 0);
}

Test(kernel_region, populate_without_memory_says_so) {
    struct quota *q = quota_create(quota_root(), PAGE_SIZE);
    struct memory *memory = create(PAGE_SIZE);
    cr_assert(pt_init(&pt, &paging_format, kspace_quota_memory(q)));
    cr_assert_eq(insert(SIZE_1G, PAGE_SIZE, memory, 0), ABI_OK);
    cr_expect_not(touch(SIZE_1G));
    cr_expect_eq(pt_lookup(&pt, SIZE_1G).rights, 0);
}

static void random_regions(uint64_t *seed, struct memory *const *memories, unsigned memory_count) {
    while (region_drop(&list))
        ;
    for (unsigned tries = 0; tries < 12; tries++) {
        struct memory *memory = memories[host_random(seed) % memory_count];
        uint64_t unit = host_random(seed) % 2 ? PAGE_SIZE : SIZE_2M;
        uint64_t offset = align_down(host_random(seed) % memory->size, unit);
        uint64_t size = (host_random(seed) % 600 + 1) * unit;
        size = MIN(size, memory->size - offset);
        insert(align_down(host_random(seed) % (4 * SIZE_1G), unit), size, memory, offset);
    }
}

// A boot module need not begin where large pages can map it.
Test(kernel_region, gib_of_small_pages_is_not_mapped_at_once) {
    struct memory *module =
        memory_create_at(quota_root(), (hpa_t){HOST_HIGH_BASE + PAGE_SIZE}, SIZE_1G, MEMORY_MODULE);
    make_tables();
    insert(SIZE_1G, SIZE_1G, module, 0);
    cr_assert(touch(SIZE_1G + SIZE_2M));
    cr_expect_eq(pt_lookup(&pt, SIZE_1G).rights, 0);
    cr_expect_eq(pt_lookup(&pt, SIZE_1G + SIZE_2M).size, PAGE_SIZE);
    cr_expect_eq(pt_lookup(&pt, SIZE_1G + 2 * SIZE_2M - PAGE_SIZE).size, PAGE_SIZE);
    cr_expect_eq(pt_lookup(&pt, SIZE_1G + 2 * SIZE_2M).rights, 0);
    expect_shown(SIZE_1G + SIZE_2M);
}

Test(kernel_region, random_touches_and_unmaps_keep_the_tables_right) {
    uint64_t seed = 1181783497276652981ULL;
    struct memory *const memories[] = {create(SIZE_1G), create(SIZE_1G + 3 * PAGE_SIZE),
                                       create(7 * SIZE_2M),
                                       memory_create_at(quota_root(), (hpa_t){HOST_HIGH_BASE},
                                                        SIZE_2M * 700 + PAGE_SIZE, MEMORY_MODULE)};
    for (unsigned world = 0; world < 6; world++) {
        make_tables();
        random_regions(&seed, memories, ARRAY_COUNT(memories));
        for (unsigned round = 0; round < 300 && host_region_count(&list) > 0; round++) {
            const struct region *r = region_number(host_random(&seed) % host_region_count(&list));
            uint64_t address = r->base + align_down(host_random(&seed) % r->size, PAGE_SIZE);
            cr_assert(touch(address));
            if (round % 60 == 0)
                expect_shown(address);
            struct region removed;
            if (round % 97 != 0 || !host_region_remove(&list, r->base, r->size, &removed))
                continue;
            // A region's leaves are its own, so none has to be cut.
            uint64_t before = used();
            cr_assert(pt_unmap(&pt, removed.base, removed.size));
            cr_assert_eq(used(), before, "a leaf was split");
            for (uint64_t at = 0; at < removed.size; at += pt_lookup(&pt, removed.base + at).size)
                cr_assert_eq(pt_lookup(&pt, removed.base + at).rights, 0);
        }
        cr_assert(pt_destroy(&pt, 511, UINT64_MAX));
    }
}
