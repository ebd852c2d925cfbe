// SPDX-License-Identifier: Apache-2.0
// Steps on pages of ones; the interface is told in step.h.
#include "vmm/cpu/step.h"

#include "include/abi.h"
#include "lib/string.h"

#define AREA_SHIFT 21

static uint8_t *ones_of(const struct step *step, unsigned i) {
    return step->ones + (uint64_t)i * ABI_PAGE;
}

void step_init(struct step *step, const struct step_backend *backend, uint8_t *ones) {
    *step = (struct step){.backend = *backend, .ones = ones};
    memset(ones, UINT8_MAX, (uint64_t)STEP_PAGES * ABI_PAGE);
}

static bool take(struct step *step, unsigned who) {
    unsigned nobody = 0;
    return step_is_own(step, who) ||
           atomic_compare_exchange_strong_explicit(&step->owner, &nobody, who + 1,
                                                   memory_order_acquire, memory_order_relaxed);
}

static bool has_area(struct step *step, uint64_t gpa) {
    uint64_t area = gpa >> AREA_SHIFT;
    for (unsigned i = 0; i < step->area_count; i++)
        if (step->area[i] == area)
            return true;
    if (step->area_count == STEP_AREAS)
        return false;
    step->area[step->area_count++] = area;
    return true;
}

// In this order: what is filled can no longer be written.
static void drop(struct step *step, unsigned i) {
    struct step_page *page = &step->page[i];
    if (!page->is_mapped)
        return;
    step->backend.unmap(step->backend.opaque, page->gpa);
    page->is_mapped = false;
    if (page->is_writable)
        memset(ones_of(step, i), UINT8_MAX, ABI_PAGE);
}

static unsigned find(const struct step *step, uint64_t gpa) {
    for (unsigned i = 0; i < STEP_PAGES; i++)
        if (step->page[i].is_mapped && step->page[i].gpa == gpa)
            return i;
    return STEP_PAGES;
}

// A page that is there already and is asked for again was not to be written so far.
static bool add(struct step *step, uint64_t gpa, bool writes) {
    unsigned i = find(step, gpa);
    if (i == STEP_PAGES) {
        if (!has_area(step, gpa))
            return false;
        i = step->next++ % STEP_PAGES;
    }
    drop(step, i);
    struct step_page *page = &step->page[i];
    *page = (struct step_page){
        .gpa = gpa,
        .is_mapped = step->backend.map(step->backend.opaque, gpa, i, writes),
        .is_writable = writes,
    };
    return page->is_mapped;
}

enum step_result step_add(struct step *step, unsigned who, uint64_t gpa, bool writes) {
    if (!take(step, who))
        return STEP_BUSY;
    if (step->adds++ < STEP_ADDS && add(step, gpa, writes))
        return STEP_READY;
    (void)step_end(step, who);
    return STEP_IMPOSSIBLE;
}

bool step_end(struct step *step, unsigned who) {
    if (!step_is_own(step, who))
        return false;
    for (unsigned i = 0; i < STEP_PAGES; i++)
        drop(step, i);
    step->adds = 0;
    atomic_store_explicit(&step->owner, 0, memory_order_release);
    return true;
}
