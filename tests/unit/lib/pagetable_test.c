// SPDX-License-Identifier: Apache-2.0
// lib/pagetable.c in both formats that there are: x86-64 paging and EPT. Tables lie in an array;
// each frame of it is owned by one table, so a table used twice, leaked or freed twice is seen.
#include <criterion/criterion.h>
#include <string.h>

#include "arch/paging.c"
#include "vmx/ept.c"

#define TABLES      1024u
#define TABLES_BASE 0x100000000ULL // where the array is in "physical" memory
#define ADDRESS_END (1ULL << 47)

static _Alignas(4096) uint64_t tables[TABLES][512];
static bool is_used[TABLES];
static uint32_t used_count, budget;

static bool table_alloc(void *opaque, hpa_t *frame) {
    (void)opaque;
    for (uint32_t i = 0; i < TABLES && used_count < budget; i++) {
        if (is_used[i])
            continue;
        is_used[i] = true;
        used_count++;
        memset(tables[i], 0, sizeof(tables[i]));
        frame->v = TABLES_BASE + i * PAGE_SIZE;
        return true;
    }
    return false;
}

static uint64_t table_index(hpa_t frame) {
    uint64_t i = (frame.v - TABLES_BASE) / PAGE_SIZE;
    cr_assert(frame.v >= TABLES_BASE && i < TABLES && is_used[i], "%#lx is no table", frame.v);
    return i;
}

static void table_free(void *opaque, hpa_t frame) {
    (void)opaque;
    is_used[table_index(frame)] = false;
    used_count--;
}

static uint64_t *table_access(hpa_t frame) {
    return tables[table_index(frame)];
}

static struct pagetable pt;
static const struct pt_format *const formats[] = {&paging_format, &ept_format};

static void make(const struct pt_format *format) {
    const struct pt_memory memory = {NULL, table_alloc, table_free, table_access};
    cr_assert(pt_init(&pt, format, memory));
}

static void end(void) {
    cr_expect(pt_destroy(&pt, 511, UINT64_MAX));
    cr_expect_eq(used_count, 0, "%u tables are left", used_count);
}

static void set_up(void) {
    budget = TABLES;
    paging_format.leaf_level_max = 2;
    ept_init(true, true, false);
}

TestSuite(pagetable, .init = set_up);

#define FOR_EACH_FORMAT(f) for (unsigned f = 0; f < ARRAY_COUNT(formats); f++)

#define RW  ((uint32_t)(PT_READ | PT_WRITE))
#define RX  ((uint32_t)(PT_READ | PT_EXECUTE))
#define RWX ((uint32_t)(RW | PT_EXECUTE))

static void expect_mapped(uint64_t address, uint64_t frame, uint64_t size, uint32_t rights) {
    struct pt_mapping m = pt_lookup(&pt, address);
    cr_expect_eq(m.rights, rights, "%#lx: rights %#x", address, m.rights);
    cr_expect_eq(m.size, size, "%#lx: size %#lx", address, m.size);
    cr_expect_eq(m.frame.v, frame, "%#lx: frame %#lx", address, m.frame.v);
}

static void expect_hole(uint64_t address, uint64_t size) {
    expect_mapped(address, 0, size, 0);
}

Test(pagetable, map_one_page) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, 0x1000, (hpa_t){0x7000}, PAGE_SIZE, RW));
        expect_mapped(0x1000, 0x7000, PAGE_SIZE, RW);
        expect_mapped(0x1fff, 0x7000, PAGE_SIZE, RW);
        expect_hole(0, PAGE_SIZE);
        expect_hole(0x2000, PAGE_SIZE);
        expect_hole(SIZE_2M, SIZE_2M);
        expect_hole(SIZE_1G, SIZE_1G);
        expect_hole(512 * SIZE_1G, 512 * SIZE_1G);
        cr_expect_eq(used_count, 4);
        end();
    }
}

Test(pagetable, map_takes_the_largest_leaf_that_fits) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        // A page, the rest of its 2 MiB by pages, then 2 MiB leaves, then a GiB, then back down.
        const uint64_t base = SIZE_1G - SIZE_2M - PAGE_SIZE;
        const uint64_t size = PAGE_SIZE + SIZE_2M + SIZE_1G + SIZE_2M + PAGE_SIZE;
        cr_assert(pt_map(&pt, base, (hpa_t){base + 4 * SIZE_1G}, size, RWX));
        expect_mapped(base, base + 4 * SIZE_1G, PAGE_SIZE, RWX);
        expect_mapped(SIZE_1G - 1, 5 * SIZE_1G - SIZE_2M, SIZE_2M, RWX);
        expect_mapped(SIZE_1G, 5 * SIZE_1G, SIZE_1G, RWX);
        expect_mapped(2 * SIZE_1G - 1, 5 * SIZE_1G, SIZE_1G, RWX);
        expect_mapped(2 * SIZE_1G, 6 * SIZE_1G, SIZE_2M, RWX);
        expect_mapped(2 * SIZE_1G + SIZE_2M, 6 * SIZE_1G + SIZE_2M, PAGE_SIZE, RWX);
        expect_hole(2 * SIZE_1G + SIZE_2M + PAGE_SIZE, PAGE_SIZE);
        end();
    }
}

Test(pagetable, leaves_are_no_larger_than_the_processor_has) {
    paging_format.leaf_level_max = 1;
    ept_init(true, false, false);
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){SIZE_1G}, SIZE_1G, RW));
        expect_mapped(SIZE_1G, SIZE_1G, SIZE_2M, RW);
        end();
    }
    ept_init(false, false, false);
    make(&ept_format);
    cr_assert(pt_map(&pt, SIZE_2M, (hpa_t){SIZE_2M}, SIZE_2M, RW));
    expect_mapped(SIZE_2M, SIZE_2M, PAGE_SIZE, RW);
    end();
}

Test(pagetable, misaligned_ranges_are_mapped_by_smaller_leaves) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){SIZE_2M}, SIZE_1G, RW));
        expect_mapped(SIZE_1G + SIZE_2M, 2 * SIZE_2M, SIZE_2M, RW);
        cr_assert(pt_map(&pt, 4 * SIZE_1G, (hpa_t){PAGE_SIZE}, SIZE_2M, RW));
        expect_mapped(4 * SIZE_1G, PAGE_SIZE, PAGE_SIZE, RW);
        cr_assert(pt_map(&pt, 8 * SIZE_1G + PAGE_SIZE, (hpa_t){SIZE_1G}, SIZE_1G, RW));
        expect_mapped(8 * SIZE_1G + PAGE_SIZE, SIZE_1G, PAGE_SIZE, RW);
        expect_mapped(9 * SIZE_1G, 2 * SIZE_1G - PAGE_SIZE, PAGE_SIZE, RW);
        expect_hole(8 * SIZE_1G, PAGE_SIZE);
        end();
    }
}

Test(pagetable, rights_are_kept_at_each_level) {
    const uint32_t cases[] = {PT_READ, RW, RX, RWX, RW | PT_UNCACHED};
    const uint64_t sizes[] = {PAGE_SIZE, SIZE_2M, SIZE_1G};
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++)
            for (unsigned c = 0; c < ARRAY_COUNT(cases); c++) {
                uint64_t address = (s * 8 + c) * SIZE_1G;
                cr_assert(pt_map(&pt, address, (hpa_t){SIZE_1G}, sizes[s], cases[c]));
                expect_mapped(address, SIZE_1G, sizes[s], cases[c]);
            }
        end();
    }
}

Test(pagetable, x86_only_rights) {
    make(&paging_format);
    cr_assert(pt_map(&pt, 0, (hpa_t){0}, PAGE_SIZE, RW | PT_USER | PT_GLOBAL));
    expect_mapped(0, 0, PAGE_SIZE, RW | PT_USER | PT_GLOBAL);
    cr_expect_eq(*pt_entry(&pt, 0), PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_GLOBAL | PTE_NX);
    end();
}

Test(pagetable, unmap_removes_whole_leaves_and_nothing_else) {
    const uint64_t sizes[] = {PAGE_SIZE, SIZE_2M, SIZE_1G};
    FOR_EACH_FORMAT(f) {
        for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++) {
            uint64_t size = sizes[s];
            make(formats[f]);
            cr_assert(pt_map(&pt, 4 * SIZE_1G, (hpa_t){SIZE_1G}, size, RW));
            cr_assert(pt_map(&pt, 4 * SIZE_1G + size, (hpa_t){8 * SIZE_1G}, size, RX));
            cr_assert(pt_map(&pt, 4 * SIZE_1G + 2 * size, (hpa_t){9 * SIZE_1G}, size, RW));
            cr_assert(pt_unmap(&pt, 4 * SIZE_1G + size, size));
            expect_mapped(4 * SIZE_1G + size - 1, SIZE_1G, size, RW);
            expect_hole(4 * SIZE_1G + size, size);
            expect_mapped(4 * SIZE_1G + 2 * size, 9 * SIZE_1G, size, RW);
            end();
        }
    }
}

Test(pagetable, unmap_splits_2m_and_keeps_the_neighbours) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_2M, (hpa_t){4 * SIZE_2M}, SIZE_2M, RX | PT_UNCACHED));
        cr_assert(pt_unmap(&pt, SIZE_2M + 5 * PAGE_SIZE, 2 * PAGE_SIZE));
        for (uint64_t i = 0; i < 512; i++) {
            uint64_t address = SIZE_2M + i * PAGE_SIZE;
            if (i == 5 || i == 6)
                expect_hole(address, PAGE_SIZE);
            else
                expect_mapped(address, 4 * SIZE_2M + i * PAGE_SIZE, PAGE_SIZE, RX | PT_UNCACHED);
        }
        end();
    }
}

Test(pagetable, unmap_splits_1g_twice) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){3 * SIZE_1G}, SIZE_1G, RW));
        cr_assert(pt_unmap(&pt, SIZE_1G + SIZE_2M + PAGE_SIZE, PAGE_SIZE));
        expect_mapped(SIZE_1G, 3 * SIZE_1G, SIZE_2M, RW);
        expect_mapped(SIZE_1G + SIZE_2M, 3 * SIZE_1G + SIZE_2M, PAGE_SIZE, RW);
        expect_hole(SIZE_1G + SIZE_2M + PAGE_SIZE, PAGE_SIZE);
        expect_mapped(SIZE_1G + SIZE_2M + 2 * PAGE_SIZE, 3 * SIZE_1G + SIZE_2M + 2 * PAGE_SIZE,
                      PAGE_SIZE, RW);
        expect_mapped(2 * SIZE_1G - SIZE_2M, 4 * SIZE_1G - SIZE_2M, SIZE_2M, RW);
        end();
    }
}

Test(pagetable, unmap_cuts_the_first_and_last_leaf_of_a_range) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, 0, (hpa_t){SIZE_1G}, 4 * SIZE_2M, RW));
        cr_assert(pt_unmap(&pt, SIZE_2M - PAGE_SIZE, 2 * SIZE_2M + 2 * PAGE_SIZE));
        expect_mapped(SIZE_2M - 2 * PAGE_SIZE, SIZE_1G + SIZE_2M - 2 * PAGE_SIZE, PAGE_SIZE, RW);
        expect_hole(SIZE_2M - PAGE_SIZE, PAGE_SIZE);
        expect_hole(SIZE_2M, SIZE_2M);
        expect_hole(3 * SIZE_2M, PAGE_SIZE);
        expect_mapped(3 * SIZE_2M + PAGE_SIZE, SIZE_1G + 3 * SIZE_2M + PAGE_SIZE, PAGE_SIZE, RW);
        end();
    }
}

Test(pagetable, unmap_of_nothing_needs_nothing) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_unmap(&pt, 0, ADDRESS_END));
        cr_expect_eq(used_count, 1);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){SIZE_1G}, PAGE_SIZE, RW));
        cr_assert(pt_unmap(&pt, PAGE_SIZE, SIZE_1G)); // from inside a hole, to behind the page
        expect_hole(SIZE_1G, PAGE_SIZE);
        end();
    }
}

Test(pagetable, map_without_memory_undoes_itself) {
    FOR_EACH_FORMAT(f) {
        // The whole range needs five tables: two of level 2 pages, one for pages at each end.
        const uint64_t base = 512 * SIZE_1G - SIZE_2M - PAGE_SIZE,
                       size = 2 * SIZE_2M + 2 * PAGE_SIZE;
        for (budget = 1;; budget++) {
            make(formats[f]);
            bool is_mapped = pt_map(&pt, base, (hpa_t){base}, size, RW);
            for (uint64_t a = 0; a < size; a += PAGE_SIZE)
                cr_expect_eq(pt_lookup(&pt, base + a).rights, is_mapped ? RW : 0, "%#lx", base + a);
            uint32_t needed = used_count;
            end();
            if (is_mapped) {
                cr_expect_eq(budget, needed);
                cr_expect_eq(needed, 7);
                break;
            }
        }
    }
}

Test(pagetable, map_over_a_mapping_is_refused_and_changes_nothing) {
    const uint64_t sizes[] = {PAGE_SIZE, SIZE_2M, SIZE_1G};
    FOR_EACH_FORMAT(f) {
        for (unsigned s = 0; s < ARRAY_COUNT(sizes); s++) {
            make(formats[f]);
            cr_assert(pt_map(&pt, 4 * SIZE_1G, (hpa_t){SIZE_1G}, sizes[s], RW));
            cr_expect_not(pt_map(&pt, 4 * SIZE_1G, (hpa_t){2 * SIZE_1G}, PAGE_SIZE, RX));
            cr_expect_not(pt_map(&pt, 4 * SIZE_1G, (hpa_t){2 * SIZE_1G}, sizes[s], RX));
            uint64_t before = 4 * SIZE_1G - PAGE_SIZE;
            cr_expect_not(pt_map(&pt, before, (hpa_t){2 * SIZE_1G}, 2 * PAGE_SIZE, RX));
            cr_expect_eq(pt_lookup(&pt, before).rights, 0);
            expect_mapped(4 * SIZE_1G, SIZE_1G, sizes[s], RW);
            end();
        }
    }
}

Test(pagetable, unmap_without_memory_keeps_the_leaf_whole) {
    FOR_EACH_FORMAT(f) {
        budget = TABLES;
        make(formats[f]);
        cr_assert(pt_map(&pt, 0, (hpa_t){SIZE_1G}, 2 * SIZE_2M, RW));
        budget = used_count;
        cr_expect_not(pt_unmap(&pt, 0, SIZE_2M + PAGE_SIZE));
        expect_hole(0, SIZE_2M);
        expect_mapped(SIZE_2M, SIZE_1G + SIZE_2M, SIZE_2M, RW);
        cr_expect(pt_unmap(&pt, SIZE_2M, SIZE_2M));
        end();
    }
}

Test(pagetable, no_memory_for_the_root) {
    const struct pt_memory memory = {NULL, table_alloc, table_free, table_access};
    budget = 0;
    cr_expect_not(pt_init(&pt, &ept_format, memory));
}

Test(pagetable, entry_is_the_one_that_lookup_sees) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, 0x7fffffff000, (hpa_t){0x1000}, PAGE_SIZE, RW));
        uint64_t *entry = pt_entry(&pt, 0x7fffffff000);
        *entry = formats[f]->leaf((hpa_t){0x5000}, RX, 0);
        expect_mapped(0x7fffffff123, 0x5000, PAGE_SIZE, RX);
        end();
    }
}

Test(pagetable, destroy_frees_its_root_entries_only) {
    make(&paging_format);
    cr_assert(pt_map(&pt, 0, (hpa_t){0}, PAGE_SIZE, RW));
    cr_assert(pt_map(&pt, 1ULL << 47, (hpa_t){0}, PAGE_SIZE, RW)); // root entry 256
    cr_expect(pt_destroy(&pt, 255, UINT64_MAX));
    cr_expect_eq(pt.root.v, 0);
    cr_expect_eq(used_count, 3, "the tables of the upper half are another's");
}

Test(pagetable, destroy_in_parts_leaves_the_rest_whole) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        for (uint64_t i = 0; i < 5; i++)
            cr_assert(pt_map(&pt, i * SIZE_1G, (hpa_t){SIZE_1G}, PAGE_SIZE, RW));
        for (uint32_t left = used_count; left > 3; left -= 3) {
            cr_assert_not(pt_destroy(&pt, 511, 3));
            cr_expect_eq(used_count, left - 3);
            for (uint64_t i = 0; i < 5; i++) {
                struct pt_mapping leaf = pt_lookup(&pt, i * SIZE_1G);
                cr_expect(leaf.rights == 0 || leaf.frame.v == SIZE_1G);
            }
        }
        cr_expect_neq(pt.root.v, 0);
        cr_expect(pt_destroy(&pt, 511, 3));
        cr_expect(pt.root.v == 0 && used_count == 0);
    }
}

Test(pagetable, unmap_in_parts_says_how_far_it_came) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_2M, (hpa_t){SIZE_1G}, 4 * SIZE_2M, RW));
        cr_expect_eq(pt_unmap_some(&pt, 0, 8 * SIZE_2M, 3), 3 * SIZE_2M, "a hole and two leaves");
        expect_hole(SIZE_2M, SIZE_2M);
        expect_mapped(3 * SIZE_2M, SIZE_1G + 2 * SIZE_2M, SIZE_2M, RW);
        cr_expect_eq(pt_unmap_some(&pt, 3 * SIZE_2M, 2 * SIZE_2M + PAGE_SIZE, 100),
                     2 * SIZE_2M + PAGE_SIZE, "no further than it shall");
        end();
    }
}

// Random operations against an array of pages: three clusters of addresses, so that leaves of all
// sizes are made and cut.
#define SHADOW_PAGES (4 * 512u)
struct shadow {
    uint64_t frame;
    uint32_t rights; // 0: hole
};
static struct shadow shadow[SHADOW_PAGES];

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static bool is_range_free(uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; i++)
        if (shadow[i].rights != 0)
            return false;
    return true;
}

static void random_map(uint64_t *seed, uint64_t base, uint64_t first, uint64_t count) {
    // Often congruent modulo 2 MiB, so that large leaves come about.
    uint64_t offset = next_random(seed) % 3 == 0 ? next_random(seed) % 512 * PAGE_SIZE : 0;
    uint64_t frame = 64 * SIZE_1G + offset + first * PAGE_SIZE;
    uint32_t rights = next_random(seed) % 2 == 0 ? RW : RX;
    bool is_free = is_range_free(first, count);
    bool is_mapped =
        pt_map(&pt, base + first * PAGE_SIZE, (hpa_t){frame}, count * PAGE_SIZE, rights);
    cr_assert_eq(is_mapped, is_free, "map %lu+%lu", first, count);
    for (uint64_t i = 0; is_mapped && i < count; i++)
        shadow[first + i] = (struct shadow){frame + i * PAGE_SIZE, rights};
}

static void random_unmap(uint64_t base, uint64_t first, uint64_t count) {
    cr_assert(pt_unmap(&pt, base + first * PAGE_SIZE, count * PAGE_SIZE));
    for (uint64_t i = first; i < first + count; i++)
        shadow[i].rights = 0;
}

static void compare(uint64_t base) {
    for (uint64_t i = 0; i < SHADOW_PAGES; i++) {
        uint64_t address = base + i * PAGE_SIZE;
        struct pt_mapping m = pt_lookup(&pt, address);
        cr_assert_eq(m.rights, shadow[i].rights, "page %lu: rights %#x", i, m.rights);
        if (m.rights != 0)
            cr_assert_eq(m.frame.v + address % m.size, shadow[i].frame, "page %lu", i);
    }
}

Test(pagetable, random_operations_match_a_model) {
    uint64_t seed = 0x2545f4914f6cdd1dULL;
    FOR_EACH_FORMAT(f) {
        const uint64_t base = 7 * SIZE_1G - 2 * SIZE_2M; // across a GiB
        make(formats[f]);
        memset(shadow, 0, sizeof(shadow));
        for (unsigned round = 0; round < 3000; round++) {
            uint64_t random = next_random(&seed);
            uint64_t unit = random % 4 == 0 ? 512 : 1;
            uint64_t first = next_random(&seed) % SHADOW_PAGES / unit * unit;
            uint64_t count = (next_random(&seed) % 3 + 1) * (random % 8 < 4 ? 512 : 7);
            count = MIN(count, SHADOW_PAGES - first);
            if (random & 16)
                random_map(&seed, base, first, count);
            else
                random_unmap(base, first, count);
            if (round % 50 == 0)
                compare(base);
        }
        compare(base);
        end();
    }
}

// ---- code on small pages ------------------------------------------------------------------------

Test(pagetable, split_maps_the_same_by_pages) {
    FOR_EACH_FORMAT(f) {
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){4 * SIZE_1G}, SIZE_1G, RW));
        uint32_t before = used_count;
        cr_assert(pt_split(&pt, SIZE_1G + 5 * SIZE_2M + 7 * PAGE_SIZE, RX));
        cr_expect_eq(used_count, before + 2);
        for (uint64_t at = 0; at < SIZE_2M; at += PAGE_SIZE)
            expect_mapped(SIZE_1G + 5 * SIZE_2M + at, 4 * SIZE_1G + 5 * SIZE_2M + at, PAGE_SIZE,
                          RX);
        for (uint64_t at = 0; at < SIZE_1G; at += SIZE_2M)
            if (at != 5 * SIZE_2M)
                expect_mapped(SIZE_1G + at, 4 * SIZE_1G + at, SIZE_2M, RX);
        cr_assert(pt_split(&pt, SIZE_1G + 5 * SIZE_2M, RX), "again: nothing is left to do");
        cr_expect_eq(used_count, before + 2);
        cr_assert(pt_split(&pt, 5 * SIZE_1G, RX), "a hole stays one");
        expect_hole(5 * SIZE_1G, SIZE_1G);
        end();
    }
}

Test(pagetable, split_without_memory_leaves_the_mapping) {
    FOR_EACH_FORMAT(f) {
        budget = TABLES;
        make(formats[f]);
        cr_assert(pt_map(&pt, SIZE_1G, (hpa_t){4 * SIZE_1G}, SIZE_1G, RWX));
        budget = used_count;
        cr_expect_not(pt_split(&pt, SIZE_1G + SIZE_2M, RWX));
        expect_mapped(SIZE_1G + SIZE_2M, 4 * SIZE_1G, SIZE_1G, RWX);
        budget++;
        cr_expect_not(pt_split(&pt, SIZE_1G + SIZE_2M, RWX));
        expect_mapped(SIZE_1G + SIZE_2M, 4 * SIZE_1G + SIZE_2M, SIZE_2M, RWX);
        end();
    }
}

// What a CPU with ITLB multihit is given: no leaf above 4 KiB that code can run from, whatever is
// asked for.
Test(pagetable, small_code_runs_from_pages_alone) {
    ept_init(true, true, true);
    make(&ept_format);
    cr_assert(pt_map(&pt, SIZE_1G - SIZE_2M - PAGE_SIZE, (hpa_t){4 * SIZE_1G - SIZE_2M - PAGE_SIZE},
                     SIZE_1G + SIZE_2M + PAGE_SIZE, RWX));
    expect_mapped(SIZE_1G, 4 * SIZE_1G, SIZE_1G, RW);
    expect_mapped(SIZE_1G - SIZE_2M, 4 * SIZE_1G - SIZE_2M, SIZE_2M, RW);
    expect_mapped(SIZE_1G - SIZE_2M - PAGE_SIZE, 4 * SIZE_1G - SIZE_2M - PAGE_SIZE, PAGE_SIZE, RWX);
    cr_assert(pt_split(&pt, SIZE_1G, RWX));
    expect_mapped(SIZE_1G, 4 * SIZE_1G, PAGE_SIZE, RWX);
    expect_mapped(SIZE_1G + SIZE_2M - PAGE_SIZE, 4 * SIZE_1G + SIZE_2M - PAGE_SIZE, PAGE_SIZE, RWX);
    expect_mapped(SIZE_1G + SIZE_2M, 4 * SIZE_1G + SIZE_2M, SIZE_2M, RW);
    end();
}
