// SPDX-License-Identifier: Apache-2.0
// Processors of one VM against each other: floods of interrupts and NMIs from all to all, INIT and
// SIPI at any moment, each after each; then all of them still work. With the word `endless` the
// others never end what they do (a loop with interrupts off, #DB upon #DB, HLT for good, PAUSE,
// exits), and the first one ends the VM all the same.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/hostile.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR      0x61u
#define DB_WRITE_8  0x90000ULL // DR7: of DR0, a write of 8 bytes ...
#define DB_ENABLED  0x403ULL   // ... is on
#define ENDLESS_US  50000u
#define START_US    200u
#define STACK_BELOW 64u

static volatile uint32_t taken, worked;

static void on_interrupt(struct trap_frame *frame) {
    (void)frame;
    smp_add(&taken);
    lapic_eoi();
}

static void on_nmi(struct trap_frame *frame) {
    (void)frame;
}

static void work(void) {
    smp_add(&worked);
}

// Random numbers are the first processor's; the others take theirs from the TSC.
static void flood(void) {
    static const uint32_t commands[] = {
        LAPIC_ICR_ASSERT | VECTOR,
        LAPIC_ICR_ASSERT | LAPIC_ICR_ALL | VECTOR,
        LAPIC_ICR_ASSERT | LAPIC_ICR_SELF | VECTOR,
        LAPIC_ICR_ASSERT | LAPIC_ICR_NMI,
        LAPIC_ICR_ASSERT | LAPIC_ICR_LOGICAL | VECTOR,
    };
    for (uint64_t i = 0; i < hostile_rounds; i++)
        lapic_send((uint32_t)(rdtsc() >> 4) % (smp_count + 1), commands[i % ARRAY_COUNT(commands)]);
}

static void check_all_work(void) {
    worked = 0;
    smp_run_all(work);
    CHECK_EQ(worked, smp_count);
}

static void start(uint32_t cpu) {
    lapic_send(cpu, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    if (random_one_in(2))
        wait_us(random_below(START_US));
    lapic_send(cpu, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | SMP_TRAMPOLINE / PAGE_SIZE);
}

static void flood_starts(void) {
    for (uint64_t i = 0; i < hostile_rounds; i++) {
        uint32_t cpu = 1 + random_below(smp_count - 1);
        start(cpu);
        if (random_one_in(4))
            wait_us(random_below(START_US));
    }
    wait_us(START_US);
    for (uint32_t cpu = 1; cpu < smp_count; cpu++) {
        uint32_t before = smp_cpus[cpu].start_count;
        start(cpu);
        // A start from before may be counted, too; the last one is who idles.
        CHECK(smp_wait_for(&smp_cpus[cpu].start_count, before + 1));
    }
    smp_nap_us(START_US);
}

// The stores of the handler's entry hit the breakpoint, as does the delivery of what they raise.
static void debug_without_end(void) {
    uint64_t stack;
    __asm__ volatile("mov %%rsp, %0" : "=r"(stack));
    write_dr0((stack - STACK_BELOW) & ~7ULL);
    write_dr7(DB_WRITE_8 | DB_ENABLED);
    for (;;)
        __asm__ volatile(
            "push %%rax; push %%rax; push %%rax; push %%rax; push %%rax; push %%rax\n\t"
            "push %%rax; push %%rax; push %%rax; add $72, %%rsp\n\t"
            ".byte 0xf1"
            :
            :
            : "memory");
}

static void on_debug(struct trap_frame *frame) {
    (void)frame;
}

static void never_end(void) {
    interrupts_off();
    switch (smp_self() % 5) {
    case 0:
        for (;;)
            (void)cpuid(0, 0);
    case 1:
        for (;;)
            __asm__ volatile("" ::: "memory");
    case 2:
        debug_without_end();
        break;
    case 3:
        for (;;)
            __asm__ volatile("hlt");
    default:
        for (;;)
            smp_pause();
    }
}

void test(void) {
    hostile_init(200);
    smp_start(cmdline_has("x2apic"));
    trap_set_handler(VECTOR, on_interrupt);
    trap_set_handler(EXC_NMI, on_nmi);
    trap_set_handler(EXC_DB, on_debug);
    if (cmdline_has("endless")) {
        smp_run_others(never_end);
        smp_nap_us(ENDLESS_US);
        smp_nap_us(ENDLESS_US);
        CHECK_EQ(worked, 0);
        return;
    }
    smp_run_all(flood);
    check_all_work();
    CHECK(taken > 0);
    flood_starts();
    check_all_work();
}
