// SPDX-License-Identifier: Apache-2.0
// See kernel/memory.h. A chunk's word holds its physical address and two flags.
#include "kernel/memory.h"

#include "kernel/frame.h"
#include "kernel/quota.h"
#include "kernel/space.h"
#include "kernel/thread.h"

#define CHUNK_SIZE     SIZE_2M
#define WORDS          512u // chunk words in a page: 1 GiB
#define STEP_CHUNKS    64u  // that are taken or given back at a time
#define CHUNK_CLEARED  BIT(0)
#define CHUNK_GIGANTIC BIT(1) // one of 512 that are contiguous and aligned to 1 GiB
#define CHUNK_ADDRESS  (~(PAGE_SIZE - 1))

static uint64_t chunk_count(const struct memory *memory) {
    return (memory->size + CHUNK_SIZE - 1) / CHUNK_SIZE;
}

static uint64_t chunk_size(const struct memory *memory, uint64_t index) {
    return MIN(CHUNK_SIZE, memory->size - index * CHUNK_SIZE);
}

static uint64_t *chunk_word(const struct memory *memory, uint64_t index) {
    return &memory->directory[index / WORDS][index % WORDS];
}

static struct memory *memory_new(struct quota *quota, uint64_t size, enum memory_kind kind) {
    struct memory *memory = quota_alloc_page(quota);
    if (memory == NULL)
        return NULL;
    object_init(&memory->object, OBJECT_MEMORY);
    lock_init(&memory->lock, LOCK_MEMORY);
    object_ref(&quota->object);
    memory->quota = quota;
    memory->size = size;
    memory->kind = kind;
    object_list(&memory->object);
    return memory;
}

static bool alloc_tables(struct memory *memory) {
    memory->directory = quota_alloc_page(memory->quota);
    if (memory->directory == NULL)
        return false;
    for (uint64_t i = 0; i * WORDS < chunk_count(memory); i++) {
        memory->directory[i] = quota_alloc_page(memory->quota);
        if (memory->directory[i] == NULL)
            return false;
    }
    return true;
}

// A GiB in one piece, when the object has that much from `index` on and the machine too.
static bool alloc_gigantic(struct memory *memory, uint64_t index) {
    hpa_t base;
    bool is_candidate = index % WORDS == 0 && memory->size - index * CHUNK_SIZE >= SIZE_1G;
    if (!is_candidate || !frame_alloc(SIZE_1G, SIZE_1G, &base))
        return false;
    for (uint64_t i = 0; i < WORDS; i++)
        *chunk_word(memory, index + i) = (base.v + i * CHUNK_SIZE) | CHUNK_GIGANTIC;
    return true;
}

static bool alloc_chunks(struct memory *memory) {
    for (uint64_t i = 0; i < chunk_count(memory);) {
        if (alloc_gigantic(memory, i)) {
            i += WORDS;
            thread_preempt();
            continue;
        }
        uint64_t size = chunk_size(memory, i);
        hpa_t base;
        uint64_t align = size == CHUNK_SIZE ? CHUNK_SIZE : PAGE_SIZE;
        while (!frame_alloc(size, align, &base))
            if (!frame_reclaim())
                return false;
        *chunk_word(memory, i++) = base.v;
        if (i % STEP_CHUNKS == 0)
            thread_preempt();
    }
    return true;
}

// The object shrinks by its last chunk, if there is one, so that its size is always what it is charged for.
static void free_last(struct memory *memory) {
    uint64_t last = chunk_count(memory) - 1, size = chunk_size(memory, last);
    uint64_t **words = memory->directory != NULL ? &memory->directory[last / WORDS] : NULL;
    if (words != NULL && *words != NULL) {
        uint64_t base = *chunk_word(memory, last) & CHUNK_ADDRESS;
        if (base != 0)
            frame_free((hpa_t){base}, size);
        if (last % WORDS == 0) {
            quota_free_page(memory->quota, *words);
            *words = NULL;
        }
    }
    memory->size -= size;
    quota_release(memory->quota, size);
}

// True: there are no more.
static bool free_some(struct memory *memory) {
    for (uint64_t n = 0; n < STEP_CHUNKS && memory->size > 0; n++)
        free_last(memory);
    if (memory->size > 0)
        return false;
    if (memory->directory != NULL)
        quota_free_page(memory->quota, memory->directory);
    return true;
}

struct memory *memory_create(struct quota *quota, uint64_t size) {
    struct memory *memory = memory_new(quota, size, MEMORY_RAM);
    if (memory == NULL)
        return NULL;
    if (!quota_charge(quota, size))
        memory->size = 0;
    else if (alloc_tables(memory) && alloc_chunks(memory))
        return memory;
    object_unref(&memory->object);
    return NULL;
}

struct memory *memory_create_module(struct quota *quota, hpa_t base, uint64_t size) {
    struct memory *memory = memory_new(quota, size, MEMORY_MODULE);
    if (memory != NULL)
        memory->base = base;
    return memory;
}

struct memory *memory_create_page(struct quota *quota, void *page, struct object *owner) {
    struct memory *memory = memory_new(quota, PAGE_SIZE, MEMORY_PAGE);
    if (memory == NULL)
        return NULL;
    memory->base = frame_of_kernel(page);
    memory->page_owner = owner;
    object_ref(owner);
    return memory;
}

bool memory_destroy(struct object *object) {
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
    case MEMORY_PAGE:
        object_unref(memory->page_owner);
        break;
    }
    object_unlist(object);
    struct quota *quota = memory->quota;
    quota_free_page(quota, memory);
    object_unref(&quota->object);
    return true;
}

static bool is_gib_cleared(const struct memory *memory, uint64_t first) {
    for (uint64_t i = 0; i < WORDS; i++)
        if ((*chunk_word(memory, first + i) & CHUNK_CLEARED) == 0)
            return false;
    return true;
}

// What holds the chunk: itself, or its whole GiB.
static struct memory_run run_locked(const struct memory *memory, uint64_t index) {
    uint64_t word = *chunk_word(memory, index);
    struct memory_run run = {
        .frame = {word & CHUNK_ADDRESS},
        .offset = index * CHUNK_SIZE,
        .size = chunk_size(memory, index),
    };
    if ((word & CHUNK_GIGANTIC) != 0 && is_gib_cleared(memory, align_down(index, WORDS))) {
        run.frame.v = align_down(run.frame.v, SIZE_1G);
        run.offset = align_down(run.offset, SIZE_1G);
        run.size = SIZE_1G;
    }
    return run;
}

static struct memory_run get_ram(struct memory *memory, uint64_t offset, bool *is_cleared) {
    uint64_t index = offset / CHUNK_SIZE;
    lock_take(&memory->lock);
    uint64_t *word = chunk_word(memory, index);
    if (is_cleared != NULL) {
        *is_cleared = (*word & CHUNK_CLEARED) != 0;
    } else if ((*word & CHUNK_CLEARED) == 0) {
        space_clear((hpa_t){*word & CHUNK_ADDRESS}, chunk_size(memory, index));
        *word |= CHUNK_CLEARED;
    }
    struct memory_run run = run_locked(memory, index);
    lock_drop(&memory->lock);
    return run;
}

struct memory_run memory_get(struct memory *memory, uint64_t offset) {
    if (memory->kind == MEMORY_RAM)
        return get_ram(memory, offset, NULL);
    return (struct memory_run){memory->base, 0, memory->size};
}

struct memory_run memory_peek(struct memory *memory, uint64_t offset, bool *is_cleared) {
    *is_cleared = true;
    if (memory->kind == MEMORY_RAM)
        return get_ram(memory, offset, is_cleared);
    return (struct memory_run){memory->base, 0, memory->size};
}

bool memory_chunk(const struct memory *memory, uint64_t index, hpa_t *base, uint64_t *size) {
    *base = memory->base;
    *size = memory->size;
    if (memory->kind != MEMORY_RAM)
        return index == 0;
    if (index >= chunk_count(memory))
        return false;
    bool is_there = memory->directory != NULL && memory->directory[index / WORDS] != NULL;
    base->v = is_there ? *chunk_word(memory, index) & CHUNK_ADDRESS : 0;
    *size = base->v != 0 ? chunk_size(memory, index) : 0;
    return true;
}
