// SPDX-License-Identifier: Apache-2.0
// Steps on pages of ones: who may have them, what is mapped when, and that nothing that was written
// is found later.
#include "vmm/cpu/step.h"

#include "include/abi.h"

#include <criterion/criterion.h>
#include <string.h>

#define NOWHERE  0xd0000000ULL
#define MAPS_MAX 64u
#define AREA     0x200000ULL

static struct {
    struct {
        uint64_t gpa;
        unsigned page;
        bool is_writable;
    } map[MAPS_MAX];
    unsigned count;
    unsigned most;
    bool is_refused;
} vm;

static uint8_t ones[STEP_PAGES * ABI_PAGE];
static struct step step;

static bool map(void *opaque, uint64_t gpa, unsigned page, bool is_writable) {
    cr_assert_eq(opaque, &vm);
    cr_assert_lt(page, STEP_PAGES);
    for (unsigned i = 0; i < vm.count; i++) {
        cr_assert_neq(vm.map[i].gpa, gpa, "mapped twice");
        cr_assert_neq(vm.map[i].page, page, "one page at two addresses");
    }
    if (vm.is_refused)
        return false;
    vm.map[vm.count].gpa = gpa;
    vm.map[vm.count].page = page;
    vm.map[vm.count++].is_writable = is_writable;
    if (vm.count > vm.most)
        vm.most = vm.count;
    return true;
}

// Until now somebody may have written.
static void unmap(void *opaque, uint64_t gpa) {
    (void)opaque;
    for (unsigned i = 0; i < vm.count; i++) {
        if (vm.map[i].gpa != gpa)
            continue;
        if (vm.map[i].is_writable)
            memset(ones + vm.map[i].page * ABI_PAGE, 0x5a, ABI_PAGE);
        vm.map[i] = vm.map[--vm.count];
        return;
    }
    cr_assert_fail("not mapped");
}

static void begin(void) {
    memset(&vm, 0, sizeof vm);
    step_init(&step, &(struct step_backend){&vm, map, unmap}, ones);
}

static void expect_ones(void) {
    for (unsigned i = 0; i < sizeof ones; i++)
        cr_assert_eq(ones[i], 0xff);
}

TestSuite(vmm_step, .init = begin);

Test(vmm_step, takes_and_gives_back) {
    expect_ones();
    cr_expect_eq(step_add(&step, 3, NOWHERE, true), STEP_READY);
    cr_expect_eq(vm.count, 1);
    cr_expect_eq(vm.map[0].gpa, NOWHERE);
    cr_expect(vm.map[0].is_writable);
    cr_expect(step_end(&step, 3));
    cr_expect_eq(vm.count, 0);
    expect_ones();
    cr_expect_not(step_end(&step, 3), "it is over");
}

Test(vmm_step, one_vcpu_at_a_time) {
    cr_expect_eq(step_add(&step, 0, NOWHERE, false), STEP_READY);
    cr_expect_eq(step_add(&step, 1, NOWHERE, false), STEP_BUSY);
    cr_expect_eq(step_add(&step, 1, NOWHERE + ABI_PAGE, true), STEP_BUSY);
    cr_expect_not(step_end(&step, 1), "not its own");
    cr_expect_eq(vm.count, 1);
    cr_expect(step_end(&step, 0));
    cr_expect_eq(step_add(&step, 1, NOWHERE, false), STEP_READY);
}

Test(vmm_step, what_is_only_read_cannot_be_written) {
    cr_expect_eq(step_add(&step, 0, NOWHERE, false), STEP_READY);
    cr_expect_not(vm.map[0].is_writable);
    cr_expect_eq(step_add(&step, 0, NOWHERE, true), STEP_READY);
    cr_expect_eq(vm.count, 1);
    cr_expect(vm.map[0].is_writable);
    cr_expect(step_end(&step, 0));
    expect_ones();
}

Test(vmm_step, pages_of_one_instruction_are_different_ones) {
    for (unsigned i = 0; i < STEP_PAGES; i++)
        cr_expect_eq(step_add(&step, 0, NOWHERE + i * ABI_PAGE, i % 2), STEP_READY);
    cr_expect_eq(vm.count, STEP_PAGES);
    cr_expect_eq(step_add(&step, 0, NOWHERE + STEP_PAGES * ABI_PAGE, false), STEP_READY);
    cr_expect_eq(vm.count, STEP_PAGES, "the oldest has gone");
    for (unsigned i = 0; i < vm.count; i++)
        cr_expect_neq(vm.map[i].gpa, NOWHERE);
    cr_expect(step_end(&step, 0));
    cr_expect_eq(vm.count, 0);
    expect_ones();
}

// The delivery of an event asks for the first page that it misses, and begins again.
static bool ends_in(unsigned pages, unsigned rounds) {
    for (unsigned round = 0; round < rounds; round++) {
        unsigned missing = 0;
        for (unsigned i = 0; i < pages && missing == 0; i++) {
            bool is_there = false;
            for (unsigned k = 0; k < vm.count; k++)
                is_there |= vm.map[k].gpa == NOWHERE + i * ABI_PAGE;
            if (!is_there && step_add(&step, 0, NOWHERE + i * ABI_PAGE, true) != STEP_READY)
                return false;
            missing = !is_there;
        }
        if (missing == 0)
            return true;
    }
    cr_assert_fail("for ever");
    return false;
}

Test(vmm_step, delivery_that_touches_many_pages_is_done) {
    cr_expect(ends_in(12, 100), "gate, descriptor, task state, stack, code, each across two pages");
    cr_expect(step_end(&step, 0));
}

Test(vmm_step, what_asks_for_ever_is_refused) {
    cr_expect_not(ends_in(STEP_PAGES + 1, 1000));
    cr_expect_eq(vm.count, 0);
    expect_ones();
    cr_expect_not(step_end(&step, 0), "it is over");
    cr_expect(ends_in(12, 100), "the next one begins anew");
}

Test(vmm_step, areas_are_bounded) {
    for (unsigned i = 0; i < STEP_AREAS; i++) {
        cr_expect_eq(step_add(&step, 0, NOWHERE + i * AREA, true), STEP_READY);
        cr_expect(step_end(&step, 0));
    }
    cr_expect_eq(step_add(&step, 0, NOWHERE + STEP_AREAS * AREA, true), STEP_IMPOSSIBLE);
    cr_expect_eq(vm.count, 0);
    cr_expect_not(step_end(&step, 0), "it has none");
    cr_expect_eq(step_add(&step, 1, NOWHERE + 5 * AREA + ABI_PAGE, true), STEP_READY,
                 "a known area");
}

Test(vmm_step, what_cannot_be_mapped) {
    cr_expect_eq(step_add(&step, 0, NOWHERE, true), STEP_READY);
    vm.is_refused = true;
    cr_expect_eq(step_add(&step, 0, NOWHERE + ABI_PAGE, true), STEP_IMPOSSIBLE);
    cr_expect_eq(vm.count, 0, "all of it is over");
    expect_ones();
    vm.is_refused = false;
    cr_expect_eq(step_add(&step, 1, NOWHERE, true), STEP_READY);
}
