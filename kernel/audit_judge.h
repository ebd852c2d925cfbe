// SPDX-License-Identifier: Apache-2.0
// The judging core of the isolation auditor: who owns a frame, and whether a mapping is what its
// owner was given. It knows no object, no table and no lock, only numbers, so that what it says can
// be proved (tests/proof, docs/proofs.md) and tested without a machine. kernel/audit.c feeds it.
//
// In call order: audit_claim for each frame that somebody owns; audit_find_place and audit_judge
// for each leaf of a process's or a VM's tables; audit_judge_host for each leaf of the kernel's.
#pragma once

#include "include/abi.h"
#include "kernel/memory.h"
#include "kernel/region.h"

// Of a frame, a byte each.
enum audit_owner {
    OWNER_NONE = 0, // not RAM that was given to the kernel: devices, firmware, the kernel's image
    OWNER_FREE,     // in the frame allocator
    OWNER_KERNEL,   // a kernel page in use, mapped in the direct map
    OWNER_POOL,     // a kernel page in no use
    OWNER_TABLE,    // a kernel page that some entry names as its table
    OWNER_SHOWN,  // a kernel page that ring 3 may see: a vCPU's page, the page of the system calls
    OWNER_MEMORY, // a memory object's
    OWNER_COUNT,
};

// A leaf of some table.
struct audit_leaf {
    uint64_t address; // that is mapped
    uint64_t size;    // 4 KiB, 2 MiB or 1 GiB
    uint64_t frame;
    uint32_t rights; // enum pt_rights
};

// What may be mapped around an address: the part of one run of a memory object that one region
// shows.
struct audit_place {
    uint64_t address;
    uint64_t size; // 0: nothing may be mapped
    uint64_t frame;
    uint32_t rights; // enum pt_rights that a leaf may have
    bool is_cleared; // of what its last owner left in it
};

/*@ // Every address of the leaf lies in the place, and shows the frame that belongs there.
    predicate is_given{L}(struct audit_leaf *leaf, struct audit_place *place) =
        leaf->address >= place->address &&
        leaf->address + leaf->size <= place->address + place->size &&
        leaf->frame - place->frame == leaf->address - place->address;
    predicate is_owned(integer owner) = owner == OWNER_MEMORY || owner == OWNER_SHOWN; */

// Makes the frames [first, first+count) of `owner`, which has `frame_count` bytes, `to`, where all
// of them were `from`; else changes nothing and says what stands against it. `at` is the first such
// frame.
/*@ requires \valid(owner + (0 .. frame_count - 1)) && \valid(at);
    requires \separated(at, owner + (0 .. frame_count - 1));
    assigns *at, owner[first .. first + count - 1];
    ensures granted: \result == ABI_AUDIT_NONE ==> first + count <= frame_count &&
        (\forall integer i; first <= i < first + count ==> \old(owner[i]) == from);
    ensures refused: \result != ABI_AUDIT_NONE ==> first + count > frame_count ||
        (first <= *at < first + count && \old(owner[\at(*at, Post)]) != from);
    ensures taken: \result == ABI_AUDIT_NONE ==>
        \forall integer i; first <= i < first + count ==> owner[i] == to;
    ensures kept: \result != ABI_AUDIT_NONE ==>
        \forall integer i; 0 <= i < frame_count ==> owner[i] == \old(owner[i]); */
uint32_t audit_claim(uint8_t *owner, uint64_t frame_count, uint64_t first, uint64_t count,
                     uint8_t from, uint8_t to, uint64_t *at);

// Where the region shows the run, which holds some of it; with no rights, and not cleared.
/*@ requires \valid_read(region) && \valid_read(run);
    requires region->base + region->size <= UINT64_MAX;
    requires region->offset + region->size <= UINT64_MAX;
    requires run->offset + run->size <= UINT64_MAX && run->frame.v + run->size <= UINT64_MAX;
    requires run->offset < region->offset + region->size;
    requires region->offset < run->offset + run->size;
    assigns \nothing;
    ensures in_region: region->base <= \result.address &&
        \result.address + \result.size <= region->base + region->size;
    ensures in_run: \let offset = \result.address - region->base + region->offset;
        run->offset <= offset && offset + \result.size <= run->offset + run->size &&
        \result.frame - run->frame.v == offset - run->offset;
    ensures all_of_both: \forall integer offset;
        region->offset <= offset < region->offset + region->size &&
        run->offset <= offset < run->offset + run->size ==>
        \result.address <= offset - region->offset + region->base <
            \result.address + \result.size;
    ensures \result.rights == 0 && !\result.is_cleared; */
struct audit_place audit_find_place(const struct region *region, const struct memory_run *run);

// A leaf of a process's or VM's tables, whose first frame is the `owner`'s. enum abi_audit_error.
/*@ requires \valid_read(leaf) && \valid_read(place);
    assigns \nothing;
    ensures exact: \result == ABI_AUDIT_NONE <==>
        is_given(leaf, place) && is_owned(owner) && (leaf->rights & (uint32_t)~place->rights) == 0 &&
        place->is_cleared;
    ensures rights: \result == ABI_AUDIT_RIGHTS ==>
        is_given(leaf, place) && (leaf->rights & (uint32_t)~place->rights) != 0;
    ensures free: is_given(leaf, place) || \result == ABI_AUDIT_FREE <==>
        is_given(leaf, place) || owner == OWNER_FREE || owner == OWNER_POOL; */
uint32_t audit_judge(const struct audit_leaf *leaf, const struct audit_place *place, uint8_t owner);

// A range of the kernel's addresses, and what may be mapped there.
struct audit_window {
    uint64_t begin, end;
    uint32_t rights; // that a leaf may have
    uint32_t owners; // bits 1 << enum audit_owner: of frames
    bool is_direct;  // frame = address - begin
};
// `window` NULL: none holds the address.
/*@ requires \valid_read(leaf);
    requires window == \null ||
        (\valid_read(window) && leaf->address >= window->begin);
    assigns \nothing;
    ensures exact: \result == ABI_AUDIT_NONE <==>
        window != \null && leaf->address + leaf->size <= window->end && owner < OWNER_COUNT &&
        (window->owners >> owner & 1) != 0 &&
        (window->is_direct ==> leaf->frame == leaf->address - window->begin) &&
        (leaf->rights & (uint32_t)~window->rights) == 0 &&
        ((leaf->rights & PT_WRITE) == 0 || (leaf->rights & PT_EXECUTE) == 0); */
uint32_t audit_judge_host(const struct audit_leaf *leaf, const struct audit_window *window,
                          uint8_t owner);

// A quota's books. `found` is what the auditor added up of memory and of quotas made from it.
/*@ assigns \nothing;
    ensures \result == ABI_AUDIT_NONE <==> used <= limit && used == kernel + found; */
uint32_t audit_judge_quota(uint64_t limit, uint64_t used, uint64_t kernel, uint64_t found);
