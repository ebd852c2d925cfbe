// SPDX-License-Identifier: Apache-2.0
// See kernel/region.h.
#include "kernel/region.h"

#include "include/abi.h"
#include "kernel/memory.h"
#include "lib/string.h"

// The first region that ends behind `address`.
static uint64_t region_index(const struct region_list *list, uint64_t address) {
    uint64_t low = 0, high = list->count;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        const struct region *r = &list->region[middle];
        if (r->base + r->size <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct region *region_find(struct region_list *list, uint64_t address) {
    uint64_t i = region_index(list, address);
    return i < list->count && list->region[i].base <= address ? &list->region[i] : NULL;
}

int region_insert(struct region_list *list, const struct region *region) {
    uint64_t i = region_index(list, region->base);
    if (i < list->count && list->region[i].base - region->base < region->size)
        return ABI_ERROR_EXISTS;
    if (i < list->count && list->region[i].base <= region->base)
        return ABI_ERROR_EXISTS;
    if (list->count == REGION_COUNT_MAX)
        return ABI_ERROR_MEMORY;
    memmove(&list->region[i + 1], &list->region[i], (list->count - i) * sizeof(*region));
    list->region[i] = *region;
    list->count++;
    object_ref(&region->memory->object);
    return ABI_OK;
}

bool region_remove(struct region_list *list, uint64_t base, uint64_t size, struct region *removed) {
    uint64_t i = region_index(list, base);
    if (i == list->count || list->region[i].base != base || list->region[i].size != size)
        return false;
    *removed = list->region[i];
    list->count--;
    memmove(&list->region[i], &list->region[i + 1], (list->count - i) * sizeof(*removed));
    return true;
}

void region_clear(struct region_list *list) {
    while (list->count > 0)
        object_unref(&list->region[--list->count].memory->object);
}

bool region_populate(const struct region *region, struct pagetable *pt, uint64_t address,
                     uint32_t rights) {
    struct pt_mapping hole = pt_lookup(pt, address);
    if (hole.rights != 0)
        return true;
    uint64_t offset = address - region->base + region->offset;
    struct memory_run run = memory_get(region->memory, offset);
    // The unit that is mapped whole or not at all: a GiB of the object only where it is a GiB of
    // addresses too, of which nothing is mapped yet.
    bool is_gib = hole.size >= SIZE_1G && is_aligned(region->base - region->offset, SIZE_1G);
    uint64_t unit = is_gib ? SIZE_1G : SIZE_2M;
    uint64_t begin = align_down(offset, unit);
    // The part of the unit that the run covers and the region shows.
    uint64_t first = MAX(MAX(run.offset, begin), region->offset);
    uint64_t last = MIN(MIN(run.offset + run.size, begin + unit), region->offset + region->size);
    hpa_t frame = {run.frame.v + first - run.offset};
    return pt_map(pt, first - region->offset + region->base, frame, last - first, rights);
}
