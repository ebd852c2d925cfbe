// SPDX-License-Identifier: Apache-2.0
// Addresses where a PC has nothing, for instructions that the VMM does not carry out: the guest
// runs the one that it is at by itself, on pages of ones that are mapped there for so long
// (VCPU_DIRTY_STEP). What it writes is thrown away.
//
// In call order: step_init; for each page that the instruction turns out to touch step_add, then
// run the guest; step_end behind whatever ends it. One vCPU of a VM at a time: another one that
// wants to is told STEP_BUSY and tries again.
//
// What other vCPUs see meanwhile: where the instruction only reads, a page of ones that nobody can
// write. Where it writes, the page takes what anybody writes there and shows it, until the step
// ends: behind one instruction, or earlier. It never outlives it: step_end unmaps, which no CPU's
// TLB survives, and then fills with ones again.
//
// Tables that map a page stay when it is gone, charged to the VM. So there are steps in a bounded
// number of areas, which a table maps, and none elsewhere.
//
// The delivery of an event reads descriptors and writes to a stack, through tables, and each of
// these may cross a page: STEP_PAGES are room for all of them. What wants more would come back for
// the page that went before it for ever; a step that has asked STEP_ADDS times is impossible, too.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define STEP_PAGES 16u // at once; of more the oldest goes, and the instruction comes back for it
#define STEP_ADDS  64u // in one step: a gather of 16 elements, each over two pages, and its tables
#define STEP_AREAS 32u // of 2 MiB, in a VM's life

struct step_backend {
    void *opaque;
    // Maps page number `page` of the ones at gpa in the VM, readable, executable and perhaps
    // writable. False: it cannot be.
    bool (*map)(void *opaque, uint64_t gpa, unsigned page, bool is_writable);
    // Undoes it; afterwards no vCPU reaches the page any more.
    void (*unmap)(void *opaque, uint64_t gpa);
};

struct step_page {
    uint64_t gpa;
    bool is_mapped;
    bool is_writable;
};

// All but `owner` is the owner's.
struct step {
    atomic_uint owner; // a vCPU's number + 1; 0: nobody
    struct step_backend backend;
    uint8_t *ones; // STEP_PAGES pages
    unsigned next; // of page[], to be used next
    unsigned adds; // of this step
    struct step_page page[STEP_PAGES];
    unsigned area_count;
    uint64_t area[STEP_AREAS]; // gpa / 2 MiB
};

enum step_result {
    STEP_READY,
    STEP_BUSY,       // another vCPU is at it: let the guest try again
    STEP_IMPOSSIBLE, // no page can be there, or it asks for ever; the step is over
};

// `ones`: STEP_PAGES pages of RAM, which are filled.
void step_init(struct step *step, const struct step_backend *backend, uint8_t *ones);
// vCPU `who` is to find a page of ones at the page `gpa`; if it `writes`, that takes its writes.
enum step_result step_add(struct step *step, unsigned who, uint64_t gpa, bool writes);
// The step of vCPU `who` is over. False: it was at none.
bool step_end(struct step *step, unsigned who);

// Whether this vCPU has one.
static inline bool step_is_own(const struct step *step, unsigned who) {
    return atomic_load_explicit(&step->owner, memory_order_relaxed) == who + 1;
}
