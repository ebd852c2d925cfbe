// SPDX-License-Identifier: Apache-2.0
// See kernel/frame.h. Large runs are taken from the top of memory, single pages from the bottom,
// so that they do not break each other up. What is held with the lock is bounded, whatever memory
// looks like (kernel/bitmap.h).
#include "kernel/frame.h"

#include "include/boot.h"
#include "kernel/bitmap.h"
#include "kernel/lock.h"
#include "kernel/log.h"
#include "kernel/smp.h"
#include "kernel/space.h"
#include "kernel/thread.h"
#include "lib/string.h"

#define SEARCH_MAX     64u // candidates that are looked at with the lock
#define POOL_RESERVE   8u  // pages kept back for the tables that mapping more of the pool needs
#define POOL_TRIES     16u // pages that are added at most to bring one
#define POOL_GROW      SIZE_2M
#define RECLAIM_CHUNKS 16u // that one call gives back at most
#define RECLAIM_PAGES  64u
#define BOOT_POOL_MIN  (SIZE_1M + SIZE_1M / 2)
#define SIZE_1M        (1ULL << 20)
#define POOL_BELOW     (1ULL << 32) // the APs load CR3 while they are in 32-bit code

#define CHUNK_PAGES (SIZE_2M >> PAGE_SHIFT)

// The first bytes of a page of the pool that nobody uses. A chunk is 2 MiB, aligned; of one that is
// in no use at all only the first page is in a list, that of chunks.
struct pool_page {
    struct pool_page *next, *previous;
};

static struct {
    struct spinlock lock;
    struct bitmap map;        // set: a frame is free [lock]
    struct bitmap whole;      // set: all of a chunk is free [lock]
    uint8_t *owners;          // the auditor's, a byte a frame
    uint64_t direct;          // what to add to a physical address to reach a kernel page
    uint64_t total, free;     // bytes [lock]
    uint64_t kernel;          // bytes of the pool that are in use, and the bitmap [lock]
    struct pool_page *pool;   // pages of chunks that are partly in use [lock]
    struct pool_page *chunks; // first pages of those that are not [lock]
    uint64_t pool_count;      // pages in both [lock]
    uint32_t reclaims;        // CPUs that are about to give back some of them [lock]
    uint16_t *chunk_free;     // by chunk: how many of its pages are in either [lock]
    hpa_t low;                // below 1 MiB, nobody's; 0: none
    hpa_t boot_run;
    uint64_t boot_run_size;
} frames = {.lock = {.rank = LOCK_FRAMES}};

void *frame_to_kernel(hpa_t frame) {
    return (void *)(frame.v + frames.direct);
}

hpa_t frame_of_kernel(const void *page) {
    return (hpa_t){(uint64_t)page - frames.direct};
}

// Of frames [first, first+count), and of the chunks that they are of.
static void mark(uint64_t first, uint64_t count, bool is_free) {
    bitmap_set(&frames.map, first, count, is_free);
    for (uint64_t i = align_down(first, CHUNK_PAGES); i < first + count; i += CHUNK_PAGES) {
        uint64_t end = i + CHUNK_PAGES;
        bool is_whole =
            is_free && end <= frames.map.count && bitmap_run(&frames.map, i, end) == end;
        bitmap_set(&frames.whole, i / CHUNK_PAGES, 1, is_whole);
    }
}

// How much became free.
static uint64_t release_range(uint64_t base, uint64_t size) {
    mark(base >> PAGE_SHIFT, size >> PAGE_SHIFT, true);
    frames.free += size;
    return size;
}

// Behind as many candidates as the lock may be held for it stops, to go on from `at`.
struct search {
    uint64_t count, align; // frames
    uint64_t at;
    unsigned left; // candidates
};

enum found { FOUND_NOT, FOUND, FOUND_NOT_YET };

// From the bottom: for runs smaller than 2 MiB. Behind a frame in use it goes on behind that one,
// so that no word is looked at twice, however broken up memory is.
static enum found find_low(struct search *search, uint64_t *first) {
    for (; search->left > 0; search->left--) {
        *first = align_up(bitmap_next(&frames.map, search->at), search->align);
        uint64_t end = *first + search->count;
        if (end > frames.map.count)
            return FOUND_NOT;
        uint64_t used = bitmap_run(&frames.map, *first, end);
        if (used == end)
            return FOUND;
        search->at = used;
    }
    return FOUND_NOT_YET;
}

// From the top: for whole chunks. `at` is one of theirs.
static enum found find_high(struct search *search, uint64_t *first) {
    uint64_t count = search->count / CHUNK_PAGES;
    for (; search->left > 0; search->left--) {
        uint64_t end = bitmap_last(&frames.whole, search->at) + 1;
        if (end > frames.whole.count || end < count)
            return FOUND_NOT;
        uint64_t begin = align_down(end - count, search->align / CHUNK_PAGES);
        *first = begin * CHUNK_PAGES;
        if (bitmap_run(&frames.whole, begin, begin + count) == begin + count)
            return FOUND;
        search->at = begin + count - 1;
    }
    return FOUND_NOT_YET;
}

static bool is_large(const struct search *search) {
    return search->count >= CHUNK_PAGES;
}

static struct search begin_search(uint64_t size, uint64_t align) {
    struct search search = {.count = size >> PAGE_SHIFT, .align = MAX(align >> PAGE_SHIFT, 1)};
    search.at = is_large(&search) ? frames.whole.count : 0;
    return search;
}

static enum found alloc_some(struct search *search, hpa_t *base) {
    uint64_t first;
    search->left = SEARCH_MAX;
    enum found found = is_large(search) ? find_high(search, &first) : find_low(search, &first);
    if (found == FOUND) {
        mark(first, search->count, false);
        frames.free -= search->count << PAGE_SHIFT;
        base->v = first << PAGE_SHIFT;
    }
    return found;
}

// A chunk, or a page: the first candidate is one.
static bool alloc_locked(uint64_t size, hpa_t *base) {
    struct search search = begin_search(size, size);
    return alloc_some(&search, base) == FOUND;
}

bool frame_alloc(uint64_t size, uint64_t align, hpa_t *base) {
    struct search search = begin_search(size, align);
    for (;;) {
        lock_take(&frames.lock);
        enum found found = alloc_some(&search, base);
        lock_drop(&frames.lock);
        if (found != FOUND_NOT_YET)
            return found == FOUND;
        thread_preempt();
    }
}

void frame_free(hpa_t base, uint64_t size) {
    lock_take(&frames.lock);
    release_range(base.v, size);
    lock_drop(&frames.lock);
}

void frame_add(hpa_t base, uint64_t size) {
    lock_take(&frames.lock);
    frames.total += release_range(base.v, size);
    lock_drop(&frames.lock);
}

bool frame_low(hpa_t *page) {
    *page = frames.low;
    return page->v != 0;
}

static void list_put(struct pool_page **list, struct pool_page *entry) {
    entry->previous = NULL;
    entry->next = *list;
    if (*list != NULL)
        (*list)->previous = entry;
    *list = entry;
}

static void list_take(struct pool_page **list, const struct pool_page *entry) {
    if (entry->previous != NULL)
        entry->previous->next = entry->next;
    else
        *list = entry->next;
    if (entry->next != NULL)
        entry->next->previous = entry->previous;
}

static struct pool_page *chunk_page(hpa_t chunk, uint64_t index) {
    return frame_to_kernel((hpa_t){chunk.v + index * PAGE_SIZE});
}

// A chunk whose last page comes back is kept whole, so that it is used last and can be given back.
static void pool_put(void *page) {
    hpa_t chunk = {align_down(frame_of_kernel(page).v, SIZE_2M)};
    list_put(&frames.pool, page);
    frames.pool_count++;
    if (++frames.chunk_free[chunk.v / SIZE_2M] < CHUNK_PAGES)
        return;
    for (uint64_t i = 0; i < CHUNK_PAGES; i++)
        list_take(&frames.pool, chunk_page(chunk, i));
    list_put(&frames.chunks, chunk_page(chunk, 0));
}

static void pool_put_range(hpa_t base, uint64_t size) {
    for (uint64_t offset = size; offset > 0; offset -= PAGE_SIZE)
        pool_put(frame_to_kernel((hpa_t){base.v + offset - PAGE_SIZE}));
}

// The next page of the pool, which stays there. NULL: it has none.
static struct pool_page *pool_next(void) {
    if (frames.pool == NULL && frames.chunks != NULL) {
        hpa_t chunk = frame_of_kernel(frames.chunks);
        list_take(&frames.chunks, frames.chunks);
        for (uint64_t i = CHUNK_PAGES; i-- > 0;)
            list_put(&frames.pool, chunk_page(chunk, i));
    }
    return frames.pool;
}

static void *pool_take(void) {
    struct pool_page *entry = pool_next();
    if (entry == NULL)
        return NULL;
    list_take(&frames.pool, entry);
    frames.chunk_free[frame_of_kernel(entry).v / SIZE_2M]--;
    frames.pool_count--;
    frames.kernel += PAGE_SIZE;
    return entry;
}

// Mapping the new run takes tables out of the pool itself, hence the reserve. The lock is kept: who
// maps kernel memory calls back into kernel_page_alloc_locked only.
// False: nothing is free that could be added.
static bool pool_grow(void) {
    uint64_t size = POOL_GROW;
    hpa_t base;
    if (!alloc_locked(size, &base)) {
        size = PAGE_SIZE;
        if (!alloc_locked(size, &base))
            return false;
    }
    bool is_mapped = space_map_direct(base, size);
    if (is_mapped)
        pool_put_range(base, size);
    else
        release_range(base.v, size);
    return is_mapped;
}

// The tables that map what it gets come out of it: a page may bring nothing, the next one then
// does.
static void pool_fill(void) {
    for (unsigned n = 0; n < POOL_TRIES && frames.pool_count <= POOL_RESERVE; n++)
        if (!pool_grow())
            return;
}

// Takes a chunk that is in no use out of the pool and out of the direct map. False: the pool has
// none to spare.
static bool chunk_unmap(hpa_t *chunk) {
    bool is_spare = frames.chunks != NULL && frames.pool_count > CHUNK_PAGES + POOL_RESERVE;
    if (is_spare) {
        *chunk = frame_of_kernel(frames.chunks);
        list_take(&frames.chunks, frames.chunks);
        frames.chunk_free[chunk->v / SIZE_2M] = 0;
        frames.pool_count -= CHUNK_PAGES;
        space_unmap_direct(*chunk, SIZE_2M);
    }
    return is_spare;
}

// The same with a page of a chunk that is partly in use, or that the pool cannot spare as a whole.
static bool page_unmap(hpa_t *page) {
    // Cutting the large page that maps it may take a page, too.
    struct pool_page *entry = frames.pool_count > POOL_RESERVE + 1 ? pool_next() : NULL;
    if (entry == NULL)
        return false;
    *page = frame_of_kernel(entry);
    list_take(&frames.pool, entry);
    frames.chunk_free[page->v / SIZE_2M]--;
    frames.pool_count--;
    space_unmap_direct(*page, PAGE_SIZE);
    return true;
}

static bool reclaim(bool (*unmap)(hpa_t *), uint64_t size, uint32_t max) {
    hpa_t run[RECLAIM_PAGES];
    uint32_t count = 0;
    lock_take(&frames.lock);
    while (count < max && unmap(&run[count]))
        count++;
    bool is_on_its_way = frames.reclaims > 0;
    frames.reclaims += count > 0;
    // Nobody's meanwhile: the flush may wait for the auditor, who would miss them.
    frames.total -= count * size;
    lock_drop(&frames.lock);
    if (count == 0) {
        smp_interrupt(); // who gives back waits for us
        return is_on_its_way;
    }
    smp_flush_all();
    for (uint32_t i = 0; i < count; i++)
        frame_add(run[i], size);
    lock_take(&frames.lock);
    frames.reclaims--;
    lock_drop(&frames.lock);
    return true;
}

bool frame_reclaim(void) {
    return reclaim(chunk_unmap, SIZE_2M, RECLAIM_CHUNKS);
}

bool frame_reclaim_pages(void) {
    return frame_reclaim() || reclaim(page_unmap, PAGE_SIZE, RECLAIM_PAGES);
}

void *frame_table_alloc(void) {
    void *page = pool_take();
    if (page != NULL)
        memset(page, 0, PAGE_SIZE);
    return page;
}

bool frame_with_tables(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                       uint32_t rights) {
    lock_take(&frames.lock);
    pool_fill();
    bool is_mapped = pt_map(pt, address, frame, size, rights);
    lock_drop(&frames.lock);
    return is_mapped;
}

void frame_boot_run(hpa_t *base, uint64_t *size) {
    *base = frames.boot_run;
    *size = frames.boot_run_size;
}

uint64_t frame_memory_end(void) {
    return frames.map.count << PAGE_SHIFT;
}

void *kernel_page_alloc(void) {
    lock_take(&frames.lock);
    pool_fill();
    void *page = frames.pool_count > POOL_RESERVE ? pool_take() : NULL;
    lock_drop(&frames.lock);
    if (page != NULL)
        memset(page, 0, PAGE_SIZE);
    return page;
}

void kernel_page_free(void *page) {
    lock_take(&frames.lock);
    pool_put(page);
    frames.kernel -= PAGE_SIZE;
    lock_drop(&frames.lock);
}

static bool is_usable(const struct boot_memory *range) {
    return range->type == BOOT_MEMORY_FREE;
}

// RAM of any kind that the kernel may own one day; the end of it sizes the bitmap.
static uint64_t memory_end(const struct boot_memory *map, uint32_t count) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool is_ram = map[i].type >= BOOT_MEMORY_FREE && map[i].type <= BOOT_MEMORY_MODULE;
        if (is_ram)
            end = map[i].base + map[i].length;
    }
    return end;
}

// A 2 MiB-aligned run of free memory below 4 GiB for the bitmap and the first of the pool.
static hpa_t boot_run_find(const struct boot_memory *map, uint32_t count, uint64_t size) {
    for (uint32_t i = 0; i < count; i++) {
        uint64_t base = align_up(MAX(map[i].base, SIZE_1M), SIZE_2M);
        uint64_t end = MIN(map[i].base + map[i].length, POOL_BELOW);
        if (is_usable(&map[i]) && base < end && size <= end - base)
            return (hpa_t){base};
    }
    halt_machine("too little memory below 4 GiB for the hypervisor: it needs 4 MiB in one piece");
}

void frame_init(const struct boot_memory *map, uint32_t count) {
    uint64_t frame_count = memory_end(map, count) >> PAGE_SHIFT,
             chunk_count = frame_count / CHUNK_PAGES + 1;
    uint64_t map_size = align_up(bitmap_bytes(frame_count), PAGE_SIZE);
    uint64_t whole_size = align_up(bitmap_bytes(chunk_count), PAGE_SIZE);
    uint64_t owners_size = align_up(frame_count, PAGE_SIZE);
    uint64_t counts_size = align_up(chunk_count * sizeof(*frames.chunk_free), PAGE_SIZE);
    uint64_t maps_size = map_size + whole_size + owners_size + counts_size;
    uint64_t run = align_up(maps_size + BOOT_POOL_MIN, SIZE_2M);
    hpa_t base = boot_run_find(map, count, run);
    uint8_t *maps = frame_to_kernel(base);
    frames.owners = maps + map_size + whole_size;
    frames.chunk_free = (uint16_t *)(frames.owners + owners_size);
    memset(maps, 0, map_size + whole_size);
    memset(frames.chunk_free, 0, counts_size);
    bitmap_init(&frames.map, maps, frame_count);
    bitmap_init(&frames.whole, maps + map_size, chunk_count);
    for (uint32_t i = 0; i < count; i++) {
        if (!is_usable(&map[i]))
            continue;
        if (map[i].base < BOOT_LOW_END)
            frames.low.v = map[i].base;
        else
            frames.total += release_range(map[i].base, map[i].length);
    }
    mark(base.v >> PAGE_SHIFT, run >> PAGE_SHIFT, false);
    frames.free -= run;
    frames.kernel = maps_size;
    pool_put_range((hpa_t){base.v + maps_size}, run - maps_size);
    frames.boot_run = base;
    frames.boot_run_size = run;
}

static void list_move(struct pool_page **link) {
    struct pool_page *previous = NULL;
    while (*link != NULL) {
        *link = (struct pool_page *)((uint64_t)*link + KERNEL_DIRECT);
        (*link)->previous = previous;
        previous = *link;
        link = &previous->next;
    }
}

// The pool's links and the bitmap were written through the boot's identity map: the same pages are
// from now on reached through the direct map.
void frame_use_direct_map(void) {
    list_move(&frames.pool);
    list_move(&frames.chunks);
    frames.chunk_free = (uint16_t *)((uint64_t)frames.chunk_free + KERNEL_DIRECT);
    bitmap_move(&frames.map, KERNEL_DIRECT);
    bitmap_move(&frames.whole, KERNEL_DIRECT);
    frames.owners = (uint8_t *)((uint64_t)frames.owners + KERNEL_DIRECT);
    frames.direct = KERNEL_DIRECT;
}

struct frame_totals frame_totals(void) {
    lock_take(&frames.lock);
    struct frame_totals totals = {frames.total, frames.free, frames.kernel};
    lock_drop(&frames.lock);
    return totals;
}

uint8_t *frame_owners(uint64_t *count) {
    *count = frames.map.count;
    return frames.owners;
}

void frame_each_free(void (*run)(void *opaque, hpa_t base, uint64_t size), void *opaque) {
    for (uint64_t i = 0; (i = bitmap_next(&frames.map, i)) < frames.map.count;) {
        uint64_t end = bitmap_run(&frames.map, i, frames.map.count);
        run(opaque, (hpa_t){i << PAGE_SHIFT}, (end - i) << PAGE_SHIFT);
        i = end;
    }
}

void frame_each_pooled(void (*run)(void *opaque, hpa_t base, uint64_t size), void *opaque) {
    for (struct pool_page *page = frames.pool; page != NULL; page = page->next)
        run(opaque, frame_of_kernel(page), PAGE_SIZE);
    for (struct pool_page *chunk = frames.chunks; chunk != NULL; chunk = chunk->next)
        run(opaque, frame_of_kernel(chunk), SIZE_2M);
}
