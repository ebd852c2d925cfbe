// SPDX-License-Identifier: Apache-2.0
// kernel/smp.c: who stands still. CPUs are threads of the host here; what brings a CPU up is not
// called.
#include "tests/unit/kernel/support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local struct cpu *own_cpu;
#undef cpu_current
#define cpu_current() own_cpu
static void pause_cpu(void);
#undef x86_pause
#define x86_pause() pause_cpu()
static void leave(void);
// A CPU that takes itself off a count is on its way out, and may be as long about it as it likes.
#define __atomic_sub_fetch(at, by, order) (leave(), __atomic_sub_fetch(at, by, order))

#define cpu_table              smp_test_table
#define cpu_count              smp_test_count
#define smp_call               smp_test_call
#define smp_stop_and_call      smp_test_stop_and_call
#define smp_interrupt          smp_test_interrupt
#define smp_flush_root         smp_test_flush_root
#define smp_flush_all          smp_test_flush_all
#define smp_init_boot_cpu      smp_test_init_boot_cpu
#define smp_ap_main            smp_test_ap_main
#define smp_start              smp_test_start
#define smp_stop_others        smp_test_stop_others
#define trampoline_begin       smp_test_trampoline
#define trampoline_end         smp_test_trampoline_end
#define trampoline_root        smp_test_trampoline_root
#define trampoline_stack       smp_test_trampoline_stack
#define features_compare       smp_test_features_compare
#define features_enable        smp_test_features_enable
#define lapic_init_cpu         smp_test_lapic_init_cpu
#define scheduler_init_cpu     smp_test_scheduler_init_cpu
#define scheduler_run          smp_test_scheduler_run
#define kspace_cpu_init        smp_test_space_cpu_init
#define lapic_send             smp_test_lapic_send
#define kspace_stack_alloc     smp_test_space_stack_alloc
#define tsc_is_common          smp_test_tsc_is_common
#define kspace_kernel_root     smp_test_kernel_root
#define machine_check_init_cpu smp_test_machine_check_init_cpu
static uint64_t own_cr4;
static uint32_t flushes, vectors_sent;
static void write_cr4(uint64_t value);
#undef x86_read_cr4
#undef x86_write_cr4
#define x86_read_cr4()       own_cr4
#define x86_write_cr4(value) write_cr4(value)
#include "kernel/smp.c"

// Not called.
bool tsc_is_common;
bool features_compare(uint32_t apic_id) {
    return apic_id != UINT32_MAX;
}
void features_enable(void) {}
void lapic_init_cpu(void) {}
void machine_check_init_cpu(void) {}
void scheduler_init_cpu(struct cpu *cpu) {
    (void)cpu;
}
_Noreturn void scheduler_run(void) {
    abort();
}
bool kspace_cpu_init(struct cpu *cpu) {
    (void)cpu;
    return false;
}
static hpa_t kernel_root;
hpa_t kspace_kernel_root(void) {
    return kernel_root;
}
static void write_cr4(uint64_t value) {
    flushes += ((value ^ own_cr4) & CR4_PGE) != 0;
    own_cr4 = value;
}
void lapic_send(uint32_t apic_id, uint64_t command) {
    (void)apic_id, (void)command;
    vectors_sent++;
}
uint64_t kspace_stack_alloc(struct quota *quota) {
    (void)quota;
    return 0;
}
const uint8_t trampoline_begin[1], trampoline_end[1];
uint64_t trampoline_root, trampoline_stack;

static struct cpu test_cpus[2] = {{.index = 0, .apic_id = 0}, {.index = 1, .apic_id = 1}};
static struct {
    uint32_t stops;     // that were begun [first]
    uint32_t is_over;   // atomic: the second CPU ends
    uint32_t is_out;    // atomic: the second CPU is on its way out, and held there
    uint32_t is_let_go; // atomic
    uint32_t pauses;    // of the first CPU, while it waits for the second
    bool ran, ran_too_soon;
} test;

static uint32_t load_flag(const uint32_t *flag) {
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set_flag(uint32_t *flag, uint32_t value) {
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
}

static void pause_cpu(void) {
    if (own_cpu == &test_cpus[0] && load_flag(&test.is_out) != 0 && ++test.pauses == 1000)
        set_flag(&test.is_let_go, 1);
    sched_yield();
}

// Of the second CPU, once: behind the loop that it stood in.
static void leave(void) {
    if (own_cpu != &test_cpus[1] || load_flag(&test.is_let_go) != 0)
        return;
    set_flag(&test.is_out, 1);
    while (load_flag(&test.is_let_go) == 0)
        sched_yield();
}

static void *run_second(void *opaque) {
    own_cpu = opaque;
    while (load_flag(&test.is_over) == 0) {
        smp_interrupt();
        if (load_flag(&test.stops) != 0) // by a stop, in which it stood
            leave();
        sched_yield();
    }
    return NULL;
}

static void begin(void *opaque) {
    (void)opaque;
    set_flag(&test.stops, 1);
}

static void look(void *opaque) {
    (void)opaque;
    test.ran = true;
    test.ran_too_soon = load_flag(&test.is_let_go) == 0;
}

Test(kernel_smp, one_that_leaves_a_stop_does_not_stand_in_the_next, .timeout = 60) {
    pthread_t second;
    own_cpu = &test_cpus[0];
    cpu_count = 2;
    cpu_table[0] = &test_cpus[0];
    cpu_table[1] = &test_cpus[1];
    cr_assert_eq(pthread_create(&second, NULL, run_second, &test_cpus[1]), 0);
    smp_stop_and_call(begin, NULL);
    while (load_flag(&test.is_out) == 0)
        sched_yield();
    smp_stop_and_call(look, NULL);
    cr_expect(test.ran);
    cr_expect_not(test.ran_too_soon, "the second CPU is counted, but runs");
    set_flag(&test.is_over, 1);
    set_flag(&test.is_let_go, 1);
    pthread_join(second, NULL);
}

static void count(void *opaque) {
    ++*(uint32_t *)opaque;
}

Test(kernel_smp, call_to_oneself_needs_no_interrupt) {
    uint32_t calls = 0;
    own_cpu = &test_cpus[0];
    smp_call(own_cpu, count, &calls);
    cr_expect(calls == 1 && vectors_sent == 0);
}

// A CPU that left the root loaded CR3, and one that never had it remembers nothing of it.
Test(kernel_smp, root_is_flushed_where_it_is_loaded) {
    own_cpu = &test_cpus[0];
    cpu_table[0] = own_cpu;
    cpu_count = 1;
    own_cpu->root = 0x1000;
    for (unsigned i = 0; i < 2; i++) { // with global translations and without
        own_cr4 = CR4_PAE | (i == 0 ? CR4_PGE : 0);
        flushes = 0;
        smp_flush_root((hpa_t){0x2000});
        cr_expect_eq(flushes, 0, "another root");
        smp_flush_root((hpa_t){0x1000});
        cr_expect_eq(flushes, 2, "PGE changes, and back");
        cr_expect_eq(own_cr4, CR4_PAE | (i == 0 ? CR4_PGE : 0));
    }
}

// The boot CPU has APIC ID 7, and with it so many are up.
static uint64_t low_page = 0x9e000;

static void start_beside(uint32_t up, const struct boot_cpu *cpus, uint32_t count) {
    host_init(host_map, 1);
    quota_init_root(frame_totals().free);
    own_cpu = &test_cpus[0];
    test_cpus[0].apic_id = 7;
    for (uint32_t i = 0; i < up; i++)
        cpu_table[i] = &test_cpus[0];
    cpu_count = up;
    kernel_root = frame_of_kernel(kernel_page_alloc());
    memset(frame_to_kernel(kernel_root), 0x55, PAGE_SIZE);
    flushes = 0;
    host_wire.room = sizeof(host_wire.text);
    cr_assert(log_open());
    smp_start(cpus, count, (hpa_t){low_page});
    const uint64_t *root = frame_to_kernel(kernel_root);
    cr_expect_eq(root[0], 0, "the low page is executable for ever");
    for (unsigned i = 1; i < PAGE_SIZE / sizeof(*root); i++)
        cr_expect_eq(root[i], 0x5555555555555555);
    cr_expect_eq(flushes, 2 * up, "a CPU remembers it");
}

Test(kernel_smp, the_boot_cpu_is_not_started_again) {
    static const struct boot_cpu cpus[] = {{.apic_id = 7}, {.apic_id = 9}};
    start_beside(1, cpus, ARRAY_COUNT(cpus));
    cr_expect_null(strstr(host_wire.text, "APIC ID 7"));
    cr_expect_not_null(strstr(host_wire.text, "APIC ID 9"));
    cr_expect_eq(cpu_count, 1);
}

// One more than the list of boot/ has: the boot CPU does not stand in it.
Test(kernel_smp, no_cpu_is_started_beyond_the_table) {
    static const struct boot_cpu cpus[] = {{.apic_id = 1}, {.apic_id = 2}};
    start_beside(CPU_COUNT_MAX, cpus, ARRAY_COUNT(cpus));
    cr_expect_null(strstr(host_wire.text, "APIC ID"), "%s", host_wire.text);
}

Test(kernel_smp, without_a_low_page_no_cpu_is_started) {
    static const struct boot_cpu cpus[] = {{.apic_id = 7}, {.apic_id = 9}};
    low_page = 0;
    start_beside(1, cpus, ARRAY_COUNT(cpus));
    cr_expect_not_null(strstr(host_wire.text, "no memory below 1 MiB"));
    cr_expect_null(strstr(host_wire.text, "APIC ID 9"));
}

Test(kernel_smp, one_cpu_starts_none_and_says_nothing) {
    static const struct boot_cpu cpus[] = {{.apic_id = 7}};
    low_page = 0;
    start_beside(1, cpus, ARRAY_COUNT(cpus));
    cr_expect_str_eq(host_wire.text, "");
}
