// SPDX-License-Identifier: Apache-2.0
// The end of what is large: it goes in steps of bounded size. At each preemption point between them
// the auditor is content, no lock is held, and at last all is back.
#include "tests/unit/kernel/support.h"

#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/process.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>

#define R             ((uint64_t)ABI_RIGHT_READ)
#define RW            ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))
#define STEP          64u // chunks, tables
#define AT_ONCE       8u  // steps of object_unref itself
#define SMALL_REGIONS 4u  // regions of small pages, each with 33 tables of its own
#define AT(i)         (((i) + 1) * SIZE_1G + PAGE_SIZE)
#define BIG_SIZE      (SIZE_1G + 261 * SIZE_2M + 3 * PAGE_SIZE)

static struct quota *quota;
static uint64_t last_used;
static unsigned steps;

static void expect_clean(void) {
    struct abi_audit report = audit_all();
    cr_assert_eq(report.errors, 0, "step %u: %u in space %u, frame %#lx at %#lx", steps,
                 report.error, report.space, report.frame, report.address);
}

// How much of the quota came back since the last look: no more than `count` chunks and as many
// pages.
static void expect_at_most(unsigned count) {
    uint64_t now = host_quota_read(quota).used;
    cr_assert_leq(last_used - now, count * (SIZE_2M + 2 * PAGE_SIZE), "step %u", steps);
    last_used = now;
}

static void watch(void) {
    steps++;
    expect_at_most(STEP);
    expect_clean();
}

static void watch_from_here(void (*look)(void)) {
    audit_all(); // the first one gives the kernel its root
    expect_clean();
    steps = 0;
    last_used = host_quota_read(quota).used;
    host_preempt = look;
}

static void set_up(void) {
    host_init_all();
    vcpu_backend = &host_backend;
    quota = quota_create(quota_root(), 7 * SIZE_1G);
    cr_assert_not_null(quota);
}

TestSuite(kernel_teardown, .init = set_up, .timeout = 60);

static struct memory *make_memory(uint64_t size) {
    struct memory *memory = memory_create(quota, size);
    cr_assert_not_null(memory);
    return memory;
}

// ---- memory -------------------------------------------------------------------------------------

Test(kernel_teardown, memory_comes_back_step_by_step) {
    struct memory *memory = make_memory(BIG_SIZE);
    watch_from_here(watch);
    object_unref(&memory->object);
    cr_expect_eq(steps, 0, "only at the way out");
    expect_at_most(AT_ONCE * STEP);
    object_finish();
    cr_expect_geq(steps, BIG_SIZE / SIZE_2M / STEP - AT_ONCE);
    cr_expect_eq(last_used, 0);
    expect_clean();
}

Test(kernel_teardown, memory_is_taken_step_by_step) {
    host_preempts = 0;
    // So that it is no GiB in one piece.
    hpa_t base[HOST_HIGH_SIZE / SIZE_1G];
    for (unsigned i = 0; i < ARRAY_COUNT(base); i++)
        cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_1G, &base[i]));
    for (unsigned i = 0; i < ARRAY_COUNT(base); i++)
        frame_free((hpa_t){base[i].v + SIZE_2M}, SIZE_1G - SIZE_2M);
    struct memory *memory = make_memory(2 * SIZE_1G);
    cr_expect_eq(host_preempts, 2 * SIZE_1G / SIZE_2M / STEP);
    object_unref(&memory->object);
    object_finish();
}

Test(kernel_teardown, memory_that_cannot_be_had_comes_back_step_by_step) {
    struct quota *rich = quota_root();
    hpa_t base;
    while (frame_alloc(FRAME_ANYWHERE, SIZE_1G, &base))
        ;
    cr_assert(frame_alloc(FRAME_ANYWHERE, SIZE_2M, &base));
    frame_free(base, SIZE_2M);
    uint64_t used = host_quota_read(rich).used, free = frame_totals().free;
    cr_assert_null(memory_create(rich, 3 * SIZE_1G));
    object_finish();
    cr_expect_eq(host_quota_read(rich).used, used);
    cr_expect_eq(frame_totals().free, free);
}

// ---- VMs ----------------------------------------------------------------------------------------

static struct vm *make_vm(void) {
    int error;
    struct vm *vm = vm_create(quota, 0, &error);
    cr_assert_not_null(vm);
    return vm;
}

static void touch(struct vm *vm, uint64_t gpa, uint64_t size) {
    for (uint64_t a = align_down(gpa, SIZE_2M); a < gpa + size; a += SIZE_2M)
        cr_assert_eq(vm_handle_fault(vm, (gpa_t){MAX(a, gpa)}, VCPU_ACCESS_READ),
                     SPACE_FAULT_RETRY);
}

Test(kernel_teardown, vm_ends_step_by_step) {
    struct vm *vm = make_vm();
    struct memory *small = make_memory(ABI_SMALL_PAGES_MAX), *big = make_memory(BIG_SIZE);
    for (uint64_t i = 0; i < SMALL_REGIONS; i++) {
        cr_assert_eq(space_map(&vm->space, small, AT(i), 0, ABI_SMALL_PAGES_MAX, R), ABI_OK);
        touch(vm, AT(i), ABI_SMALL_PAGES_MAX);
    }
    cr_assert_eq(space_map(&vm->space, big, 32 * SIZE_1G, 0, BIG_SIZE, RW), ABI_OK);
    touch(vm, 32 * SIZE_1G, BIG_SIZE);
    object_unref(&small->object);
    object_unref(&big->object);
    cr_assert_eq(steps, 0);
    watch_from_here(watch);
    object_unref(&vm->object);
    expect_at_most(AT_ONCE * STEP);
    expect_clean();
    object_finish();
    cr_expect_gt(steps, BIG_SIZE / SIZE_2M / STEP);
    cr_expect_eq(last_used, 0);
    cr_expect_eq(quota->object.ref_count, 1);
    expect_clean();
}

static struct vm *shown;
static struct memory *shown_memory;
static uint64_t shown_at;

// What is left lies behind what is gone, and what is gone does not come back.
static void watch_unmap(void) {
    steps++;
    expect_clean();
    const struct region *rest = host_region_next(shown->space.regions, 0);
    if (rest == NULL)
        return;
    cr_assert_gt(rest->base, shown_at);
    cr_assert_leq(rest->base - shown_at, 512 * SIZE_2M);
    cr_assert_eq(rest->base - rest->offset, 32 * SIZE_1G);
    shown_at = rest->base;
    cr_assert_eq(vm_handle_fault(shown, (gpa_t){shown_at - 1}, VCPU_ACCESS_READ), SPACE_FAULT_NONE);
    cr_assert_eq(vm_handle_fault(shown, (gpa_t){shown_at}, VCPU_ACCESS_READ), SPACE_FAULT_RETRY);
}

static void show(void) {
    shown = make_vm();
    shown_memory = make_memory(BIG_SIZE);
    shown_at = 32 * SIZE_1G;
    cr_assert_eq(space_map(&shown->space, shown_memory, shown_at, 0, BIG_SIZE, RW), ABI_OK);
    touch(shown, shown_at, BIG_SIZE);
}

Test(kernel_teardown, unmap_goes_step_by_step) {
    show();
    watch_from_here(watch_unmap);
    cr_expect_eq(space_unmap(&shown->space, 32 * SIZE_1G, BIG_SIZE), ABI_OK);
    cr_expect_geq(steps, BIG_SIZE / SIZE_1G);
    cr_expect_eq(shown->space.regions->page_count, 0);
    cr_expect_eq(shown_memory->object.ref_count, 1);
}

static void take_the_rest(void) {
    const struct region *rest = host_region_next(shown->space.regions, 0);
    host_preempt = NULL;
    cr_assert_eq(space_unmap(&shown->space, rest->base, rest->size), ABI_OK);
}

Test(kernel_teardown, unmap_by_two_at_once_drops_the_memory_once) {
    show();
    watch_from_here(take_the_rest);
    cr_expect_eq(space_unmap(&shown->space, 32 * SIZE_1G, BIG_SIZE), ABI_ERROR_ARGUMENT);
    cr_expect_eq(shown->space.regions->page_count, 0);
    cr_expect_eq(shown_memory->object.ref_count, 1);
    expect_clean();
}

// ---- processes ----------------------------------------------------------------------------------

static struct process *process;

static void make_process(void) {
    process = process_create(quota, &group_root, NULL, 0);
    cr_assert_not_null(process);
    struct memory *small = make_memory(ABI_SMALL_PAGES_MAX), *big = make_memory(2 * SIZE_1G);
    for (uint64_t i = 0; i < SMALL_REGIONS; i++) {
        cr_assert_eq(space_map(&process->space, small, AT(i), 0, ABI_SMALL_PAGES_MAX, R), ABI_OK);
        for (uint64_t a = 0; a < ABI_SMALL_PAGES_MAX; a += SIZE_2M)
            cr_assert(host_touch(process, AT(i) + a, R));
    }
    for (unsigned i = 0; i < 300; i++) {
        object_ref(&big->object);
        cr_assert_gt(handle_insert(process, &big->object, RW), 0);
    }
    for (unsigned i = 0; i < 20; i++)
        cr_assert_gt(handle_insert(process, &make_memory(20 * SIZE_2M)->object, RW), 0);
    object_unref(&small->object);
    object_unref(&big->object);
}

static void watch_process(void) {
    steps++;
    expect_at_most(AT_ONCE * STEP);
    if (steps % 32 == 0)
        expect_clean();
    cr_assert_eq(host_process_status(process).state, ABI_PROCESS_RUNNING);
    cr_assert_eq(space_map(&process->space, NULL, ABI_START_ADDRESS, 0, 0, 0), ABI_ERROR_ARGUMENT);
}

static void expect_torn_down(void) {
    cr_expect_gt(steps, 300u + SMALL_REGIONS);
    host_preempt = NULL;
    cr_expect_eq(host_process_status(process).state, ABI_PROCESS_EXITED);
    cr_expect_eq(host_quota_read(quota).used, PAGE_SIZE, "but for the struct");
    expect_clean();
    object_unref(&process->object);
    cr_expect_eq(host_quota_read(quota).used, 0);
}

Test(kernel_teardown, process_that_is_killed_ends_step_by_step) {
    const struct abi_process_status status = {.state = ABI_PROCESS_EXITED};
    make_process();
    watch_from_here(watch_process);
    process_end(process, &status);
    expect_torn_down();
}

static void watch_rarely(void) {
    steps++;
    expect_at_most(STEP);
    if (steps % 32 == 0)
        expect_clean();
}

Test(kernel_teardown, process_that_nobody_can_name_ends_step_by_step) {
    make_process();
    watch_from_here(watch_rarely);
    object_unref(&process->object);
    expect_at_most(AT_ONCE * STEP);
    object_finish();
    cr_expect_gt(steps, 300u + SMALL_REGIONS);
    cr_expect_eq(last_used, 0);
    expect_clean();
}

static struct group own_group;

static void watch_pinned(void) {
    watch_process();
    cr_assert_neq(own_group.pinned[0], 0, "its CPU may be another's by now");
    cr_assert(process->is_torn_down, "its tables may be loaded");
}

// The last thread does it, as a thread of its class to the last.
Test(kernel_teardown, thread_keeps_its_cpu_until_all_is_back) {
    struct thread *thread = thread_current();
    make_process();
    own_group.reserved[0] = 1;
    cr_assert_eq(group_pin(&own_group, 0), ABI_OK);
    thread->process = process;
    thread->group = &own_group;
    thread->class = THREAD_DEDICATED;
    cr_assert(process_join(process, thread));
    watch_from_here(watch_pinned);
    process_leave(process, thread);
    cr_expect_eq(own_group.pinned[0], 0);
    thread->process = NULL;
    expect_torn_down();
}

// ---- chains -------------------------------------------------------------------------------------

static uint64_t last_free;

static void watch_chain(void) {
    uint64_t free = frame_totals().kernel;
    steps++;
    cr_assert_leq(last_free - free, PAGE_SIZE);
    last_free = free;
}

Test(kernel_teardown, chain_of_quotas_ends_step_by_step) {
    struct quota *deepest = quota;
    const uint64_t length = 1000;
    for (uint64_t i = 0; i < length; i++) {
        struct quota *child = quota_create(deepest, (length - i) * 2 * PAGE_SIZE);
        cr_assert_not_null(child);
        if (deepest != quota)
            object_unref(&deepest->object);
        deepest = child;
    }
    uint64_t before = frame_totals().kernel;
    host_preempt = watch_chain;
    object_unref(&deepest->object);
    last_free = frame_totals().kernel;
    cr_expect_leq(before - last_free, AT_ONCE * PAGE_SIZE);
    object_finish();
    cr_expect_geq(steps, length - AT_ONCE);
    cr_expect_eq(host_quota_read(quota).used, 0);
}
