// SPDX-License-Identifier: Apache-2.0
// See kernel/region.h. No page of a list is empty, and none holds a region that lies behind one of
// the next page: so two searches by halves find a place, the first among the pages, the second in
// one.
#include "kernel/region.h"

#include "arch/log.h"
#include "include/abi.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "lib/string.h"

#define UNMAP_STEPS 512u // leaves and holes that region_unmap goes through

struct place {
    uint64_t page; // list->page_count: behind all regions
    uint64_t i;
};

static bool ends_behind(const struct region *region, uint64_t address) {
    return region->base + region->size > address;
}

// The first region that ends behind `address`.
static struct place find_place(const struct region_list *list, uint64_t address) {
    struct place place = {0, 0};
    uint64_t high = list->page_count;
    while (place.page < high) {
        uint64_t middle = (place.page + high) / 2;
        const struct region_page *page = list->page[middle];
        if (ends_behind(&page->region[page->count - 1], address))
            high = middle;
        else
            place.page = middle + 1;
    }
    high = place.page < list->page_count ? list->page[place.page]->count : 0;
    while (place.i < high) {
        uint64_t middle = (place.i + high) / 2;
        if (ends_behind(&list->page[place.page]->region[middle], address))
            high = middle;
        else
            place.i = middle + 1;
    }
    return place;
}

static struct region *region_at(const struct region_list *list, struct place place) {
    return place.page < list->page_count ? &list->page[place.page]->region[place.i] : NULL;
}

struct region *region_find(const struct region_list *list, uint64_t address) {
    struct region *region = region_at(list, find_place(list, address));
    return region != NULL && region->base <= address ? region : NULL;
}

// NULL: no memory, or no room in the list.
static struct region_page *add_page(struct region_list *list, uint64_t at) {
    if (list->page_count == REGION_PAGES_MAX)
        return NULL;
    struct region_page *page = quota_alloc_page(list->quota);
    if (page == NULL)
        return NULL;
    memmove(&list->page[at + 1], &list->page[at], (list->page_count - at) * sizeof(void *));
    list->page[at] = page;
    list->page_count++;
    return page;
}

static void drop_page(struct region_list *list, uint64_t at) {
    quota_free_page(list->quota, list->page[at]);
    list->page_count--;
    memmove(&list->page[at], &list->page[at + 1], (list->page_count - at) * sizeof(void *));
}

// Room for one more at `place`, which may move: behind all regions is in the last page; of a full
// page the upper half goes to a new one, or nothing does where the new region is the last.
static bool make_room(struct region_list *list, struct place *place) {
    if (list->page_count == 0)
        return add_page(list, 0) != NULL;
    if (place->page == list->page_count) {
        place->page--;
        place->i = list->page[place->page]->count;
    }
    struct region_page *full = list->page[place->page];
    if (full->count < REGION_PAGE_COUNT)
        return true;
    struct region_page *upper = add_page(list, place->page + 1);
    if (upper == NULL)
        return false;
    if (place->i == full->count) {
        *place = (struct place){place->page + 1, 0};
        return true;
    }
    full->count = REGION_PAGE_COUNT / 2;
    upper->count = REGION_PAGE_COUNT - full->count;
    memcpy(upper->region, &full->region[full->count], upper->count * sizeof(struct region));
    if (place->i > full->count) {
        place->page++;
        place->i -= full->count;
    }
    return true;
}

int region_insert(struct region_list *list, const struct region *region) {
    bool needs_small_pages = !is_aligned(region->base - region->offset, SIZE_2M);
    if (needs_small_pages && region->size > ABI_SMALL_PAGES_MAX)
        return ABI_ERROR_ARGUMENT;
    struct place place = find_place(list, region->base);
    const struct region *next = region_at(list, place);
    if (next != NULL && (next->base <= region->base || next->base - region->base < region->size))
        return ABI_ERROR_EXISTS;
    if (!make_room(list, &place))
        return ABI_ERROR_MEMORY;
    struct region_page *page = list->page[place.page];
    struct region *at = &page->region[place.i];
    memmove(at + 1, at, (page->count - place.i) * sizeof(*at));
    *at = *region;
    page->count++;
    object_ref(&region->memory->object);
    return ABI_OK;
}

// The region there, with its reference, which is the caller's.
static struct memory *take_out(struct region_list *list, struct place place) {
    struct region_page *page = list->page[place.page];
    struct region *at = &page->region[place.i];
    struct memory *memory = at->memory;
    page->count--;
    memmove(at, at + 1, (page->count - place.i) * sizeof(*at));
    if (page->count == 0)
        drop_page(list, place.page);
    return memory;
}

uint64_t region_unmap(struct region_list *list, struct pagetable *pt, uint64_t base, uint64_t size,
                      struct memory **memory) {
    struct place place = find_place(list, base);
    struct region *at = region_at(list, place);
    if (at == NULL || at->base != base || at->size != size)
        return 0;
    // Runs are mapped inside one region only, so no leaf is cut and this cannot fail.
    uint64_t done = pt_unmap_some(pt, base, size, UNMAP_STEPS);
    if (done == 0)
        panic("unmapping a whole region at 0x%lx had to split a leaf", base);
    if (done == size) {
        *memory = take_out(list, place);
    } else {
        at->base += done;
        at->offset += done;
        at->size -= done;
    }
    return done;
}

bool region_drop(struct region_list *list) {
    if (list->page_count == 0)
        return false;
    uint64_t last = list->page_count - 1;
    object_unref(&take_out(list, (struct place){last, list->page[last]->count - 1})->object);
    return true;
}

uint32_t region_rights(const struct region *region) {
    return PT_READ | ((region->rights & ABI_RIGHT_WRITE) != 0 ? PT_WRITE : 0u) |
           ((region->rights & ABI_RIGHT_EXECUTE) != 0 ? PT_EXECUTE : 0u) |
           (region->memory->kind == MEMORY_DEVICE ? PT_UNCACHED : 0u);
}

bool region_populate(const struct region *region, struct pagetable *pt, uint64_t address,
                     uint32_t rights) {
    struct pt_mapping hole = pt_lookup(pt, address);
    if (hole.rights != 0)
        return true;
    uint64_t offset = address - region->base + region->offset;
    struct memory_run run = memory_get(region->memory, offset, NULL);
    // The unit that is mapped whole or not at all: a GiB of the object only where it is a GiB of
    // addresses too, of which nothing is mapped yet, and where it is 512 leaves at most.
    bool is_gib = hole.size >= SIZE_1G && is_aligned(region->base - region->offset, SIZE_1G) &&
                  is_aligned(run.frame.v - run.offset, SIZE_2M);
    uint64_t unit = is_gib ? SIZE_1G : SIZE_2M;
    uint64_t begin = align_down(offset, unit);
    // The part of the unit that the run covers and the region shows.
    uint64_t first = MAX(MAX(run.offset, begin), region->offset);
    uint64_t last = MIN(MIN(run.offset + run.size, begin + unit), region->offset + region->size);
    hpa_t frame = {run.frame.v + first - run.offset};
    return pt_map(pt, first - region->offset + region->base, frame, last - first, rights);
}
