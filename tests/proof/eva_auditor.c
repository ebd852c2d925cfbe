// SPDX-License-Identifier: Apache-2.0
// What Eva starts from: kernel/audit_judge.c with any numbers, and any map of up to FRAMES frames.
#include "kernel/audit_judge.h"
#include "tests/proof/eva.h"

#define FRAMES 16

extern uint8_t eva_owners[FRAMES]; // not defined here: of any contents

// The map ends with the array, so that an index beyond the map is beyond the array. `first` is a
// constant where it lies in the map: what it and the count add up to is exact then.
static void claim(uint64_t frame_count) {
    uint8_t *owners = &eva_owners[FRAMES - frame_count];
    uint64_t at;
    for (uint64_t first = 0; first <= frame_count; first++)
        audit_claim(owners, frame_count, first, any_u64(), any_u8(), any_u8(), &at);
    uint64_t beyond = any_u64();
    if (beyond > frame_count)
        audit_claim(owners, frame_count, beyond, any_u64(), any_u8(), any_u8(), &at);
}

static void judge(void) {
    struct audit_leaf leaf = {any_u64(), any_u64(), any_u64(), any_u32()};
    struct region region = {any_u64(), any_u64(), NULL, any_u64(), any_u64()};
    struct memory_run run = {{any_u64()}, any_u64(), any_u64()};
    struct audit_window window = {any_u64(), any_u64(), any_u32(), any_u32(), any_bool()};
    struct audit_place place = audit_find_place(&region, &run);
    place.rights = any_u32();
    place.is_cleared = any_bool();
    audit_judge(&leaf, &place, any_u8());
    audit_judge_host(&leaf, any_bool() ? &window : NULL, any_u8());
    audit_judge_quota(any_u64(), any_u64(), any_u64(), any_u64());
}

void eva_auditor(void) {
    for (uint64_t frame_count = 0; frame_count <= FRAMES; frame_count++)
        claim(frame_count);
    judge();
}
