// SPDX-License-Identifier: Apache-2.0
// NMIs between processors: one comes to a processor that runs with interrupts off, and to one that
// is halted so; while one is being handled the next waits, and more than one that wait are one.
// Shorthands and broadcast reach all they name. In xAPIC or (word `x2apic`) x2APIC mode.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define NMI        (LAPIC_ICR_NMI | LAPIC_ICR_ASSERT)
#define ROUNDS     20u
#define ALL_WIDE   0xffffffffu
#define ALL_NARROW 0xffu

static volatile uint32_t nmis[SMP_CPUS_MAX], is_inside, may_leave, is_ready, is_done;
static volatile uint32_t holds; // the handler stays until may_leave

extern uint8_t halting[]; // the HLT of halt()

static void on_nmi(struct trap_frame *frame) {
    uint32_t self = smp_self();
    smp_add(&nmis[self]);
    if (frame->rip == (uintptr_t)halting)
        frame->rip++; // came just before it: the next would never come
    if (holds && self == 1 && nmis[1] == 1) {
        smp_add(&is_inside);
        while (!may_leave)
            smp_pause();
        CHECK_EQ(nmis[1], 1); // none came in between
    }
}

static void clear(void) {
    for (uint32_t i = 0; i < smp_count; i++)
        nmis[i] = 0;
    is_inside = may_leave = is_ready = is_done = holds = 0;
}

static void spin(void) {
    interrupts_off();
    smp_add(&is_ready);
    while (!is_done)
        smp_pause();
    interrupts_on();
}

// HLT with interrupts off: only an NMI ends it.
__attribute__((noinline)) static void halt(void) {
    interrupts_off();
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        __asm__ volatile("lock incl %0\n"
                         "halting:\thlt"
                         : "+m"(is_ready)
                         :
                         : "memory");
        CHECK_EQ(nmis[1], i);
    }
    interrupts_on();
}

static void check_running(void) {
    clear();
    smp_run(1, spin);
    CHECK(smp_wait_for(&is_ready, 1));
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        lapic_send(1, NMI);
        CHECK(smp_wait_for(&nmis[1], i));
    }
    is_done = 1;
    smp_join(1);
    CHECK_EQ(nmis[1], ROUNDS);
}

static void check_halted(void) {
    clear();
    smp_run(1, halt);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        CHECK(smp_wait_for(&is_ready, i));
        smp_nap_us(1000);
        lapic_send(1, NMI);
        CHECK(smp_wait_for(&nmis[1], i));
    }
    smp_join(1);
    CHECK_EQ(nmis[1], ROUNDS);
}

static void check_pending(void) {
    clear();
    holds = 1;
    lapic_send(1, NMI);
    CHECK(smp_wait_for(&is_inside, 1));
    for (uint32_t i = 0; i < 3; i++)
        lapic_send(1, NMI);
    smp_nap_us(1000);
    CHECK_EQ(nmis[1], 1);
    may_leave = 1;
    CHECK(smp_wait_for(&nmis[1], 2));
    smp_run(1, spin); // any more would come before it is ready
    CHECK(smp_wait_for(&is_ready, 1));
    is_done = 1;
    smp_join(1);
    CHECK_EQ(nmis[1], 2);
}

static void nothing(void) {}

static void check_many(uint32_t destination, uint32_t command, bool is_self_meant) {
    clear();
    lapic_send(destination, command | NMI);
    for (uint32_t i = 0; i < smp_count; i++)
        if (i != 0 || is_self_meant)
            CHECK(smp_wait_for(&nmis[i], 1));
    smp_run_all(nothing);
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK_EQ(nmis[i], i != 0 || is_self_meant);
}

void test(void) {
    trap_set_handler(EXC_NMI, on_nmi);
    smp_start(cmdline_has("x2apic"));
    check_running();
    check_halted();
    check_pending();
    check_many(0, LAPIC_ICR_ALL, true);
    check_many(0, LAPIC_ICR_OTHERS, false);
    check_many(lapic_is_x2apic() ? ALL_WIDE : ALL_NARROW, 0, true);
    CHECK_EQ(lapic_read(LAPIC_ESR), 0);
}
