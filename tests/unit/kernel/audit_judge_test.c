// SPDX-License-Identifier: Apache-2.0
// kernel/audit_judge.c: the auditor's judging core by itself, at its edges.
#include "kernel/audit_judge.h"

#include "include/abi.h"
#include "kernel/memory.h"

#include <criterion/criterion.h>
#include <string.h>

#define AT    0x40000000ULL // of the place
#define LEAF  ((uint32_t)(PT_READ | PT_WRITE))
#define FIRST 16u

Test(audit_judge, claim_is_all_or_nothing) {
    uint8_t owner[64];
    uint64_t at;
    memset(owner, OWNER_NONE, sizeof(owner));
    owner[FIRST + 7] = OWNER_POOL;
    cr_expect_eq(audit_claim(owner, 64, FIRST, 8, OWNER_NONE, OWNER_MEMORY, &at), ABI_AUDIT_FREE);
    cr_expect_eq(at, FIRST + 7);
    for (unsigned i = 0; i < 64; i++)
        cr_expect_eq(owner[i], i == FIRST + 7 ? OWNER_POOL : OWNER_NONE);
    cr_expect_eq(audit_claim(owner, 64, FIRST, 7, OWNER_NONE, OWNER_MEMORY, &at), ABI_AUDIT_NONE);
    for (unsigned i = 0; i < FIRST + 7; i++)
        cr_expect_eq(owner[i], i < FIRST ? OWNER_NONE : OWNER_MEMORY);
    cr_expect_eq(audit_claim(owner, 64, 60, 4, OWNER_NONE, OWNER_TABLE, &at), ABI_AUDIT_NONE);
}

Test(audit_judge, claim_beyond_the_machine_is_refused) {
    uint8_t owner[4] = {0};
    uint64_t at;
    cr_expect_eq(audit_claim(owner, 4, 3, 2, OWNER_NONE, OWNER_MEMORY, &at), ABI_AUDIT_KERNEL);
    cr_expect_eq(audit_claim(owner, 4, 5, 0, OWNER_NONE, OWNER_MEMORY, &at), ABI_AUDIT_KERNEL);
    cr_expect_eq(audit_claim(owner, 4, 1, UINT64_MAX, OWNER_NONE, OWNER_MEMORY, &at),
                 ABI_AUDIT_KERNEL);
    cr_expect_eq(owner[3], OWNER_NONE);
    cr_expect_eq(audit_claim(owner, 4, 4, 0, OWNER_NONE, OWNER_MEMORY, &at), ABI_AUDIT_NONE);
}

Test(audit_judge, place_is_what_run_and_region_share) {
    const struct region region = {
        .base = AT, .size = 4 * SIZE_2M, .offset = SIZE_2M + PAGE_SIZE, .rights = ABI_RIGHT_READ};
    const struct {
        uint64_t offset, size;               // of the run
        uint64_t address, place_size, frame; // of the place: address from AT, frame from the run's
    } cases[] = {
        {SIZE_2M, SIZE_2M, 0, SIZE_2M - PAGE_SIZE, PAGE_SIZE},         // the region begins in it
        {2 * SIZE_2M, SIZE_2M, SIZE_2M - PAGE_SIZE, SIZE_2M, 0},       // all of it
        {5 * SIZE_2M, SIZE_2M, 4 * SIZE_2M - PAGE_SIZE, PAGE_SIZE, 0}, // the region ends in it
        {0, SIZE_1G, 0, 4 * SIZE_2M, SIZE_2M + PAGE_SIZE},             // all of the region
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct memory_run run = {{SIZE_1G}, cases[i].offset, cases[i].size};
        struct audit_place place = audit_find_place(&region, &run);
        cr_expect_eq(place.address, AT + cases[i].address, "case %u", i);
        cr_expect_eq(place.size, cases[i].place_size, "case %u", i);
        cr_expect_eq(place.frame, SIZE_1G + cases[i].frame, "case %u", i);
        cr_expect(place.rights == 0 && !place.is_cleared, "as long as nobody says so");
    }
}

Test(audit_judge, leaf_must_lie_inside_its_place) {
    const struct audit_place place = {AT, SIZE_2M, SIZE_1G, LEAF, true};
    const struct {
        uint64_t address, size, frame;
        uint32_t error;
    } cases[] = {
        {AT, SIZE_2M, SIZE_1G, ABI_AUDIT_NONE},
        {AT + SIZE_2M - PAGE_SIZE, PAGE_SIZE, SIZE_1G + SIZE_2M - PAGE_SIZE, ABI_AUDIT_NONE},
        {AT - PAGE_SIZE, PAGE_SIZE, SIZE_1G - PAGE_SIZE, ABI_AUDIT_TWICE},
        {AT + SIZE_2M, PAGE_SIZE, SIZE_1G + SIZE_2M, ABI_AUDIT_TWICE},
        {AT + PAGE_SIZE, SIZE_2M, SIZE_1G + PAGE_SIZE, ABI_AUDIT_TWICE},
        {AT, SIZE_1G, SIZE_1G, ABI_AUDIT_TWICE},
        {AT, PAGE_SIZE, SIZE_1G + PAGE_SIZE, ABI_AUDIT_TWICE},
        {AT + PAGE_SIZE, PAGE_SIZE, SIZE_1G, ABI_AUDIT_TWICE},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct audit_leaf leaf = {cases[i].address, cases[i].size, cases[i].frame, PT_READ};
        cr_expect_eq(audit_judge(&leaf, &place, OWNER_MEMORY), cases[i].error, "case %u", i);
    }
    const struct audit_leaf leaf = {0, PAGE_SIZE, 0, PT_READ};
    const struct audit_place nothing = {0};
    cr_expect_eq(audit_judge(&leaf, &nothing, OWNER_FREE), ABI_AUDIT_FREE);
}

Test(audit_judge, owner_decides_even_at_the_right_place) {
    const struct audit_place place = {AT, SIZE_2M, SIZE_1G, LEAF, true};
    const struct audit_leaf leaf = {AT, SIZE_2M, SIZE_1G, LEAF};
    const uint32_t errors[OWNER_COUNT] = {
        [OWNER_NONE] = ABI_AUDIT_KERNEL,   [OWNER_FREE] = ABI_AUDIT_FREE,
        [OWNER_KERNEL] = ABI_AUDIT_KERNEL, [OWNER_POOL] = ABI_AUDIT_FREE,
        [OWNER_TABLE] = ABI_AUDIT_KERNEL,  [OWNER_SHOWN] = ABI_AUDIT_NONE,
        [OWNER_MEMORY] = ABI_AUDIT_NONE,
    };
    for (uint8_t owner = 0; owner < OWNER_COUNT; owner++)
        cr_expect_eq(audit_judge(&leaf, &place, owner), errors[owner], "owner %u", owner);
}
