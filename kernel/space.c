// SPDX-License-Identifier: Apache-2.0
// See kernel/space.h.
#include "kernel/space.h"

#include "include/abi.h"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/thread.h"

#define TABLE_ENTRIES 512u
#define ROOT_SPAN     (SIZE_1G * TABLE_ENTRIES)
#define STEP_TABLES   64u // that one step of the end gives back

// The tables that a region can come to need when all of it is mapped by small pages: of each level
// one for each span that it touches. 0 where large pages map code, too.
static uint64_t count_tables(const struct space *space, uint64_t address, uint64_t size) {
    uint64_t count = 0;
    if (size == 0 || !space->pt.format->is_code_small)
        return 0;
    for (uint64_t span = SIZE_2M; span <= ROOT_SPAN; span *= TABLE_ENTRIES)
        count += (align_up(address + size, span) - align_down(address, span)) / span;
    return count;
}

// With the lock. What no region can need is released; tables in use stay.
static void need_less(struct space *space, uint64_t tables) {
    space->tables_needed -= tables;
    uint64_t kept = MIN(space->tables_reserved, space->tables_needed);
    quota_release(space->quota, (space->tables_reserved - kept) * PAGE_SIZE, 0);
    space->tables_reserved = kept;
}

static bool table_alloc(void *opaque, hpa_t *frame) {
    struct space *space = opaque;
    bool is_reserved = space->tables_reserved > 0;
    void *table = is_reserved ? quota_take_page(space->quota) : quota_alloc_page(space->quota);
    if (table == NULL)
        return false;
    space->tables_reserved -= is_reserved;
    *frame = frame_of_kernel(table);
    return true;
}

static void table_free(void *opaque, hpa_t frame) {
    struct space *space = opaque;
    quota_free_page(space->quota, frame_to_kernel(frame));
}

bool space_create(struct space *space, const struct space_kind *kind, struct quota *quota) {
    struct pt_memory tables = kspace_quota_memory(quota);
    tables.opaque = space;
    tables.alloc = table_alloc;
    tables.free = table_free;
    lock_init(&space->lock, LOCK_MAPPING);
    space->kind = kind;
    space->quota = quota;
    space->regions = quota_alloc_page(quota);
    if (space->regions == NULL)
        return false;
    space->regions->quota = quota;
    return kind->init(space, tables);
}

bool space_destroy(struct space *space) {
    lock_take(&space->lock);
    space->is_closed = true;
    lock_drop(&space->lock);
    kspace_user_free(&space->user_root, space->quota);
    if (space->pt.root.v != 0) {
        (void)pt_destroy(&space->pt, space->kind->root_last, STEP_TABLES);
        return false;
    }
    if (space->regions == NULL)
        return true;
    if (region_drop(space->regions))
        return false;
    need_less(space, space->tables_needed);
    quota_free_page(space->quota, space->regions);
    space->regions = NULL;
    return true;
}

int space_map(struct space *space, struct memory *memory, uint64_t address, uint64_t offset,
              uint64_t size, uint64_t rights) {
    const struct region region = {address, size, memory, offset, rights};
    uint64_t rwx = rights & (ABI_RIGHT_READ | ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE);
    if (!is_aligned(address | offset | size, PAGE_SIZE) || size == 0 || rights != rwx ||
        (rwx & ABI_RIGHT_READ) == 0 || range_exceeds(offset, size, memory->size) ||
        !space->kind->is_allowed(&region))
        return ABI_ERROR_ARGUMENT;
    uint64_t tables = count_tables(space, address, size);
    if (!quota_charge(space->quota, tables * PAGE_SIZE, 0))
        return ABI_ERROR_MEMORY;
    lock_take(&space->lock);
    int error = space->is_closed ? ABI_ERROR_CLOSED : region_insert(space->regions, &region);
    if (error == ABI_OK) {
        space->tables_needed += tables;
        space->tables_reserved += tables;
    }
    lock_drop(&space->lock);
    if (error != ABI_OK)
        quota_release(space->quota, tables * PAGE_SIZE, 0);
    return error;
}

int space_unmap(struct space *space, uint64_t address, uint64_t size) {
    struct memory *memory = NULL;
    bool is_unmapped = false;
    int error = ABI_OK;
    // Between the steps somebody else may take the rest.
    while (error == ABI_OK && memory == NULL) {
        uint64_t step = 0;
        lock_take(&space->lock);
        if (space->is_closed)
            error = ABI_ERROR_CLOSED;
        else if ((step = region_unmap(space->regions, &space->pt, address, size, &memory)) == 0)
            error = ABI_ERROR_ARGUMENT;
        if (step > 0) {
            need_less(space, count_tables(space, address, size) -
                                 count_tables(space, address + step, size - step));
            __atomic_fetch_add(&space->generation, 1, __ATOMIC_SEQ_CST);
            AUDIT_SPACE(space);
        }
        lock_drop(&space->lock);
        is_unmapped = is_unmapped || step > 0;
        address += step;
        size -= step;
        if (memory == NULL) // the last is flushed at once
            thread_preempt();
    }
    if (is_unmapped)
        space->kind->flush(space);
    if (memory != NULL)
        object_unref(&memory->object);
    return error;
}

static bool map_page(struct space *space, const struct region *region, uint64_t page,
                     uint64_t right) {
    uint32_t rights = region_rights(region) | space->kind->rights;
    if (!region_populate(region, &space->pt, page, rights))
        return false;
    kspace_user_show(space->user_root, &space->pt, page);
    bool is_code = right == ABI_RIGHT_EXECUTE && space->pt.format->is_code_small;
    return !is_code || pt_split(&space->pt, page, rights);
}

// A table that is charged already is there, or on its way to who takes it next (frame_reclaim): who
// asked asks again.
enum space_fault space_fault(struct space *space, uint64_t address, uint64_t right) {
    enum space_fault result = SPACE_FAULT_NONE;
    lock_take(&space->lock);
    const struct region *region = space->is_closed ? NULL : region_find(space->regions, address);
    if (region != NULL && (region->rights & right) != 0) {
        bool is_mapped = map_page(space, region, align_down(address, PAGE_SIZE), right);
        result = is_mapped || space->tables_reserved > 0 ? SPACE_FAULT_RETRY : SPACE_FAULT_SHORTAGE;
        AUDIT_SPACE(space);
    }
    lock_drop(&space->lock);
    return result;
}
