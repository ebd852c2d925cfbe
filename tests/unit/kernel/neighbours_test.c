// SPDX-License-Identifier: Apache-2.0
// Quotas side by side, with kernel/frame.c, memory.c and quota.c: what a quota has left it gets,
// whatever its neighbours have done inside theirs. The machine is small, and given away to the last
// page.
#include "tests/unit/kernel/support.h"

#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/memory.h"

#include <criterion/criterion.h>
#include <string.h>

#define MIB   (1ULL << 20)
#define PAGES 16000u

static const struct boot_memory small_map[] = {
    {.base = HOST_RAM_BASE, .length = 60 * MIB, .type = BOOT_MEMORY_FREE}};

static void set_up(void) {
    host_init(small_map, 1);
    quota_init_root(frame_totals().free);
    (void)audit_all(); // takes a page for good, the first time
}
TestSuite(kernel_neighbours, .init = set_up);

static uint64_t left_of(struct quota *quota) {
    struct abi_quota_info info = host_quota_read(quota);
    return info.limit - info.used;
}

static void expect_order(void) {
    struct abi_audit report = audit_all();
    cr_assert_eq(report.errors, 0, "error %u: frame %#lx", report.error, report.frame);
}

// Kernel pages, of which every 512th stays: one in each 2 MiB.
static void leave_one_in_each_chunk(struct quota *quota) {
    static void *page[PAGES];
    uint32_t count = 0;
    while ((page[count] = quota_alloc_page(quota)) != NULL)
        count++;
    for (uint32_t i = 0; i < count; i++)
        if (i % 512 != 100)
            quota_free_page(quota, page[i]);
}

// The same with memory objects of a page.
static void leave_one_object_in_each_chunk(struct quota *quota) {
    static struct memory *memory[PAGES];
    uint32_t count = 0;
    while ((memory[count] = memory_create(quota, PAGE_SIZE)) != NULL)
        count++;
    for (uint32_t i = 0; i < count; i++)
        if (i % 128 != 100)
            object_unref(&memory[i]->object);
}

static void leave_nothing(struct quota *quota) {
    (void)quota;
}

// Two of 27 MiB. One does that, and then takes its RAM as the other does.
static void expect_room(void (*hostile)(struct quota *)) {
    struct quota *a = quota_create(quota_root(), 27 * MIB);
    struct quota *b = quota_create(quota_root(), 27 * MIB);
    hostile(a);
    uint64_t kernel = frame_totals().kernel;
    struct memory *own = memory_create(a, 25 * MIB);
    cr_expect_not_null(own, "%lu KiB are left of A", left_of(a) >> 10);
    struct memory *other = memory_create(b, 25 * MIB);
    cr_expect_not_null(other, "%lu KiB are left of B, and %lu KiB free", left_of(b) >> 10,
                       frame_totals().free >> 10);
    expect_order();
    if (own != NULL)
        object_unref(&own->object);
    if (other != NULL)
        object_unref(&other->object);
    object_finish();
    expect_order();
    cr_expect_eq(frame_totals().kernel, kernel, "kernel pages are left behind");
}

Test(kernel_neighbours, two_have_room) {
    expect_room(leave_nothing);
}
Test(kernel_neighbours, scattered_kernel_pages_keep_nothing_from_others) {
    expect_room(leave_one_in_each_chunk);
}
Test(kernel_neighbours, scattered_memory_objects_keep_nothing_from_others) {
    expect_room(leave_one_object_in_each_chunk);
}

// As when VMs with much in the kernel have ended: their quotas are free, so memory must be, too.
Test(kernel_neighbours, what_the_pool_does_not_use_is_found) {
    leave_one_in_each_chunk(quota_root());
    uint64_t chunks = (left_of(quota_root()) - 3 * PAGE_SIZE) / (SIZE_2M + PAGE_SIZE);
    struct memory *memory = memory_create(quota_root(), chunks * SIZE_2M);
    cr_assert_not_null(memory);
    expect_order();
}

// Memory in pieces is cleared before anybody sees it, each page once, and no page is in it twice,
// or the kernel's.
Test(kernel_neighbours, memory_in_pieces_is_like_any_other) {
    static uint8_t seen[(HOST_RAM_BASE + HOST_RAM_SIZE) >> PAGE_SHIFT];
    leave_one_in_each_chunk(quota_root());
    struct memory *memory = memory_create(quota_root(), 40 * MIB + 5 * PAGE_SIZE);
    cr_assert_not_null(memory);
    uint64_t small = 0;
    for (uint64_t offset = 0; offset < memory->size; offset += PAGE_SIZE) {
        struct memory_run run = memory_get(memory, offset, NULL);
        cr_assert(offset >= run.offset && offset - run.offset < run.size);
        hpa_t frame = {run.frame.v + offset - run.offset};
        cr_assert_eq(seen[frame.v >> PAGE_SHIFT]++, 0, "%#lx twice", frame.v);
        cr_assert_eq(host_times_cleared(frame), 1);
        cr_assert_not(host_is_mapped(frame), "the kernel maps %#lx", frame.v);
        small += run.size == PAGE_SIZE;
    }
    cr_expect_gt(small, 5000, "only %lu are in pieces", small);
}

// ---- at random ----------------------------------------------------------------------------------

// A VM: a quota, perhaps with one inside it, and what is charged to the inner one.
#define THINGS 2000u
struct compartment {
    struct quota *quota, *inner; // the same where there is none
    uint64_t limit, left;        // the model's, of the inner one
    uint32_t count;
    struct {
        void *page; // or
        struct memory *memory;
        uint64_t charge;
    } things[THINGS];
};

static struct compartment compartments[4];
static uint64_t seed = 88172645463325252ULL;

static void open_compartment(struct compartment *c, uint64_t limit) {
    *c = (struct compartment){.limit = limit, .left = limit};
    c->inner = c->quota = quota_create(quota_root(), limit);
    cr_assert_not_null(c->quota, "%lu of %lu KiB are left", left_of(quota_root()) >> 10,
                       limit >> 10);
    if (host_random(&seed) % 2 == 0)
        return;
    c->left = limit - PAGE_SIZE;
    c->inner = quota_create(c->quota, c->left);
    cr_assert_not_null(c->inner);
}

static uint64_t charge_of(uint64_t size) {
    uint64_t chunks = (size + SIZE_2M - 1) / SIZE_2M, tables = 1 + (size + SIZE_1G - 1) / SIZE_1G;
    return size + (chunks + tables + 1) * PAGE_SIZE;
}

// Each succeeds if the books of its own quota say so, and only then.
static void take(struct compartment *c, uint64_t size) {
    bool is_page = size == 0;
    uint64_t charge = is_page ? PAGE_SIZE : charge_of(size);
    void *page = is_page ? quota_alloc_page(c->inner) : NULL;
    struct memory *memory = is_page ? NULL : memory_create(c->inner, size);
    object_finish();
    bool is_there = page != NULL || memory != NULL;
    cr_assert_eq(is_there, charge <= c->left, "%lu KiB for %lu: %d; %lu KiB are free", charge >> 10,
                 c->left >> 10, is_there, frame_totals().free >> 10);
    if (!is_there)
        return;
    if (page != NULL)
        memset(page, 0x5a, PAGE_SIZE);
    c->left -= charge;
    c->things[c->count].page = page;
    c->things[c->count].memory = memory;
    c->things[c->count++].charge = charge;
}

static void give(struct compartment *c, uint32_t i) {
    c->left += c->things[i].charge;
    if (c->things[i].page != NULL)
        quota_free_page(c->inner, c->things[i].page);
    else
        object_unref(&c->things[i].memory->object);
    object_finish();
    c->things[i] = c->things[--c->count];
}

static void close_compartment(struct compartment *c) {
    while (c->count > 0)
        give(c, c->count - 1);
    if (c->inner != c->quota)
        object_unref(&c->inner->object);
    object_unref(&c->quota->object);
    object_finish();
}

static uint64_t draw_size(void) {
    switch (host_random(&seed) % 8) {
    case 0:
        return (1 + host_random(&seed) % 1100) * PAGE_SIZE;
    case 1:
        return (1 + host_random(&seed) % 3) * SIZE_2M;
    case 2:
        return PAGE_SIZE;
    default:
        return 0; // a kernel page
    }
}

// Fills, or empties, or both, and never asks for what is not its own.
static void disturb(struct compartment *c) {
    uint64_t kind = host_random(&seed) % 4;
    for (uint32_t n = 0; n < 400; n++) {
        bool is_taking = kind == 0 || (kind == 1 && host_random(&seed) % 2 == 0);
        if (is_taking && c->count < THINGS)
            take(c, draw_size());
        else if (c->count > 0 && kind != 0)
            give(c, (uint32_t)(host_random(&seed) % c->count));
    }
}

// As its VMM does at each start: all of it that is left, as RAM.
static void restart(struct compartment *c, uint64_t ram) {
    uint64_t limit = c->limit;
    close_compartment(c);
    open_compartment(c, limit);
    for (uint32_t i = 0; i < 50; i++)
        take(c, 0);
    take(c, ram);
    cr_assert_eq(c->count, 51);
}

Test(kernel_neighbours, random_quotas_get_what_their_books_say) {
    const uint64_t ram[] = {16 * MIB, 8 * MIB, 5 * MIB, 17 * MIB};
    uint64_t whole = left_of(quota_root()), kernel = frame_totals().kernel;
    for (uint32_t i = 0; i < ARRAY_COUNT(compartments); i++)
        open_compartment(&compartments[i], ram[i] + ram[i] / 128 + 2 * MIB);
    cr_assert_lt(left_of(quota_root()), 4 * MIB, "the machine is not given away");
    static struct compartment rest;
    rest.inner = quota_root();
    rest.left = left_of(quota_root());
    take(&rest, align_down(rest.left - 6 * PAGE_SIZE, PAGE_SIZE));
    for (uint32_t round = 0; round < 1000; round++) {
        struct compartment *c = &compartments[host_random(&seed) % ARRAY_COUNT(compartments)];
        if (host_random(&seed) % 8 == 0)
            restart(c, ram[c - compartments]);
        else
            disturb(c);
        if (round % 100 == 0)
            expect_order();
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(compartments); i++)
        close_compartment(&compartments[i]);
    expect_order();
    object_unref(&rest.things[0].memory->object);
    object_finish();
    cr_expect_eq(left_of(quota_root()), whole);
    cr_expect_eq(frame_totals().kernel, kernel, "kernel pages are left behind");
}
