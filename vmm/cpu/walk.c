// SPDX-License-Identifier: Apache-2.0
//
// The guest's page tables, walked in software. `walk_translate` picks the paging mode (SDM 3A 4.1.1
// "Four Paging Modes") and one loop serves all of them: a mode is its number of levels, the size of
// its entries and its reserved bits.
//
// Invariant: nothing in guest memory is changed before the access is known to be allowed.

#include "vmm/cpu/walk.h"

#define CR0_WP    (UINT64_C(1) << 16)
#define CR0_PG    (UINT64_C(1) << 31)
#define CR4_PSE   (UINT64_C(1) << 4)
#define CR4_PAE   (UINT64_C(1) << 5)
#define CR4_LA57  (UINT64_C(1) << 12)
#define CR4_SMEP  (UINT64_C(1) << 20)
#define CR4_SMAP  (UINT64_C(1) << 21)
#define EFER_LMA  (UINT64_C(1) << 10)
#define EFER_NXE  (UINT64_C(1) << 11)
#define RFLAGS_AC (UINT64_C(1) << 18)

// SDM 3A tables 4-5 to 4-20: the bits are the same in all formats.
#define ENTRY_PRESENT   UINT64_C(1)
#define ENTRY_WRITABLE  (UINT64_C(1) << 1)
#define ENTRY_USER      (UINT64_C(1) << 2)
#define ENTRY_ACCESSED  (UINT64_C(1) << 5)
#define ENTRY_DIRTY     (UINT64_C(1) << 6)
#define ENTRY_LARGE     (UINT64_C(1) << 7)
#define ENTRY_NX        (UINT64_C(1) << 63)
#define ENTRY_ADDRESS   UINT64_C(0x000ffffffffff000)
#define ENTRY_PAT_LARGE (UINT64_C(1) << 12) // of an entry that maps a large page: no address bit

#define PAGE_SHIFT    12
#define PAGE_SIZE     (UINT64_C(1) << PAGE_SHIFT)
#define TABLE_BITS    9  // index bits of a level whose entries have 8 bytes
#define TABLE_BITS_32 10 // the same for 4 bytes
#define LEVELS_MAX    5
#define LEVEL_PT      1
#define LEVEL_PD      2
#define LEVEL_PDPT    3
#define LEVEL_PML4    4
#define LEVEL_PML5    5

#define CR3_PAE_ADDRESS   UINT64_C(0xffffffe0)
#define CR3_32BIT_ADDRESS UINT64_C(0xfffff000)
#define PAE_SHIFT         30
#define PAE_RESERVED      (UINT64_C(0x7ff) << 52) // ignored in long mode

#define PSE36_SHIFT    13 // bits 20:13 of a 4 MiB PDE are address bits 39:32
#define PSE36_ADDRESS  (UINT64_C(0xff) << PSE36_SHIFT)
#define PSE36_TOP      32
#define PSE36_RESERVED (UINT64_C(1) << 21)
#define PSE36_BITS_MAX 40

#define CPL_USER 3

#define INLINE static inline __attribute__((always_inline)) // specialised by a constant argument

// How often a walk starts again because an entry changed under it; then the bits stay unset.
#define ATTEMPTS_MAX 8

struct walk {
    const struct walk_ctx *ctx;
    uint64_t gva;
    unsigned access;
    unsigned entry_bytes; // 8, or 4 for 32-bit paging
    unsigned top;         // the level to start at, and
    uint64_t root;        // its table
    uint64_t reserved;    // bits reserved in every entry
    uint64_t all;         // AND of the entries: ENTRY_WRITABLE, ENTRY_USER, ENTRY_ACCESSED
    uint64_t any;         // OR of the entries: ENTRY_NX
    unsigned last;        // the level that maps the page
    unsigned page_shift;
    struct {
        uint64_t gpa;
        uint64_t value;
    } entry[LEVELS_MAX + 1]; // by level, from top to last
};

INLINE bool is_plain_ram(const struct walk_ctx *ctx, uint64_t gpa) {
    return gpa - ctx->ram_start < ctx->ram_size || gpa < ctx->ram_low_size;
}

// Guest memory to be read, or NULL.
INLINE const void *memory(const struct walk_ctx *ctx, uint64_t gpa, unsigned length) {
    if (is_plain_ram(ctx, gpa))
        return ctx->ram + gpa;
    return ctx->guest_ptr(ctx->opaque, gpa, length, false);
}

static bool is_32bit(const struct walk *w) {
    return w->entry_bytes == sizeof(uint32_t);
}

// False when the entry is no longer what the walk saw. Page tables in ROM keep their bits.
static bool entry_mark(struct walk *w, unsigned level, uint64_t bits) {
    uint64_t seen = w->entry[level].value;
    uint32_t seen32 = (uint32_t)seen;
    void *at;

    if ((seen & bits) == bits)
        return true;
    at = w->ctx->guest_ptr(w->ctx->opaque, w->entry[level].gpa, w->entry_bytes, true);
    if (at == NULL)
        return true;
    if (!is_32bit(w))
        return __atomic_compare_exchange_n((uint64_t *)at, &seen, seen | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n((uint32_t *)at, &seen32, seen32 | (uint32_t)bits, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

// Whether PS, which is set in this entry above the page table, makes it map a page.
static bool is_large_allowed(const struct walk *w, unsigned level) {
    if (level == LEVEL_PDPT)
        return w->ctx->has_1g_pages;
    return level == LEVEL_PD && (!is_32bit(w) || w->ctx->cr4 & CR4_PSE);
}

// The address bits that must be 0 in an entry that maps a large page: SDM 3A tables 4-4 to 4-18.
static uint64_t reserved_large(const struct walk *w, unsigned page_shift) {
    unsigned bits = w->ctx->physical_bits;
    uint64_t below_page = (UINT64_C(1) << page_shift) - 1;

    if (!is_32bit(w))
        return below_page & ENTRY_ADDRESS & ~ENTRY_PAT_LARGE;
    if (bits >= PSE36_BITS_MAX)
        return PSE36_RESERVED;
    return PSE36_RESERVED | (PSE36_ADDRESS & ~UINT64_C(0) << (bits - PSE36_TOP + PSE36_SHIFT));
}

// Loads the entries, of 8 or 4 bytes, from the top down to the one that maps the page. On
// WALK_PAGE_FAULT *error holds WALK_ERROR_PRESENT and WALK_ERROR_RESERVED as they are due.
INLINE enum walk_status descend(struct walk *w, unsigned entry_bytes, uint32_t *error) {
    const unsigned table_bits = entry_bytes == sizeof(uint64_t) ? TABLE_BITS : TABLE_BITS_32;
    unsigned level = w->top;
    unsigned shift = PAGE_SHIFT + table_bits * (level - 1);
    uint64_t reserved = w->reserved;
    uint64_t table = w->root;
    const uint64_t gva = w->gva;
    const struct walk_ctx *const ctx = w->ctx;
    uint64_t all = UINT64_MAX;
    uint64_t any = 0;
    uint64_t entry;

    for (;; level--, shift -= table_bits) {
        uint64_t index = gva >> shift & ((UINT64_C(1) << table_bits) - 1);
        uint64_t gpa = table + index * entry_bytes;
        const void *at = memory(ctx, gpa, entry_bytes);

        if (at == NULL)
            entry = entry_bytes == sizeof(uint64_t) ? UINT64_MAX : UINT32_MAX;
        else
            entry = entry_bytes == sizeof(uint64_t)
                        ? __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED)
                        : __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
        w->entry[level].gpa = gpa;
        w->entry[level].value = entry;
        all &= entry;
        any |= entry;
        if (!(entry & ENTRY_PRESENT)) {
            *error = 0;
            return WALK_PAGE_FAULT;
        }
        if (level == LEVEL_PT)
            break;
        if (entry & ENTRY_LARGE) {
            if (is_large_allowed(w, level)) {
                reserved |= reserved_large(w, shift);
                break;
            }
            if (entry_bytes == sizeof(uint64_t))
                reserved |= ENTRY_LARGE;
        }
        if (entry & reserved)
            break;
        table = entry & ENTRY_ADDRESS;
    }
    w->all = all;
    w->any = any;
    w->last = level;
    w->page_shift = shift;
    *error = WALK_ERROR_PRESENT | WALK_ERROR_RESERVED;
    return entry & reserved ? WALK_PAGE_FAULT : WALK_OK;
}

static uint64_t page_address(const struct walk *w) {
    uint64_t entry = w->entry[w->last].value;
    uint64_t offset_mask = (UINT64_C(1) << w->page_shift) - 1;
    uint64_t page = entry & ENTRY_ADDRESS & ~offset_mask;

    if (is_32bit(w) && w->last == LEVEL_PD)
        page |= (entry & PSE36_ADDRESS) >> PSE36_SHIFT << PSE36_TOP;
    return page | (w->gva & offset_mask);
}

// SDM 3A 4.6.1 "Determination of Access Rights".
static bool is_allowed(const struct walk *w) {
    const struct walk_ctx *ctx = w->ctx;
    bool is_user_page = w->all & ENTRY_USER;
    bool is_user = ctx->cpl == CPL_USER;

    if (is_user && !is_user_page)
        return false;
    if (w->access & WALK_FETCH) {
        if (w->any & ENTRY_NX)
            return false;
        return is_user || !is_user_page || !(ctx->cr4 & CR4_SMEP);
    }
    if (!is_user && is_user_page && ctx->cr4 & CR4_SMAP && !(ctx->rflags & RFLAGS_AC))
        return false;
    if (w->access & WALK_WRITE && !(w->all & ENTRY_WRITABLE))
        return !is_user && !(ctx->cr0 & CR0_WP);
    return true;
}

// Accessed bits in all entries of the walk, dirty in the last: SDM 3A 4.8 "Accessed and Dirty
// Flags".
static bool mark(struct walk *w) {
    uint64_t last_bits = ENTRY_ACCESSED | (w->access & WALK_WRITE ? ENTRY_DIRTY : 0);

    if (w->all & ENTRY_ACCESSED && (w->entry[w->last].value & last_bits) == last_bits)
        return true;
    for (unsigned level = w->top; level > w->last; level--) {
        if (!entry_mark(w, level, ENTRY_ACCESSED))
            return false;
    }
    return entry_mark(w, w->last, last_bits);
}

// The bits of the error code that the access alone decides: SDM 3A 4.7 "Page-Fault Exceptions".
static uint32_t access_error(const struct walk *w) {
    const struct walk_ctx *ctx = w->ctx;
    uint32_t error = w->access & WALK_WRITE;
    bool has_nx = ctx->cr4 & CR4_PAE && ctx->efer & EFER_NXE;

    if (ctx->cpl == CPL_USER)
        error |= WALK_ERROR_USER;
    if (w->access & WALK_FETCH && (has_nx || ctx->cr4 & CR4_SMEP))
        error |= WALK_ERROR_FETCH;
    return error;
}

static enum walk_status walk_tables(struct walk *w, struct walk_result *result) {
    for (unsigned attempt = 1;; attempt++) {
        uint32_t error = 0;
        enum walk_status status = is_32bit(w) ? descend(w, sizeof(uint32_t), &error)
                                              : descend(w, sizeof(uint64_t), &error);

        if (status == WALK_OK && !is_allowed(w)) {
            error = WALK_ERROR_PRESENT;
            status = WALK_PAGE_FAULT;
        }
        if (status != WALK_OK) {
            result->error_code = error | access_error(w);
            return status;
        }
        if (mark(w) || attempt == ATTEMPTS_MAX)
            break;
    }
    result->gpa = page_address(w);
    return WALK_OK;
}

static bool is_canonical(uint64_t gva, unsigned levels) {
    unsigned unused = 64 - (PAGE_SHIFT + TABLE_BITS * levels);

    return (uint64_t)((int64_t)(gva << unused) >> unused) == gva;
}

static enum walk_status start_long(struct walk *w) {
    w->top = w->ctx->cr4 & CR4_LA57 ? LEVEL_PML5 : LEVEL_PML4;
    w->root = w->ctx->cr3 & ENTRY_ADDRESS;
    return is_canonical(w->gva, w->top) ? WALK_OK : WALK_NONCANONICAL;
}

// The top level, four PDPTEs, has no rights and no accessed bits; its reserved bits were checked
// when CR3 was loaded. So it is not one of the loop's.
static enum walk_status start_pae(struct walk *w, struct walk_result *result) {
    const struct walk_ctx *ctx = w->ctx;
    uint64_t gpa = (ctx->cr3 & CR3_PAE_ADDRESS) + (w->gva >> PAE_SHIFT) * sizeof(uint64_t);
    const uint64_t *at = memory(ctx, gpa, sizeof *at);
    uint64_t entry;

    entry = at == NULL ? UINT64_MAX : __atomic_load_n(at, __ATOMIC_RELAXED);
    if (!(entry & ENTRY_PRESENT)) {
        result->error_code = access_error(w);
        return WALK_PAGE_FAULT;
    }
    w->top = LEVEL_PD;
    w->root = entry & ENTRY_ADDRESS;
    w->reserved |= PAE_RESERVED;
    return WALK_OK;
}

static enum walk_status start_32bit(struct walk *w) {
    w->entry_bytes = sizeof(uint32_t);
    w->top = LEVEL_PD;
    w->root = w->ctx->cr3 & CR3_32BIT_ADDRESS;
    w->reserved = 0;
    return WALK_OK;
}

// Nearly each walk that only reads: four levels, tables in plain RAM, and nothing to be marked or
// to be said against it. False: it is not one of these, and nothing is known. What is read behind
// an entry that is not present is thrown away with it.
static bool walk_plain(const struct walk_ctx *ctx, uint64_t gva, unsigned access,
                       struct walk_result *result) {
    const uint64_t offset_large = (UINT64_C(1) << (PAGE_SHIFT + TABLE_BITS)) - 1;
    uint64_t barred = (~UINT64_C(0) << ctx->physical_bits & ENTRY_ADDRESS) | ENTRY_NX;
    uint64_t needed = ENTRY_PRESENT | ENTRY_ACCESSED | (ctx->cpl == CPL_USER ? ENTRY_USER : 0);
    uint64_t table = ctx->cr3 & ENTRY_ADDRESS;
    unsigned shift = PAGE_SHIFT + TABLE_BITS * LEVEL_PML4;
    uint64_t all = UINT64_MAX;
    uint64_t any = 0;
    uint64_t entry;

    if (!(ctx->cr0 & CR0_PG) || !(ctx->efer & EFER_LMA) || ctx->cr4 & CR4_LA57 ||
        access & WALK_WRITE || !is_canonical(gva, LEVEL_PML4))
        return false;
    do {
        shift -= TABLE_BITS;
        uint64_t index = gva >> shift & ((UINT64_C(1) << TABLE_BITS) - 1);
        uint64_t gpa = table + index * sizeof entry;

        if (!is_plain_ram(ctx, gpa))
            return false;
        entry = __atomic_load_n((const uint64_t *)(const void *)(ctx->ram + gpa), __ATOMIC_RELAXED);
        all &= entry;
        any |= entry;
        table = entry & ENTRY_ADDRESS;
    } while (shift > PAGE_SHIFT && !(entry & ENTRY_LARGE));
    // A supervisor's access to a user's page depends on SMEP, SMAP and AC.
    if ((all & needed) != needed || any & barred || shift > PAGE_SHIFT + TABLE_BITS ||
        (ctx->cpl != CPL_USER && all & ENTRY_USER))
        return false;
    if (shift == PAGE_SHIFT) {
        result->gpa = table | (gva & (PAGE_SIZE - 1));
        return true;
    }
    result->gpa = (table & ~offset_large) | (gva & offset_large);
    return !(entry & offset_large & ENTRY_ADDRESS & ~ENTRY_PAT_LARGE);
}

// Any walk.
static __attribute__((noinline)) enum walk_status
walk_whole(const struct walk_ctx *ctx, uint64_t gva, unsigned access, struct walk_result *result) {
    bool is_long = ctx->efer & EFER_LMA;
    enum walk_status status;
    struct walk w;

    gva = is_long ? gva : (uint32_t)gva;
    if (!(ctx->cr0 & CR0_PG)) {
        result->gpa = gva;
        return WALK_OK;
    }
    w.ctx = ctx;
    w.gva = gva;
    w.access = access;
    w.entry_bytes = sizeof(uint64_t);
    w.reserved = ~UINT64_C(0) << ctx->physical_bits & ENTRY_ADDRESS;
    if (!(ctx->efer & EFER_NXE))
        w.reserved |= ENTRY_NX;
    if (is_long)
        status = start_long(&w);
    else
        status = ctx->cr4 & CR4_PAE ? start_pae(&w, result) : start_32bit(&w);
    return status == WALK_OK ? walk_tables(&w, result) : status;
}

enum walk_status walk_translate(const struct walk_ctx *ctx, uint64_t gva, unsigned access,
                                struct walk_result *result) {
    return walk_plain(ctx, gva, access, result) ? WALK_OK : walk_whole(ctx, gva, access, result);
}

// One page's share of walk_fetch.
static void fetch_within_page(const struct walk_ctx *ctx, uint64_t gva, unsigned count,
                              struct walk_code *code) {
    struct walk_result result = {0};
    uint8_t *to = code->bytes + code->count;
    const void *from;

    code->status = walk_translate(ctx, gva, WALK_FETCH, &result);
    if (code->status != WALK_OK) {
        code->fault_gva = gva;
        code->error_code = result.error_code;
        return;
    }
    from = memory(ctx, result.gpa, count);
    if (from == NULL)
        __builtin_memset(to, UINT8_MAX, count);
    else if (count == WALK_CODE_BYTES)
        __builtin_memcpy(to, from, WALK_CODE_BYTES);
    else
        __builtin_memcpy(to, from, count);
    code->count = (uint8_t)(code->count + count);
}

void walk_fetch(const struct walk_ctx *ctx, uint64_t gva, bool is_64bit, struct walk_code *code) {
    uint64_t mask = is_64bit ? UINT64_MAX : UINT32_MAX;
    unsigned left_in_page = (unsigned)(PAGE_SIZE - (gva & (PAGE_SIZE - 1)));

    code->count = 0;
    if (left_in_page >= WALK_CODE_BYTES) {
        fetch_within_page(ctx, gva & mask, WALK_CODE_BYTES, code);
        return;
    }
    fetch_within_page(ctx, gva & mask, left_in_page, code);
    if (code->status == WALK_OK)
        fetch_within_page(ctx, (gva + left_in_page) & mask, WALK_CODE_BYTES - left_in_page, code);
}
