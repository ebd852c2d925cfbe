// SPDX-License-Identifier: Apache-2.0
// See lib/pagetable.h.
#include "lib/pagetable.h"

#define LEVELS  4u
#define ENTRIES 512u

/*@ predicate is_level_size(integer size) =
        size == 0x1000 || size == 0x200000 || size == 0x40000000 || size == 0x8000000000;
    predicate is_table(uint64_t *table) =
        \exists integer k; 0 <= k < PT_MODEL_TABLES && table == &pt_tables[k * 512]; */

#ifdef PROOF_LEMMAS // Z3 loses its way in them where they are of no use
/*@ lemma sums_of_pages: \forall integer a, b; 0 <= a && 0 <= b && is_paged(a) && is_paged(b) ==>
        is_paged(a + b) && (b <= a ==> is_paged(a - b)); */
#endif

/*@ requires level < LEVELS;
    assigns \nothing;
    ensures is_level_size(\result);
    ensures \result == (level == 0 ? 0x1000 : level == 1 ? 0x200000 :
                         level == 2 ? 0x40000000 : 0x8000000000); */
static uint64_t level_size(unsigned level) {
    static const uint64_t sizes[LEVELS] = {PAGE_SIZE, SIZE_2M, SIZE_1G, SIZE_1G * ENTRIES};
    return sizes[level];
}

/*@ requires level < LEVELS;
    assigns \nothing;
    ensures \result < ENTRIES;
    behavior page: assumes level == 0; ensures \result == address / 0x1000 % 512;
    behavior large: assumes level == 1; ensures \result == address / 0x200000 % 512;
    behavior giant: assumes level == 2; ensures \result == address / 0x40000000 % 512;
    behavior root: assumes level == 3; ensures \result == address / 0x8000000000 % 512; */
static unsigned level_index(uint64_t address, unsigned level) {
    // Written out, so that the compiler sees shifts and the prover constants.
    switch (level) {
    case 0:
        return (unsigned)(address / PAGE_SIZE % ENTRIES);
    case 1:
        return (unsigned)(address / SIZE_2M % ENTRIES);
    case 2:
        return (unsigned)(address / SIZE_1G % ENTRIES);
    default:
        return (unsigned)(address / (SIZE_1G * ENTRIES) % ENTRIES);
    }
}

// From `address` to the end of what its entry covers.
/*@ requires level < LEVELS && is_paged(address);
    assigns \nothing;
    ensures 0 < \result <= 0x8000000000 && is_paged(\result);
    ensures whole: address % (level == 0 ? 0x1000 : level == 1 ? 0x200000 :
                         level == 2 ? 0x40000000 : 0x8000000000) == 0 <==>
        \result == (level == 0 ? 0x1000 : level == 1 ? 0x200000 :
                    level == 2 ? 0x40000000 : 0x8000000000); */
static uint64_t entry_span(uint64_t address, unsigned level) {
    return level_size(level) - address % level_size(level);
}

/*@ requires \valid_read(format);
    assigns \nothing;
    ensures level == 0 ==> \result; */
static bool entry_is_leaf(const struct pt_format *format, uint64_t entry, unsigned level) {
    return level == 0 || (entry & format->large_bit) != 0;
}

// What the struct pagetable's functions do is their owners' promise (lib/pagetable.h); the proofs
// take it from these.
/*@ requires is_usable(pt);
    assigns \nothing;
    ensures is_table(\result); */
static uint64_t *table_at(const struct pagetable *pt, hpa_t frame) {
    return pt->memory.access(frame);
}

/*@ requires is_usable(pt) && \valid(frame);
    assigns *frame, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]; */
static bool table_alloc(struct pagetable *pt, hpa_t *frame) {
    return pt->memory.alloc(pt->memory.opaque, frame);
}

/*@ requires \valid_read(format) && level < LEVELS;
    assigns \nothing; */
static uint64_t leaf_entry(const struct pt_format *format, hpa_t frame, uint32_t rights,
                           unsigned level) {
    return format->leaf(frame, rights, level);
}

/*@ requires \valid_read(format);
    assigns \nothing; */
static uint64_t table_entry(const struct pt_format *format, hpa_t frame) {
    return format->table(frame);
}

/*@ requires \valid_read(format) && level < LEVELS;
    assigns \nothing; */
static uint32_t leaf_rights(const struct pt_format *format, uint64_t entry, unsigned level) {
    return format->rights(entry, level);
}

/*@ requires is_usable(pt);
    assigns \nothing;
    ensures is_table(\result); */
static uint64_t *entry_table(const struct pagetable *pt, uint64_t entry) {
    return table_at(pt, (hpa_t){entry & pt->format->address_mask});
}

// Hardware walks these tables while they change: one store an entry.
/*@ requires \valid(entry);
    assigns *entry;
    ensures *entry == value; */
static void entry_write(uint64_t *entry, uint64_t value) {
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

bool pt_init(struct pagetable *pt, const struct pt_format *format, struct pt_memory memory) {
    pt->format = format;
    pt->memory = memory;
    return memory.alloc(memory.opaque, &pt->root);
}

// The table below `entry`, made when there is none. NULL: no memory.
/*@ requires is_usable(pt) && \valid(entry) && \separated(entry, pt) && \separated(entry, pt->format);
    assigns *entry, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
    ensures \result != \null ==> is_table(\result); */
static uint64_t *table_get(struct pagetable *pt, uint64_t *entry) {
    if ((*entry & pt->format->present_mask) == 0) {
        hpa_t frame;
        if (!table_alloc(pt, &frame))
            return NULL;
        entry_write(entry, table_entry(pt->format, frame));
    }
    return entry_table(pt, *entry);
}

// Replaces a large leaf by a table that maps the same, with `rights`. False: no memory.
/*@ requires is_usable(pt) && 0 < level < LEVELS;
    requires \valid(entry) && \separated(entry, pt) && \separated(entry, pt->format);
    assigns *entry, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1]; */
static bool leaf_split(struct pagetable *pt, uint64_t *entry, unsigned level, uint32_t rights) {
    const struct pt_format *format = pt->format;
    uint64_t size = level_size(level - 1);
    uint64_t base = *entry & format->address_mask;
    base -= base % level_size(level);
    hpa_t frame;
    if (!table_alloc(pt, &frame))
        return false;
    uint64_t *table = table_at(pt, frame);
    /*@ loop invariant i <= ENTRIES;
        loop assigns i, table[0 .. ENTRIES - 1];
        loop variant ENTRIES - i; */
    for (unsigned i = 0; i < ENTRIES; i++)
        table[i] = leaf_entry(format, (hpa_t){base + i * size}, rights, level - 1);
    entry_write(entry, table_entry(format, frame));
    return true;
}

/*@ requires is_usable(pt) && level < LEVELS;
    assigns \nothing;
    ensures \let leaf = level == 0 ? 0x1000 : level == 1 ? 0x200000 :
                        level == 2 ? 0x40000000 : 0x8000000000;
        \result <==> level <= pt->format->leaf_level_max && size >= leaf &&
        address % leaf == 0 && frame.v % leaf == 0; */
static bool leaf_fits(const struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                      unsigned level) {
    uint64_t leaf = level_size(level);
    return level <= pt->format->leaf_level_max && size >= leaf && address % leaf == 0 &&
           frame.v % leaf == 0;
}

// Maps one leaf at `address`, as large as fits; its size, or 0 when there is no memory.
/*@ requires is_usable(pt);
    requires is_paged(address) && is_paged(frame.v) && is_paged(size) && size > 0;
    requires address + size <= UINT64_MAX && frame.v + size <= UINT64_MAX;
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
    ensures \result == 0 ||
        (is_level_size(\result) && is_paged(\result) && \result <= size &&
         address % \result == 0 && frame.v % \result == 0); */
static uint64_t leaf_map(struct pagetable *pt, uint64_t address, hpa_t frame, uint64_t size,
                         uint32_t rights) {
    uint64_t *table = table_at(pt, pt->root);
    /*@ loop invariant level < LEVELS && is_table(table);
        loop assigns level, table, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
        loop variant level; */
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t *entry = &table[level_index(address, level)];
        bool is_free = (*entry & pt->format->present_mask) == 0;
        if (is_free && leaf_fits(pt, address, frame, size, level)) {
            entry_write(entry, leaf_entry(pt->format, frame, rights, level));
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
    /*@ loop invariant is_paged(done);
        loop invariant done <= size;
        loop assigns done, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
        loop variant size - done; */
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

// Removes the leaf at `address`, or skips the hole there; how far to go on, or 0 when a leaf has to
// be split and there is no memory.
/*@ requires is_usable(pt);
    requires is_paged(address) && is_paged(size) && size > 0 && address + size <= UINT64_MAX;
    assigns pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
    ensures \result == 0 || (0 < \result <= 0x8000000000 && is_paged(\result)); */
static uint64_t leaf_unmap(struct pagetable *pt, uint64_t address, uint64_t size) {
    uint64_t *table = table_at(pt, pt->root);
    /*@ loop invariant level < LEVELS && is_table(table);
        loop assigns level, table, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
        loop variant level; */
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t *entry = &table[level_index(address, level)];
        uint64_t span = entry_span(address, level);
        if ((*entry & pt->format->present_mask) == 0)
            return span;
        if (entry_is_leaf(pt->format, *entry, level)) {
            if (span == level_size(level) && size >= span) {
                entry_write(entry, 0);
                return span;
            }
            if (!leaf_split(pt, entry, level, leaf_rights(pt->format, *entry, level)))
                return 0;
        }
        table = entry_table(pt, *entry);
    }
}

/*@ assigns \nothing;
    ensures \result <= b && (\result == a || \result == b); */
static uint64_t lesser(uint64_t a, uint64_t b) {
    return MIN(a, b);
}

uint64_t pt_unmap_some(struct pagetable *pt, uint64_t address, uint64_t size, uint64_t max) {
    uint64_t done = 0;
    /*@ loop invariant is_paged(done);
        loop invariant done <= size + 0x8000000000;
        loop invariant n <= max;
        loop assigns done, n, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
        loop variant max - n; */
    for (uint64_t n = 0; n < max && done < size; n++) {
        uint64_t step = leaf_unmap(pt, address + done, size - done);
        if (step == 0)
            return 0;
        done += step;
    }
    return lesser(done, size);
}

bool pt_unmap(struct pagetable *pt, uint64_t address, uint64_t size) {
    return size == 0 || pt_unmap_some(pt, address, size, UINT64_MAX) != 0;
}

bool pt_split(struct pagetable *pt, uint64_t address, uint32_t rights) {
    uint64_t *table = table_at(pt, pt->root);
    /*@ loop invariant level < LEVELS && is_table(table);
        loop assigns level, table, pt_tables[0 .. PT_MODEL_TABLES * 512 - 1];
        loop variant level; */
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        uint64_t *entry = &table[level_index(address, level)];
        if ((*entry & pt->format->present_mask) == 0)
            return true;
        if (entry_is_leaf(pt->format, *entry, level) && !leaf_split(pt, entry, level, rights))
            return false;
        table = entry_table(pt, *entry);
    }
    return true;
}

uint64_t *pt_entry(const struct pagetable *pt, uint64_t address) {
    uint64_t *table = table_at(pt, pt->root);
    for (unsigned level = LEVELS - 1; level > 0; level--)
        table = entry_table(pt, table[level_index(address, level)]);
    return &table[level_index(address, 0)];
}

struct pt_mapping pt_lookup(const struct pagetable *pt, uint64_t address) {
    uint64_t *table = table_at(pt, pt->root);
    for (unsigned level = LEVELS - 1;; level--) {
        uint64_t entry = table[level_index(address, level)];
        struct pt_mapping mapping = {.size = level_size(level)};
        if ((entry & pt->format->present_mask) == 0)
            return mapping;
        if (entry_is_leaf(pt->format, entry, level)) {
            mapping.frame.v = align_down(entry & pt->format->address_mask, mapping.size);
            mapping.rights = leaf_rights(pt->format, entry, level);
            return mapping;
        }
        table = entry_table(pt, entry);
    }
}

static void table_walk(const struct pagetable *pt, hpa_t frame, unsigned level, unsigned first,
                       unsigned last, uint64_t base, const struct pt_visitor *visitor) {
    const uint64_t *table = table_at(pt, frame);
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
        } else if (visitor->table == NULL || visitor->table(visitor->opaque, next)) {
            table_walk(pt, next, level - 1, 0, ENTRIES - 1, address, visitor);
        }
    }
}

void pt_walk(const struct pagetable *pt, unsigned first_root, unsigned last_root,
             const struct pt_visitor *visitor) {
    table_walk(pt, pt->root, LEVELS - 1, first_root, last_root, 0, visitor);
}

// The first entry of [0, last] that is a table's. NULL: there is none.
static uint64_t *find_table(const struct pt_format *format, uint64_t *table, unsigned level,
                            unsigned last) {
    for (unsigned i = 0; i <= last; i++)
        if ((table[i] & format->present_mask) != 0 && !entry_is_leaf(format, table[i], level))
            return &table[i];
    return NULL;
}

// Frees the first table that has none below it, and forgets it: what is left is whole. False: it
// was the root.
static bool table_destroy(struct pagetable *pt, unsigned last_root) {
    hpa_t frame = pt->root;
    uint64_t *entry = NULL;
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        unsigned last = level == LEVELS - 1 ? last_root : ENTRIES - 1;
        uint64_t *next = find_table(pt->format, table_at(pt, frame), level, last);
        if (next == NULL)
            break;
        entry = next;
        frame.v = *entry & pt->format->address_mask;
    }
    if (entry != NULL)
        entry_write(entry, 0);
    else
        pt->root.v = 0;
    pt->memory.free(pt->memory.opaque, frame);
    return entry != NULL;
}

bool pt_destroy(struct pagetable *pt, unsigned last_root, uint64_t max) {
    for (uint64_t n = 0; n < max; n++)
        if (!table_destroy(pt, last_root))
            return true;
    return false;
}
