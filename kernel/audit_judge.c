// SPDX-License-Identifier: Apache-2.0
// See kernel/audit_judge.h.
#include "kernel/audit_judge.h"

// What it means that a frame of this owner's is mapped, or claimed, by somebody else.
/*@ assigns \nothing;
    ensures \result != ABI_AUDIT_NONE && \result != ABI_AUDIT_RIGHTS;
    ensures \result == ABI_AUDIT_FREE <==> owner == OWNER_FREE || owner == OWNER_POOL; */
static uint32_t blame(uint8_t owner) {
    switch (owner) {
    case OWNER_FREE:
    case OWNER_POOL:
        return ABI_AUDIT_FREE;
    case OWNER_MEMORY:
    case OWNER_SHOWN:
        return ABI_AUDIT_TWICE;
    default:
        return ABI_AUDIT_KERNEL;
    }
}

uint32_t audit_claim(uint8_t *owner, uint64_t frame_count, uint64_t first, uint64_t count,
                     uint8_t from, uint8_t to, uint64_t *at) {
    *at = first;
    if (first > frame_count || count > frame_count - first)
        return ABI_AUDIT_KERNEL;
    uint64_t end = first + count;
    /*@ loop invariant first <= i <= end;
        loop invariant \forall integer k; first <= k < i ==> \at(owner[k], Pre) == from;
        loop assigns i, *at;
        loop variant end - i; */
    for (uint64_t i = first; i < end; i++) {
        if (owner[i] != from) {
            *at = i;
            return blame(owner[i]);
        }
    }
    //@ assert \forall integer k; first <= k < end ==> \at(owner[k], Pre) == from;
    /*@ loop invariant first <= i <= end;
        loop invariant \forall integer k; first <= k < i ==> owner[k] == to;
        loop assigns i, owner[first .. end - 1];
        loop variant end - i; */
    for (uint64_t i = first; i < end; i++)
        owner[i] = to;
    return ABI_AUDIT_NONE;
}

struct audit_place audit_find_place(const struct region *region, const struct memory_run *run) {
    uint64_t first = MAX(run->offset, region->offset);
    uint64_t last = MIN(run->offset + run->size, region->offset + region->size);
    return (struct audit_place){
        .address = region->base + (first - region->offset),
        .size = last - first,
        .frame = run->frame.v + (first - run->offset),
    };
}

/*@ requires \valid_read(leaf) && \valid_read(place);
    assigns \nothing;
    ensures \result <==> leaf->address >= place->address &&
        leaf->address + leaf->size <= place->address + place->size; */
static bool is_inside(const struct audit_leaf *leaf, const struct audit_place *place) {
    return leaf->address >= place->address &&
           !range_exceeds(leaf->address - place->address, leaf->size, place->size);
}

uint32_t audit_judge(const struct audit_leaf *leaf, const struct audit_place *place,
                     uint8_t owner) {
    bool is_given = is_inside(leaf, place) && leaf->frame >= place->frame &&
                    leaf->frame - place->frame == leaf->address - place->address;
    if (!is_given || (owner != OWNER_MEMORY && owner != OWNER_SHOWN))
        return blame(owner);
    if ((leaf->rights & ~place->rights) != 0)
        return ABI_AUDIT_RIGHTS;
    return place->is_cleared ? ABI_AUDIT_NONE : ABI_AUDIT_DIRTY;
}

uint32_t audit_judge_host(const struct audit_leaf *leaf, const struct audit_window *window,
                          uint8_t owner) {
    if (window == NULL || range_exceeds(leaf->address, leaf->size, window->end))
        return ABI_AUDIT_KERNEL;
    if (owner >= OWNER_COUNT || (window->owners >> owner & 1) == 0)
        return blame(owner);
    if (window->is_direct && leaf->frame != leaf->address - window->begin)
        return ABI_AUDIT_TWICE;
    bool is_wx = (leaf->rights & PT_WRITE) != 0 && (leaf->rights & PT_EXECUTE) != 0;
    return is_wx || (leaf->rights & ~window->rights) != 0 ? ABI_AUDIT_RIGHTS : ABI_AUDIT_NONE;
}

uint32_t audit_judge_quota(uint64_t limit, uint64_t used, uint64_t kernel, uint64_t found) {
    bool is_right = used <= limit && kernel <= used && used - kernel == found;
    return is_right ? ABI_AUDIT_NONE : ABI_AUDIT_QUOTA;
}
