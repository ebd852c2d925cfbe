// SPDX-License-Identifier: Apache-2.0
// See lib/pagetable.h.
#include "lib/pagetable.h"

#define LEVELS  4u
#define ENTRIES 512u

static uint64_t level_size(unsigned level) {
    return PAGE_SIZE << (9 * level);
}

static unsigned level_index(uint64_t address, unsigned level) {
    return (unsigned)(address >> (PAGE_SHIFT + 9 * level)) % ENTRIES;
}

static bool entry_is_leaf(const struct pt_format *format, uint64_t entry, unsigned level) {
    return level == 0 || (entry & format->large_bit) != 0;
}

static uint64_t *entry_table(const struct pagetable *pt, uint64_t entry) {
    return pt->memory.access((hpa_t){entry & pt->format->address_mask});
}

// Hardware walks these tables while they change: one store an entry.
static void entry_write(uint64_t *entry, uint64_t value) {
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

bool pt_init(struct pagetable *pt, const struct pt_format *format, struct pt_memory memory) {
    pt->format = format;
    pt->memory = memory;
    return memory.alloc(memory.opaque, &pt->root);
}

// The table below `entry`, made when there is none. NULL: no memory.
static uint64_t *table_get(struct pagetable *pt, uint64_t *entry) {
    if ((*entry & pt->format->present_mask) == 0) {
        hpa_t frame;
        if (!pt->memory.alloc(pt->memory.opaque, &frame))
            return NULL;
        entry_write(entry, pt->format->table(frame));
    }
    return entry_table(pt, *entry);
}

// Replaces a large leaf by a table that maps the same. False: no memory.
static bool leaf_split(struct pagetable *pt, uint64_t *entry, unsigned level) {
    const struct pt_format *format = pt->format;
    uint64_t size = level_size(level - 1);
    uint32_t rights = format->rights(*entry, level);
    uint64_t base = align_down(*entry & format->address_mask, level_size(level));
    hpa_t frame;
    if (!pt->memory.alloc(pt->memory.opaque, &frame))
        return false;
    uint64_t *table = pt->memory.access(frame);
    for (unsigned i = 0; i < ENTRIES; i++)
        table[i] = format->leaf((hpa_t){base + i * size}, rights, level - 1);
    entry_write(entry, format->table(frame));
    return true;
}

static bool leaf_fits(const struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                      unsigned level) {
    return level <= pt->format->leaf_level_max && size >= level_size(level) &&
           is_aligned(address | frame.v, level_size(level));
}

// Maps one leaf at `address`, as large as fits; its size, or 0 when there is no memory.
static uint64_t leaf_map(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                         uint32_t rights) {
    uint64_t *table = pt->memory.access(pt->root);
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t *entry = &table[level_index(address, level)];
        bool is_free = (*entry & pt->format->present_mask) == 0;
        if (is_free && leaf_fits(pt, address, frame, size, level)) {
            entry_write(entry, pt->format->leaf(frame, rights, level));
            return level_size(level);
        }
        // A leaf here would be walked into as if it were a table.
        if (!is_free && entry_is_leaf(pt->format, *entry, level))
            return 0;
        table = table_get(pt, entry);
        if (table == NULL)
            return 0;
    }
}

bool pt_map(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size, uint32_t rights) {
    uint64_t done = 0;
    while (done < size) {
        uint64_t step = leaf_map(pt, address + done, (hpa_t){frame.v + done}, size - done, rights);
        if (step == 0) {
            // Only whole leaves of this call are removed, so this cannot fail.
            pt_unmap(pt, address, done);
            return false;
        }
        done += step;
    }
    return true;
}

// Removes the leaf at `address`, or skips the hole there; how far to go on, or 0 when a leaf has to be
// split and there is no memory.
static uint64_t leaf_unmap(struct pagetable *pt, uint64_t address, uint64_t size) {
    uint64_t *table = pt->memory.access(pt->root);
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t *entry = &table[level_index(address, level)];
        uint64_t span = level_size(level) - address % level_size(level);
        if ((*entry & pt->format->present_mask) == 0)
            return span;
        if (entry_is_leaf(pt->format, *entry, level)) {
            if (span == level_size(level) && size >= span) {
                entry_write(entry, 0);
                return span;
            }
            if (!leaf_split(pt, entry, level))
                return 0;
        }
        table = entry_table(pt, *entry);
    }
}

bool pt_unmap(struct pagetable *pt, uint64_t address, uint64_t size) {
    uint64_t done = 0;
    while (done < size) {
        uint64_t step = leaf_unmap(pt, address + done, size - done);
        if (step == 0)
            return false;
        done += step;
    }
    return true;
}

uint64_t *pt_entry(const struct pagetable *pt, uint64_t address) {
    uint64_t *table = pt->memory.access(pt->root);
    for (unsigned level = LEVELS - 1; level > 0; level--)
        table = entry_table(pt, table[level_index(address, level)]);
    return &table[level_index(address, 0)];
}

struct pt_mapping pt_lookup(const struct pagetable *pt, uint64_t address) {
    uint64_t *table = pt->memory.access(pt->root);
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t entry = table[level_index(address, level)];
        struct pt_mapping mapping = {.size = level_size(level)};
        if ((entry & pt->format->present_mask) == 0)
            return mapping;
        if (entry_is_leaf(pt->format, entry, level)) {
            mapping.frame.v = align_down(entry & pt->format->address_mask, mapping.size);
            mapping.rights = pt->format->rights(entry, level);
            return mapping;
        }
        table = entry_table(pt, entry);
    }
}

static void table_walk(const struct pagetable *pt, hpa_t frame, unsigned level, unsigned first,
                       unsigned last, uint64_t base, const struct pt_visitor *visitor) {
    const uint64_t *table = pt->memory.access(frame);
    for (unsigned i = first; i <= last; i++) {
        uint64_t entry = table[i], address = base + i * level_size(level);
        if ((entry & pt->format->present_mask) == 0)
            continue;
        hpa_t next = {entry & pt->format->address_mask};
        if (entry_is_leaf(pt->format, entry, level)) {
            uint64_t size = level_size(level);
            struct pt_mapping mapping = {
                {align_down(next.v, size)}, size, pt->format->rights(entry, level)};
            visitor->leaf(visitor->opaque, address, &mapping);
        } else if (visitor->table(visitor->opaque, next)) {
            table_walk(pt, next, level - 1, 0, ENTRIES - 1, address, visitor);
        }
    }
}

void pt_walk(const struct pagetable *pt, unsigned first_root, unsigned last_root,
             const struct pt_visitor *visitor) {
    table_walk(pt, pt->root, LEVELS - 1, first_root, last_root, 0, visitor);
}

static void table_destroy(struct pagetable *pt, hpa_t frame, unsigned level, unsigned first,
                          unsigned last) {
    uint64_t *table = pt->memory.access(frame);
    for (unsigned i = first; level > 0 && i <= last; i++) {
        uint64_t entry = table[i];
        if ((entry & pt->format->present_mask) != 0 && !entry_is_leaf(pt->format, entry, level))
            table_destroy(pt, (hpa_t){entry & pt->format->address_mask}, level - 1, 0, ENTRIES - 1);
    }
    pt->memory.free(pt->memory.opaque, frame);
}

void pt_destroy(struct pagetable *pt, unsigned first_root, unsigned last_root) {
    table_destroy(pt, pt->root, LEVELS - 1, first_root, last_root);
    pt->root.v = 0;
}
