// SPDX-License-Identifier: Apache-2.0
// Processors of one VM against each other: floods of interrupts and NMIs from all to all, INIT and
// SIPI at any moment, each after each; then all of them still work. With the word `endless` the
// others never end what they do (a loop with interrupts off, #DB upon #DB, HLT for good, PAUSE,
// exits), and the first one ends the VM all the same.
#include "lib/string.h"
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

// Two pages of hold_code: each says that a processor is in it, and keeps it until it may go.
#define HOLD(n)   (0x11000u + (n)*PAGE_SIZE)
#define HOLD_MARK 0x800u // as the code has them
#define HOLD_GO   0x804u
#define HOLD_US   1000000u

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

static void start(uint32_t cpu, uint32_t page) {
    lapic_send(cpu, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    if (random_one_in(2))
        wait_us(random_below(START_US));
    lapic_send(cpu, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | page / PAGE_SIZE);
}

// movl $1, %cs:0x800; 1: pause; cmpb $0, %cs:0x804; je 1b; ljmp $0x1000, $0
static const uint8_t hold_code[] = {0x66, 0x2e, 0xc7, 0x06, 0x00, 0x08, 0x01, 0x00, 0x00,
                                    0x00, 0xf3, 0x90, 0x2e, 0x80, 0x3e, 0x04, 0x08, 0x00,
                                    0x74, 0xf6, 0xea, 0x00, 0x00, 0x00, 0x10};
_Static_assert(SMP_TRAMPOLINE == 0x10000, "hold_code jumps there");

static volatile uint32_t *hold_word(uint32_t n, uint32_t offset) {
    return (volatile uint32_t *)(uintptr_t)(HOLD(n) + offset);
}

static void place_holds(void) {
    for (uint32_t n = 0; n < 2; n++) {
        memcpy((void *)(uintptr_t)HOLD(n), hold_code, sizeof(hold_code));
        *hold_word(n, HOLD_MARK) = *hold_word(n, HOLD_GO) = 0;
    }
}

// It may be on its way from an earlier start, with its local APIC off for a moment: then what we
// send is lost, and we send it again.
static bool hold(uint32_t cpu) {
    for (uint32_t i = 0; i < PATIENCE_S && *hold_word(0, HOLD_MARK) == 0; i++) {
        start(cpu, HOLD(0));
        for (uint32_t us = 0; us < HOLD_US && *hold_word(0, HOLD_MARK) == 0; us += START_US)
            smp_nap_us(START_US);
    }
    return *hold_word(0, HOLD_MARK) != 0;
}

// An INIT that was sent may come late, and end what the processor was given to do since. Who is
// held in the first page loses nothing any more; who has come to the second has nothing before it.
static void start_last(uint32_t cpu) {
    place_holds();
    CHECK(hold(cpu));
    start(cpu, HOLD(1));
    CHECK(smp_wait_for(hold_word(1, HOLD_MARK), 1));
    uint32_t before = smp_cpus[cpu].start_count;
    *hold_word(1, HOLD_GO) = 1;
    CHECK(smp_wait_for(&smp_cpus[cpu].start_count, before + 1));
    CHECK_EQ(smp_cpus[cpu].start_count, before + 1);
}

static void flood_starts(void) {
    for (uint64_t i = 0; i < hostile_rounds; i++) {
        uint32_t cpu = 1 + random_below(smp_count - 1);
        start(cpu, SMP_TRAMPOLINE);
        if (random_one_in(4))
            wait_us(random_below(START_US));
    }
    wait_us(START_US);
    for (uint32_t cpu = 1; cpu < smp_count; cpu++)
        start_last(cpu);
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
