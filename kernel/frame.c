// SPDX-License-Identifier: Apache-2.0
// See kernel/frame.h. Large runs are taken from the top of memory, single pages from the bottom,
// so that they do not break each other up. What is held with the lock is bounded, whatever memory
// looks like (kernel/bitmap.h).
#include "kernel/frame.h"

#include "kernel/bitmap.h"
#include "kernel/kspace.h"
#include "kernel/lock.h"
#include "kernel/log.h"
#include "kernel/smp.h"
#include "kernel/thread.h"
#include "lib/string.h"

#define SEARCH_MAX     64u   // candidates that are looked at with the lock
#define COUNT_MAX      4096u // chunks that are counted with it
#define POOL_RESERVE   8u    // pages kept back for the tables that mapping more of the pool needs
#define POOL_TRIES     16u   // pages that are added at most to bring one
#define POOL_GROW      SIZE_2M
#define RECLAIM_CHUNKS 16u // that one call gives back at most
#define RECLAIM_PAGES  64u
#define BOOT_POOL_MIN  (SIZE_2M - SIZE_2M / 4)

#define CHUNK_PAGES    (SIZE_2M >> PAGE_SHIFT)
#define CHUNKS(frames) align_up((frames) / CHUNK_PAGES + 1, SIZE_1G / SIZE_2M) // whole GiBs

// Frames that are in no use, each in one of two sets. A chunk is 2 MiB, aligned.
struct frame_set {
    struct bitmap map;   // set: a frame is in it
    struct bitmap whole; // set: all of a chunk is; the last chunk first
    struct bitmap part;  // set: some of a chunk, and not all
    uint64_t count;      // frames
};

static struct {
    struct spinlock lock;
    struct frame_set free;   // nobody's, and not mapped [lock]
    struct frame_set pool;   // the kernel's, in the direct map [lock]
    struct bitmap withdrawn; // broken: free for nobody any more [lock]
    uint8_t *owners;         // the auditor's, a byte a frame
    uint64_t total;          // bytes [lock]
    uint64_t kernel;         // bytes of the pool that are in use, and the maps [lock]
    uint32_t reclaims;       // CPUs that are about to give back some of the pool [lock]
} frames = {.lock = {.rank = LOCK_FRAMES}};

static void mark_whole(struct frame_set *set, uint64_t chunk, uint64_t count, bool is_whole) {
    bitmap_set(&set->whole, set->whole.count - chunk - count, count, is_whole);
}

static void mark_chunk(struct frame_set *set, uint64_t chunk) {
    uint64_t first = chunk * CHUNK_PAGES, end = first + CHUNK_PAGES;
    bool is_whole = end <= set->map.count && bitmap_run(&set->map, first, end) == end;
    mark_whole(set, chunk, 1, is_whole);
    bitmap_set(&set->part, chunk, 1, !is_whole && bitmap_next(&set->map, first) < end);
}

// Of frames [first, first+count), none of which is so already, and of the chunks that they are of.
static void mark(struct frame_set *set, uint64_t first, uint64_t count, bool is_in) {
    uint64_t chunk = first / CHUNK_PAGES, end = (first + count) / CHUNK_PAGES;
    set->count += is_in ? count : 0 - count;
    bitmap_set(&set->map, first, count, is_in);
    if (first % CHUNK_PAGES != 0)
        mark_chunk(set, chunk++);
    if (chunk <= end && (first + count) % CHUNK_PAGES != 0)
        mark_chunk(set, end);
    if (chunk < end) { // whole ones
        mark_whole(set, chunk, end - chunk, is_in);
        bitmap_set(&set->part, chunk, end - chunk, false);
    }
}

static void mark_range(struct frame_set *set, hpa_t base, uint64_t size, bool is_in) {
    mark(set, base.v >> PAGE_SHIFT, size >> PAGE_SHIFT, is_in);
}

// The first chunk from the top that is whole; one beyond all memory: there is none.
static uint64_t top_chunk(const struct frame_set *set) {
    return set->whole.count - 1 - bitmap_next(&set->whole, 0);
}

// In frames from the bottom or, for whole chunks, in chunks from the top; up to `end`.
struct search {
    const struct bitmap *map;
    uint64_t unit, count, at, end;
};

enum found { FOUND_NOT, FOUND, FOUND_NOT_YET };

static struct search begin_search(struct abi_range within, uint64_t size) {
    bool is_large = size >= SIZE_2M;
    const struct bitmap *map = is_large ? &frames.free.whole : &frames.free.map;
    uint64_t unit = is_large ? SIZE_2M : PAGE_SIZE, end = within.base + within.size;
    uint64_t low = MIN(within.base / unit + !is_aligned(within.base, unit), map->count);
    uint64_t high = end != 0 ? MIN(end / unit, map->count) : map->count;
    return (struct search){map, unit, size / unit, is_large ? map->count - high : low,
                           is_large ? map->count - low : high};
}

// Goes on behind what is in use, so that no word is looked at twice, however broken up memory is:
// no run that holds it is free, and of chunks none up to the next multiple of its size. Behind as
// many candidates as the lock may be held for it stops, to go on from `at`.
static enum found alloc_some(struct search *search, hpa_t *base) {
    bool is_large = search->unit > PAGE_SIZE;
    for (unsigned left = SEARCH_MAX; left > 0; left--) {
        uint64_t first = bitmap_next(search->map, search->at);
        first = is_large ? align_up(first, search->count) : first;
        uint64_t end = first + search->count;
        if (end > search->end)
            return FOUND_NOT;
        search->at = bitmap_run(search->map, first, end);
        if (search->at == end) {
            base->v = (is_large ? search->map->count - end : first) * search->unit;
            mark_range(&frames.free, *base, search->count * search->unit, false);
            return FOUND;
        }
    }
    return FOUND_NOT_YET;
}

// A chunk, or a page: the first candidate is one.
static bool alloc_locked(uint64_t size, hpa_t *base) {
    struct search search = begin_search(FRAME_ANYWHERE, size);
    return alloc_some(&search, base) == FOUND;
}

bool frame_alloc(struct abi_range within, uint64_t size, hpa_t *base) {
    struct search search = begin_search(within, size);
    for (;;) {
        lock_take(&frames.lock);
        enum found found = alloc_some(&search, base);
        lock_drop(&frames.lock);
        if (found != FOUND_NOT_YET)
            return found == FOUND;
        thread_preempt();
    }
}

uint64_t frame_count_free(struct abi_range within) {
    struct search search = begin_search(within, SIZE_2M);
    uint64_t count = 0;
    while (search.at < search.end) {
        lock_take(&frames.lock);
        uint64_t first = MIN(bitmap_next(search.map, search.at), search.end);
        search.at = bitmap_run(search.map, first, MIN(first + COUNT_MAX, search.end));
        lock_drop(&frames.lock);
        count += search.at - first;
        thread_preempt();
    }
    return count * SIZE_2M;
}

// But for frames that are withdrawn: they are nobody's from here on, and no part of the total.
static void free_locked(hpa_t base, uint64_t size) {
    uint64_t end = (base.v + size) >> PAGE_SHIFT;
    for (uint64_t at = base.v >> PAGE_SHIFT; at < end; at++) {
        uint64_t next = MIN(bitmap_next(&frames.withdrawn, at), end);
        mark(&frames.free, at, next - at, true);
        frames.total -= next < end ? PAGE_SIZE : 0;
        at = next;
    }
}

void frame_free(hpa_t base, uint64_t size) {
    lock_take(&frames.lock);
    free_locked(base, size);
    lock_drop(&frames.lock);
}

void frame_withdraw(hpa_t frame) {
    lock_take(&frames.lock);
    bitmap_set(&frames.withdrawn, frame.v >> PAGE_SHIFT, 1, true);
    lock_drop(&frames.lock);
}

void frame_add(hpa_t base, uint64_t size) {
    lock_take(&frames.lock);
    frames.total += size;
    free_locked(base, size);
    lock_drop(&frames.lock);
}

// The next page of the pool, which stays there: of a chunk that is partly in use, where there is
// one, so that whole ones can be given back. Not below map.count: it has none.
static uint64_t pool_next(void) {
    uint64_t chunk = bitmap_next(&frames.pool.part, 0);
    if (chunk == frames.pool.part.count)
        chunk = top_chunk(&frames.pool);
    return bitmap_next(&frames.pool.map, MIN(chunk * CHUNK_PAGES, frames.pool.map.count));
}

// NULL: it has none.
static void *pool_take(void) {
    uint64_t first = pool_next();
    if (first == frames.pool.map.count)
        return NULL;
    mark(&frames.pool, first, 1, false);
    frames.kernel += PAGE_SIZE;
    return frame_to_kernel((hpa_t){first << PAGE_SHIFT});
}

static void *zeroed(void *page) {
    return page != NULL ? memset(page, 0, PAGE_SIZE) : NULL;
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
    bool is_mapped = kspace_map_direct(base, size);
    mark_range(is_mapped ? &frames.pool : &frames.free, base, size, true);
    return is_mapped;
}

// The tables that map what it gets come out of it: a page may bring nothing, the next one then
// does.
static void pool_fill(void) {
    for (unsigned n = 0; n < POOL_TRIES && frames.pool.count <= POOL_RESERVE; n++)
        if (!pool_grow())
            return;
}

// Takes a chunk that is in no use, or for a size of a page any page, out of the pool and out of the
// direct map; to cut the large page that maps it may take a page, too. False: the pool has none to
// spare.
static bool pool_unmap(uint64_t size, hpa_t *base) {
    uint64_t count = size >> PAGE_SHIFT, first = pool_next();
    if (count > 1)
        first = top_chunk(&frames.pool) * CHUNK_PAGES;
    if (first >= frames.pool.map.count || frames.pool.count <= count + POOL_RESERVE)
        return false;
    mark(&frames.pool, first, count, false);
    base->v = first << PAGE_SHIFT;
    kspace_unmap_direct(*base, size);
    return true;
}

static bool reclaim(uint64_t size, uint32_t max) {
    hpa_t run[RECLAIM_PAGES];
    uint32_t count = 0;
    lock_take(&frames.lock);
    while (count < max && pool_unmap(size, &run[count]))
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

bool frame_reclaim(bool may_break_up) {
    return reclaim(SIZE_2M, RECLAIM_CHUNKS) || (may_break_up && reclaim(PAGE_SIZE, RECLAIM_PAGES));
}

void *frame_table_alloc(void) {
    return zeroed(pool_take());
}

bool frame_with_tables(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                       uint32_t rights) {
    lock_take(&frames.lock);
    pool_fill();
    bool is_mapped = pt_map(pt, address, frame, size, rights);
    lock_drop(&frames.lock);
    return is_mapped;
}

void *kernel_page_alloc(void) {
    lock_take(&frames.lock);
    pool_fill();
    void *page = frames.pool.count > POOL_RESERVE ? pool_take() : NULL;
    lock_drop(&frames.lock);
    return zeroed(page);
}

void kernel_page_free(void *page) {
    lock_take(&frames.lock);
    mark_range(&frames.pool, frame_of_kernel(page), PAGE_SIZE, true);
    frames.kernel -= PAGE_SIZE;
    lock_drop(&frames.lock);
}

static uint8_t *set_init(struct frame_set *set, uint8_t *memory, uint64_t frame_count) {
    uint64_t chunk_count = CHUNKS(frame_count);
    memory = bitmap_init(&set->map, memory, frame_count);
    memory = bitmap_init(&set->whole, memory, chunk_count);
    return bitmap_init(&set->part, memory, chunk_count);
}

void frame_init(const struct boot_info *info, const struct boot_memory *map) {
    uint64_t frame_count = info->memory_end >> PAGE_SHIFT;
    uint64_t set_size = bitmap_bytes(frame_count) + 2 * bitmap_bytes(CHUNKS(frame_count));
    uint64_t bits_size = 2 * set_size + bitmap_bytes(frame_count);
    uint64_t maps_size = align_up(bits_size + frame_count, PAGE_SIZE);
    if (info->pool_size < maps_size + BOOT_POOL_MIN)
        halt_machine("the boot application left too little memory: copy the whole image again");
    uint8_t *maps = memset(frame_to_kernel((hpa_t){info->pool}), 0, bits_size);
    maps = set_init(&frames.free, maps, frame_count);
    maps = set_init(&frames.pool, maps, frame_count);
    frames.owners = bitmap_init(&frames.withdrawn, maps, frame_count);
    for (uint32_t i = 0; i < info->memory_count; i++)
        if (map[i].type == BOOT_MEMORY_FREE)
            frame_add((hpa_t){map[i].base}, map[i].length);
    mark_range(&frames.pool, (hpa_t){info->pool + maps_size}, info->pool_size - maps_size, true);
    frames.total += info->pool_size;
    frames.kernel = maps_size;
}

struct frame_totals frame_totals(void) {
    lock_take(&frames.lock);
    struct frame_totals totals = {frames.total, frames.free.count << PAGE_SHIFT, frames.kernel};
    lock_drop(&frames.lock);
    return totals;
}

uint8_t *frame_owners(uint64_t *count) {
    *count = frames.free.map.count;
    return frames.owners;
}

void frame_each(bool is_pooled, void (*run)(void *opaque, hpa_t base, uint64_t size),
                void *opaque) {
    const struct bitmap *map = is_pooled ? &frames.pool.map : &frames.free.map;
    for (uint64_t i = 0; (i = bitmap_next(map, i)) < map->count;) {
        uint64_t end = bitmap_run(map, i, map->count);
        run(opaque, (hpa_t){i << PAGE_SHIFT}, (end - i) << PAGE_SHIFT);
        i = end;
    }
}
