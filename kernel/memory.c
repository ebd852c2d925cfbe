// SPDX-License-Identifier: Apache-2.0
// See kernel/memory.h. A chunk's word holds its physical address and flags; of one in pieces, that
// of a page with the address of each of its pages. What such pages cost is charged for every
// object: whether memory is in one piece is others' doing, and must not decide whether an object
// fits into its quota.
#include "kernel/memory.h"

#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/quota.h"
#include "kernel/thread.h"
#include "lib/index.h"

#define CHUNK_SIZE     SIZE_2M
#define WORDS          512u // chunk words in a page: 1 GiB
#define STEP_CHUNKS    64u  // that are taken or given back at a time
#define CHUNK_CLEARED  BIT(0)
#define CHUNK_GIGANTIC BIT(1) // one of 512 that are contiguous and aligned to 1 GiB
#define CHUNK_PIECES   BIT(2)
#define CHUNK_ADDRESS  (~(PAGE_SIZE - 1))

static uint64_t chunk_count(const struct memory *memory) {
    return (memory->size + CHUNK_SIZE - 1) / CHUNK_SIZE;
}

static uint64_t chunk_size(const struct memory *memory, uint64_t index) {
    return MIN(CHUNK_SIZE, memory->size - index * CHUNK_SIZE);
}

static uint64_t *chunk_word(const struct memory *memory, uint64_t index) {
    index = index_mask(index, chunk_count(memory));
    return &memory->directory[index / WORDS][index % WORDS];
}

uint64_t memory_charge(const struct memory *memory) {
    return memory->size + chunk_count(memory) * PAGE_SIZE;
}

// The pages of a chunk in pieces; NULL: it is not.
static hpa_t *get_pieces(uint64_t word) {
    return (word & CHUNK_PIECES) != 0 ? frame_to_kernel((hpa_t){word & CHUNK_ADDRESS}) : NULL;
}

static struct memory *memory_new(struct quota *quota, uint64_t size, enum memory_kind kind) {
    struct memory *memory = quota_alloc_object(quota, &memory_kind);
    if (memory == NULL)
        return NULL;
    lock_init(&memory->lock, LOCK_MEMORY);
    memory->size = size;
    memory->kind = kind;
    object_list(&memory->object);
    return memory;
}

static bool alloc_tables(struct memory *memory) {
    memory->directory = quota_alloc_page(memory->object.quota);
    if (memory->directory == NULL)
        return false;
    for (uint64_t i = 0; i * WORDS < chunk_count(memory); i++) {
        memory->directory[i] = quota_alloc_page(memory->object.quota);
        if (memory->directory[i] == NULL)
            return false;
    }
    return true;
}

// However broken up memory is, and whatever the pool holds back: page by page.
static bool alloc_pieces(uint64_t *word, uint64_t size) {
    hpa_t *pieces = kernel_page_alloc();
    if (pieces == NULL)
        return false;
    *word = frame_of_kernel(pieces).v | CHUNK_PIECES;
    for (uint64_t i = 0; i < size / PAGE_SIZE; i++)
        while (!frame_alloc(FRAME_ANYWHERE, PAGE_SIZE, &pieces[i]))
            if (!frame_reclaim(true))
                return false;
    return true;
}

// The chunk at `index`, or, when the object has that much from there on and the range too, the GiB.
// Returns chunks; 0: the range has none.
static uint64_t alloc_within(struct memory *memory, uint64_t index, struct abi_range within) {
    hpa_t base;
    bool is_candidate = index % WORDS == 0 && memory->size - index * CHUNK_SIZE >= SIZE_1G;
    if (is_candidate && frame_alloc(within, SIZE_1G, &base)) {
        for (uint64_t i = 0; i < WORDS; i++)
            *chunk_word(memory, index + i) = (base.v + i * CHUNK_SIZE) | CHUNK_GIGANTIC;
        return WORDS;
    }
    if (!frame_alloc(within, chunk_size(memory, index), &base))
        return 0;
    *chunk_word(memory, index) = base.v;
    return 1;
}

static uint64_t alloc_next(struct memory *memory, uint64_t index) {
    uint64_t count;
    do {
        const struct abi_range *range = memory->object.quota->home.range;
        while ((count = alloc_within(memory, index, *range)) == 0 &&
               (range->base | range->size) != 0)
            range++;
    } while (count == 0 && frame_reclaim(false));
    return count != 0 ? count : alloc_pieces(chunk_word(memory, index), chunk_size(memory, index));
}

static bool alloc_chunks(struct memory *memory) {
    uint64_t count;
    for (uint64_t i = 0; i < chunk_count(memory); i += count) {
        count = alloc_next(memory, i);
        if (count == 0)
            return false;
        if (count > 1 || i % STEP_CHUNKS == 0 || get_pieces(*chunk_word(memory, i)) != NULL)
            thread_preempt();
    }
    return true;
}

// How many steps it is.
static uint64_t free_chunk(uint64_t word, uint64_t size) {
    hpa_t *pieces = get_pieces(word);
    if (pieces == NULL) {
        frame_free((hpa_t){word & CHUNK_ADDRESS}, size);
        return 1;
    }
    for (uint64_t i = 0; i < size / PAGE_SIZE && pieces[i].v != 0; i++)
        frame_free(pieces[i], PAGE_SIZE);
    kernel_page_free(pieces);
    return STEP_CHUNKS;
}

// The object shrinks by its last chunk, if there is one, so that its size is always what it is
// charged for.
static uint64_t free_last(struct memory *memory) {
    uint64_t steps = 1;
    uint64_t last = chunk_count(memory) - 1, size = chunk_size(memory, last);
    uint64_t **words = memory->directory != NULL ? &memory->directory[last / WORDS] : NULL;
    if (words != NULL && *words != NULL) {
        uint64_t word = *chunk_word(memory, last);
        if (word != 0)
            steps = free_chunk(word, size);
        if (last % WORDS == 0) {
            quota_free_page(memory->object.quota, *words);
            *words = NULL;
        }
    }
    memory->size -= size;
    quota_release(memory->object.quota, size + PAGE_SIZE, 0);
    return steps;
}

// True: there are no more.
static bool free_some(struct memory *memory) {
    for (uint64_t n = 0; n < STEP_CHUNKS && memory->size > 0;)
        n += free_last(memory);
    if (memory->size > 0)
        return false;
    quota_free_page(memory->object.quota, memory->directory);
    return true;
}

struct memory *memory_create(struct quota *quota, uint64_t size) {
    struct memory *memory = memory_new(quota, size, MEMORY_RAM);
    if (memory == NULL)
        return NULL;
    if (!quota_charge(quota, memory_charge(memory), 0))
        memory->size = 0;
    else if (alloc_tables(memory) && alloc_chunks(memory))
        return memory;
    object_unref(&memory->object);
    return NULL;
}

struct memory *memory_create_at(struct quota *quota, hpa_t base, uint64_t size,
                                enum memory_kind kind) {
    struct memory *memory = memory_new(quota, size, kind);
    if (memory != NULL)
        memory->base = base;
    return memory;
}

struct memory *memory_create_page(struct quota *quota, void *page, struct object *owner) {
    struct memory *memory = memory_create_at(quota, frame_of_kernel(page), PAGE_SIZE, MEMORY_PAGE);
    if (memory == NULL)
        return NULL;
    memory->page_owner = owner;
    object_ref(owner);
    return memory;
}

static bool memory_destroy(struct object *object) {
    struct memory *memory = CONTAINER_OF(object, struct memory, object);
    switch (memory->kind) {
    case MEMORY_RAM:
        if (!free_some(memory))
            return false;
        break;
    case MEMORY_MODULE:
        frame_add(memory->base, memory->size);
        quota_grow_root(memory->size);
        break;
    case MEMORY_DEVICE:
        break;
    case MEMORY_PAGE:
        object_unref(memory->page_owner);
        break;
    }
    return true;
}

const struct object_kind memory_kind = {OBJECT_MEMORY, memory_destroy};

static bool is_gib_cleared(const struct memory *memory, uint64_t first) {
    for (uint64_t i = 0; i < WORDS; i++)
        if ((*chunk_word(memory, first + i) & CHUNK_CLEARED) == 0)
            return false;
    return true;
}

// What holds the offset: its chunk, or a piece of it.
static struct memory_run find_run(const struct memory *memory, uint64_t offset) {
    uint64_t index = offset / CHUNK_SIZE, word = *chunk_word(memory, index);
    const hpa_t *pieces = get_pieces(word);
    if (pieces != NULL)
        return (struct memory_run){pieces[offset % CHUNK_SIZE / PAGE_SIZE],
                                   align_down(offset, PAGE_SIZE), PAGE_SIZE};
    return (struct memory_run){
        {word & CHUNK_ADDRESS}, index * CHUNK_SIZE, chunk_size(memory, index)};
}

// The same, or its whole GiB.
static struct memory_run run_locked(const struct memory *memory, uint64_t offset) {
    uint64_t index = offset / CHUNK_SIZE;
    struct memory_run run = find_run(memory, offset);
    if ((*chunk_word(memory, index) & CHUNK_GIGANTIC) != 0 &&
        is_gib_cleared(memory, align_down(index, WORDS))) {
        run.frame.v = align_down(run.frame.v, SIZE_1G);
        run.offset = align_down(run.offset, SIZE_1G);
        run.size = SIZE_1G;
    }
    return run;
}

static void clear_chunk(uint64_t word, uint64_t size) {
    const hpa_t *pieces = get_pieces(word);
    if (pieces == NULL)
        kspace_clear((hpa_t){word & CHUNK_ADDRESS}, size);
    for (uint64_t i = 0; pieces != NULL && i < size / PAGE_SIZE; i++)
        kspace_clear(pieces[i], PAGE_SIZE);
}

struct memory_run memory_get(struct memory *memory, uint64_t offset, bool *is_cleared) {
    uint64_t index = offset / CHUNK_SIZE;
    if (memory->kind != MEMORY_RAM)
        return (struct memory_run){memory->base, 0, memory->size};
    lock_take(&memory->lock);
    uint64_t *word = chunk_word(memory, index);
    if (is_cleared != NULL) {
        *is_cleared = (*word & CHUNK_CLEARED) != 0;
    } else if ((*word & CHUNK_CLEARED) == 0) {
        clear_chunk(*word, chunk_size(memory, index));
        *word |= CHUNK_CLEARED;
    }
    struct memory_run run = run_locked(memory, offset);
    lock_drop(&memory->lock);
    return run;
}

bool memory_next(const struct memory *memory, uint64_t *offset, struct memory_run *run) {
    uint64_t index = *offset / CHUNK_SIZE;
    if (*offset >= memory->size)
        return false;
    bool is_ram = memory->kind == MEMORY_RAM;
    bool is_there = is_ram && memory->directory != NULL &&
                    memory->directory[index / WORDS] != NULL && *chunk_word(memory, index) != 0;
    *run = (struct memory_run){memory->base, 0, memory->size};
    if (is_ram)
        *run = is_there ? find_run(memory, *offset)
                        : (struct memory_run){{0}, *offset, chunk_size(memory, index)};
    *offset = run->offset + run->size;
    if (run->frame.v == 0)
        run->size = 0;
    return true;
}
