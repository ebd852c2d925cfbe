// SPDX-License-Identifier: Apache-2.0
// kernel/pvtime.c: what a guest finds of steal time, and where the kernel writes and where not.
#include "tests/unit/kernel/support.h"

#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

#define tsc_hz pvtime_test_tsc_hz
#include "kernel/pvtime.c"

#define RW       ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))
#define RAM_SIZE (2 * SIZE_2M)
#define ROM      0x10000000ULL // mapped without the right to write
#define BEHIND   (ROM + PAGE_SIZE)
#define STEAL_AT 0x203fc0ULL // the last place in its page

uint64_t tsc_hz = 1000000000;

static struct vm *vm;
static struct memory *ram, *rom;
static struct vcpu pv_vcpu;
static struct vcpu *const vcpu = &pv_vcpu;

static void set_up(void) {
    int error;
    host_init_all();
    vcpu_backend = &host_backend;
    vm = vm_create(quota_root(), 0, &error);
    ram = memory_create(quota_root(), RAM_SIZE);
    rom = memory_create(quota_root(), PAGE_SIZE);
    cr_assert(vm != NULL && ram != NULL && rom != NULL);
    cr_assert_eq(space_map(&vm->space, ram, 0, 0, RAM_SIZE, RW), ABI_OK);
    cr_assert_eq(space_map(&vm->space, rom, ROM, 0, PAGE_SIZE, ABI_RIGHT_READ), ABI_OK);
    vcpu->vm = vm;
}

TestSuite(kernel_pvtime, .init = set_up);

// The guest's memory as it is.
static void *look_at(struct memory *memory, uint64_t offset) {
    struct memory_run run = memory_get(memory, offset, NULL);
    uint64_t at = run.frame.v + offset - run.offset;
    return (uint8_t *)kspace_window((hpa_t){align_down(at, PAGE_SIZE)}) + at % PAGE_SIZE;
}
static void *look(uint64_t gpa) {
    return look_at(ram, gpa);
}

static struct pvtime_steal *steal(void) {
    return look(STEAL_AT);
}

static struct thread *self(void) {
    return host_cpu(0)->current;
}

// And the vCPU goes on, as it does whenever its VMM has set it.
static void start(uint64_t gpa) {
    pvtime_set(vcpu, gpa | PVTIME_ENABLE);
    pvtime_resume(vcpu);
}

Test(kernel_pvtime, steal_is_what_the_thread_waited_since) {
    self()->wait = 1000;
    *steal() = (struct pvtime_steal){.ns = 5, .version = 6};
    start(STEAL_AT);
    cr_expect(steal()->ns == 5 && steal()->version == 6, "nothing to tell: not even a version");
    pvtime_preempt(vcpu);
    cr_expect(steal()->is_preempted && steal()->ns == 5 && steal()->version == 8);
    self()->wait = 1700;
    pvtime_resume(vcpu);
    cr_expect(steal()->ns == 705 && !steal()->is_preempted && steal()->version == 10);
    pvtime_preempt(vcpu);
    pvtime_resume(vcpu);
    cr_expect(steal()->ns == 705 && !steal()->is_preempted, "it did not have to wait");
    pvtime_set(vcpu, STEAL_AT | PVTIME_ENABLE);
    self()->wait = 1701;
    pvtime_resume(vcpu);
    cr_expect_eq(steal()->ns, 706, "the same once more begins nothing");
}

// It would be cleared while another VM's thread waits for this CPU.
Test(kernel_pvtime, memory_that_nobody_has_used_is_left_alone) {
    bool is_cleared = true;
    start(SIZE_2M);
    pvtime_preempt(vcpu);
    (void)memory_get(ram, SIZE_2M, &is_cleared);
    cr_expect_not(is_cleared);
}

// Whatever the guest leaves there, the next version is even.
Test(kernel_pvtime, version_of_a_structure_that_is_whole_is_even) {
    const uint32_t left[] = {0, 1, 2, UINT32_MAX - 1, UINT32_MAX};
    start(STEAL_AT);
    for (unsigned i = 0; i < ARRAY_COUNT(left); i++) {
        steal()->version = left[i];
        pvtime_preempt(vcpu);
        cr_expect(steal()->version % 2 == 0 && steal()->version != left[i], "%u", left[i]);
    }
}

// A guest's page is the kernel's to see only while it is written.
Test(kernel_pvtime, window_is_closed_behind_each_write) {
    start(STEAL_AT);
    pvtime_preempt(vcpu);
    cr_expect_not(host_has_window, "stolen time");
    start(ROM);
    pvtime_preempt(vcpu);
    cr_expect_not(host_has_window, "no memory to write");
}

// Two CPUs' TSCs that differ make a sum of waiting that goes backwards.
Test(kernel_pvtime, time_that_cannot_be_is_not_told) {
    uint64_t hz = tsc_hz;
    tsc_hz = 1000000;
    self()->wait = 1000;
    start(STEAL_AT);
    pvtime_preempt(vcpu);
    self()->wait = 999;
    pvtime_resume(vcpu);
    cr_expect_eq(steal()->ns, 0);
    tsc_hz = hz;
}

Test(kernel_pvtime, steal_of_another_thread_is_not_told) {
    self()->wait = 1000;
    start(STEAL_AT);
    vcpu->pvtime.waited = UINT64_MAX; // vcpu_release
    host_run_on(1);
    host_cpu(1)->current->wait = 999999;
    pvtime_resume(vcpu);
    cr_expect_eq(steal()->ns, 0);
    host_cpu(1)->current->wait += 3;
    pvtime_resume(vcpu);
    cr_expect_eq(steal()->ns, 3);
}

static void expect_untouched(uint64_t gpa, uint64_t size) {
    const uint8_t *bytes = look(gpa);
    for (unsigned i = 0; i < size; i++)
        cr_assert_eq(bytes[i], 0xaa, "byte %u", i);
}

static void change_all(void) {
    self()->wait += 1000;
    pvtime_preempt(vcpu);
    pvtime_resume(vcpu);
}

static void begin_untouched(void) {
    start(STEAL_AT);
    memset(look(STEAL_AT & ~0xfffULL), 0xaa, PAGE_SIZE);
}

Test(kernel_pvtime, writes_nowhere_but_into_memory_that_the_guest_may_write) {
    const uint64_t bad[] = {
        RAM_SIZE, // behind the end of RAM
        ROM,        BEHIND,
        0xfee00000, // devices
        1ULL << 39, // more than the processor has
        1ULL << 52, 1ULL << 63, UINT64_MAX & ~63ULL,
    };
    *(struct pvtime_steal *)look_at(rom, 0) = (struct pvtime_steal){.version = 4};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        start(bad[i]);
        change_all();
    }
    cr_expect_eq(((struct pvtime_steal *)look_at(rom, 0))->version, 4);
}

Test(kernel_pvtime, writes_nothing_after_unmap_and_holds_nothing) {
    uint32_t references = ram->object.ref_count;
    begin_untouched();
    cr_expect_eq(ram->object.ref_count, references);
    cr_assert_eq(space_unmap(&vm->space, 0, RAM_SIZE), ABI_OK);
    change_all();
    expect_untouched(STEAL_AT & ~0xfffULL, PAGE_SIZE);
}

Test(kernel_pvtime, writes_nothing_once_switched_off) {
    begin_untouched();
    const uint64_t values[] = {STEAL_AT, 0};
    for (unsigned i = 0; i < ARRAY_COUNT(values); i++) {
        pvtime_set(vcpu, values[i]);
        change_all();
        change_all();
    }
    expect_untouched(STEAL_AT & ~0xfffULL, PAGE_SIZE);
}

Test(kernel_pvtime, writes_its_bytes_only) {
    begin_untouched();
    change_all();
    cr_expect_neq(steal()->version, 0xaaaaaaaa);
    expect_untouched(STEAL_AT & ~0xfffULL, STEAL_AT % PAGE_SIZE);
    cr_expect_eq(steal()->flags, 0xaaaaaaaa);
    expect_untouched(STEAL_AT + offsetof(struct pvtime_steal, reserved), 47);
}
