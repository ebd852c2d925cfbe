// SPDX-License-Identifier: Apache-2.0
// kernel/pvtime.c: what a guest finds in the structures that it registered, and where the kernel
// writes and where not.
#include "tests/unit/kernel/support.h"

#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

#define tsc_hz        pvtime_test_tsc_hz
#define tsc_is_common pvtime_test_tsc_is_common
#include "kernel/pvtime.c"

#define RW       ((uint64_t)(ABI_RIGHT_READ | ABI_RIGHT_WRITE))
#define RAM_SIZE (2 * SIZE_2M)
#define ROM      0x10000000ULL // mapped without the right to write
#define BEHIND   (ROM + PAGE_SIZE)
#define CLOCK    MSR_KVM_SYSTEM_TIME_NEW
#define STEAL    MSR_KVM_STEAL_TIME
#define CLOCK_AT 0x3fe0ULL // the last place in its page
#define STEAL_AT 0x203fc0ULL

uint64_t tsc_hz = 1000000000;
bool tsc_is_common = true;

static struct vm *vm;
static struct memory *ram;
static struct vcpu pv_vcpu;
static struct vcpu *const vcpu = &pv_vcpu;

static void set_up(void) {
    int error;
    host_init_all();
    vcpu_backend = &host_backend;
    cpu_features.has_tsc_invariant = true;
    vm = vm_create(quota_root(), 0, &error);
    ram = memory_create(quota_root(), RAM_SIZE);
    struct memory *rom = memory_create(quota_root(), PAGE_SIZE);
    cr_assert(vm != NULL && ram != NULL && rom != NULL);
    cr_assert_eq(space_map(&vm->space, ram, 0, 0, RAM_SIZE, RW), ABI_OK);
    cr_assert_eq(space_map(&vm->space, rom, ROM, 0, PAGE_SIZE, ABI_RIGHT_READ), ABI_OK);
    vcpu->vm = vm;
}

TestSuite(kernel_pvtime, .init = set_up);

// The guest's memory as it is.
static void *look(uint64_t gpa) {
    struct memory_run run = memory_get(ram, gpa, NULL);
    uint64_t at = run.frame.v + gpa - run.offset;
    return (uint8_t *)kspace_window((hpa_t){align_down(at, PAGE_SIZE)}) + at % PAGE_SIZE;
}

static struct thread *self(void) {
    return host_cpu(0)->current;
}

Test(kernel_pvtime, scale_is_exact_to_a_part_in_a_thousand_million) {
    const uint64_t rates[] = {1000000,    50000000,   999999999,  1000000000, 1000000001,
                              1999999999, 2000000000, 2000000001, 2893202000, 3999999999,
                              4000000001, 5000000000, 7999999999, 8000000001, 128000000000};
    for (unsigned i = 0; i < ARRAY_COUNT(rates); i++) {
        uint32_t multiplier;
        int8_t shift;
        pvtime_scale(rates[i], &multiplier, &shift);
        cr_expect_geq(multiplier, 1u << 31, "%lu Hz", rates[i]);
        uint64_t ticks = rates[i] * 1000; // 1000 s
        uint64_t shifted = shift >= 0 ? ticks << shift : ticks >> -shift;
        uint64_t ns = (uint64_t)((unsigned __int128)shifted * multiplier >> 32);
        cr_expect(ns <= 1000000000000 && ns >= 1000000000000 - 1000, "%lu Hz: %lu", rates[i], ns);
    }
}

Test(kernel_pvtime, clock_is_written_when_registered_and_when_the_tsc_moves) {
    struct pvtime_clock *clock = look(CLOCK_AT);
    clock->version = 6;
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    clock = look(CLOCK_AT);
    cr_expect_eq(clock->version, 8);
    cr_expect(clock->tsc == 0 && clock->ns == 0 && clock->flags == PVTIME_TSC_STABLE);
    cr_expect(clock->multiplier == 1u << 31 && clock->shift == 1);
    vcpu->tsc_adjust = 12345;
    pvtime_tell_clock(vcpu);
    clock = look(CLOCK_AT);
    cr_expect(clock->version == 10 && clock->tsc == 12345 && clock->ns == 0);
    // Whatever the guest leaves there, the next version is even.
    clock->version = UINT32_MAX;
    pvtime_tell_clock(vcpu);
    clock = look(CLOCK_AT);
    cr_expect_eq(clock->version % 2, 0);
}

// A guest's page is the kernel's to see only while it is written.
Test(kernel_pvtime, window_is_closed_behind_each_write) {
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    cr_expect_not(host_has_window, "the clock");
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    cr_expect_not(host_has_window, "stolen time");
    cr_expect_not(pvtime_write_msr(vcpu, CLOCK, ROM | PVTIME_ENABLE));
    cr_expect_not(host_has_window, "no memory to write");
}

Test(kernel_pvtime, clock_goes_by_the_guests_own_rate) {
    vm->tsc_ratio = BIT(32) * 4;
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    const struct pvtime_clock *clock = look(CLOCK_AT);
    cr_expect(clock->multiplier == 1u << 31 && clock->shift == -1, "%x %d", clock->multiplier,
              clock->shift);
}

Test(kernel_pvtime, clock_is_not_called_stable_where_the_tsc_is_not) {
    cpu_features.has_tsc_invariant = false;
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    cr_expect_eq(((struct pvtime_clock *)look(CLOCK_AT))->flags, 0);
    cpu_features.has_tsc_invariant = true;
    tsc_is_common = false;
    pvtime_tell_clock(vcpu);
    cr_expect_eq(((struct pvtime_clock *)look(CLOCK_AT))->flags, 0);
}

Test(kernel_pvtime, steal_is_what_the_thread_waited_since) {
    self()->wait = 1000;
    ((struct pvtime_steal *)look(STEAL_AT))->ns = 5;
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    struct pvtime_steal *steal = look(STEAL_AT);
    cr_expect(steal->ns == 5 && steal->version == 2 && !steal->is_preempted);
    pvtime_resume(vcpu); // nothing to tell: not even a version
    cr_expect_eq(steal->version, 2);
    pvtime_preempt(vcpu);
    steal = look(STEAL_AT);
    cr_expect(steal->is_preempted && steal->ns == 5);
    self()->wait = 1700;
    pvtime_resume(vcpu);
    steal = look(STEAL_AT);
    cr_expect(steal->ns == 705 && !steal->is_preempted && steal->version % 2 == 0);
}

// Two CPUs' TSCs that differ make a sum of waiting that goes backwards.
Test(kernel_pvtime, time_that_cannot_be_is_not_told) {
    uint64_t hz = tsc_hz;
    tsc_hz = 1000000;
    self()->wait = 1000;
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    pvtime_preempt(vcpu);
    self()->wait = 999;
    pvtime_resume(vcpu);
    cr_expect_eq(((struct pvtime_steal *)look(STEAL_AT))->ns, 0);
    tsc_hz = hz;
}

Test(kernel_pvtime, steal_of_another_thread_is_not_told) {
    self()->wait = 1000;
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    pvtime_release(vcpu);
    host_run_on(1);
    host_cpu(1)->current->wait = 999999;
    pvtime_resume(vcpu);
    cr_expect_eq(((struct pvtime_steal *)look(STEAL_AT))->ns, 0);
    host_cpu(1)->current->wait += 3;
    pvtime_resume(vcpu);
    cr_expect_eq(((struct pvtime_steal *)look(STEAL_AT))->ns, 3);
}

static const uint64_t bad_places[] = {
    RAM_SIZE, // behind the end of RAM
    RAM_SIZE + 0x40, ROM,        BEHIND,
    0xfee00000, // devices
    1ULL << 39, // more than the processor has
    1ULL << 52,      1ULL << 63, UINT64_MAX & ~63ULL,
};

Test(kernel_pvtime, refuses_what_is_no_memory_to_write) {
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    for (unsigned i = 0; i < ARRAY_COUNT(bad_places); i++) {
        cr_expect_not(pvtime_write_msr(vcpu, CLOCK, bad_places[i] | PVTIME_ENABLE), "%u", i);
        cr_expect_not(pvtime_write_msr(vcpu, STEAL, bad_places[i] | PVTIME_ENABLE), "%u", i);
    }
    cr_expect_eq(vcpu->pvtime.clock, CLOCK_AT | PVTIME_ENABLE);
    cr_expect_eq(vcpu->pvtime.steal, STEAL_AT | PVTIME_ENABLE);
}

Test(kernel_pvtime, refuses_reserved_bits_and_pages_crossed) {
    cr_expect_not(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | 2 | PVTIME_ENABLE));
    cr_expect_not(pvtime_write_msr(vcpu, CLOCK, (CLOCK_AT + 4) | PVTIME_ENABLE));
    cr_expect_not(pvtime_write_msr(vcpu, CLOCK, 0x3ffc | PVTIME_ENABLE));
    cr_expect_not(pvtime_write_msr(vcpu, CLOCK, 0x3ffc)); // neither when it is switched off
    for (unsigned bit = 1; bit < 6; bit++)
        cr_expect_not(pvtime_write_msr(vcpu, STEAL, STEAL_AT | 1ULL << bit | PVTIME_ENABLE));
    cr_expect_eq(vcpu->pvtime.clock | vcpu->pvtime.steal, 0);
}

static void expect_untouched(void) {
    const uint8_t *page = look(CLOCK_AT & ~0xfffULL);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        cr_assert_eq(page[i], 0xaa, "byte %u", i);
    page = look(STEAL_AT & ~0xfffULL);
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        cr_assert_eq(page[i], 0xaa, "byte %u", i);
}

static void register_both(void) {
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT | PVTIME_ENABLE));
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT | PVTIME_ENABLE));
    memset(look(CLOCK_AT & ~0xfffULL), 0xaa, PAGE_SIZE);
    memset(look(STEAL_AT & ~0xfffULL), 0xaa, PAGE_SIZE);
}

static void change_all(void) {
    self()->wait += 1000;
    pvtime_tell_clock(vcpu);
    pvtime_preempt(vcpu);
    pvtime_resume(vcpu);
}

Test(kernel_pvtime, writes_nothing_after_unmap_and_holds_nothing) {
    uint32_t references = ram->object.ref_count;
    register_both();
    cr_expect_eq(ram->object.ref_count, references);
    cr_assert_eq(space_unmap(&vm->space, 0, RAM_SIZE), ABI_OK);
    change_all();
    expect_untouched();
}

Test(kernel_pvtime, writes_nothing_once_switched_off_or_reset) {
    register_both();
    pvtime_reset(vcpu);
    change_all();
    expect_untouched();
    register_both();
    cr_assert(pvtime_write_msr(vcpu, CLOCK, CLOCK_AT));
    cr_assert(pvtime_write_msr(vcpu, STEAL, STEAL_AT));
    change_all();
    expect_untouched();
}

Test(kernel_pvtime, writes_its_bytes_only) {
    register_both();
    change_all();
    const uint8_t *page = look(CLOCK_AT & ~0xfffULL);
    for (unsigned i = 0; i < CLOCK_AT % PAGE_SIZE; i++)
        cr_assert_eq(page[i], 0xaa, "byte %u", i);
    page = look(STEAL_AT & ~0xfffULL);
    for (unsigned i = 0; i < STEAL_AT % PAGE_SIZE; i++)
        cr_assert_eq(page[i], 0xaa, "byte %u", i);
}

Test(kernel_pvtime, restore_tells_the_clock_and_no_steal_of_the_past) {
    self()->wait = 12345;
    vcpu->tsc_adjust = 7;
    pvtime_restore(vcpu, CLOCK_AT | PVTIME_ENABLE, STEAL_AT | PVTIME_ENABLE);
    cr_expect_eq(((struct pvtime_clock *)look(CLOCK_AT))->tsc, 7);
    pvtime_resume(vcpu);
    cr_expect_eq(((struct pvtime_steal *)look(STEAL_AT))->ns, 0);
}
