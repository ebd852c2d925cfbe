// SPDX-License-Identifier: Apache-2.0
// HLT and several processors: an interrupt from another one ends it, each interrupt one HLT, and
// nothing else does; one that comes between STI and HLT is not lost; with interrupts off none ends
// it. In xAPIC or (word `x2apic`) x2APIC mode.
//
// Every processor but the first halts in turn; while they do, the first has work of its own.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR 0x61
#define ROUNDS 100u
#define WORK   200000u

static volatile uint32_t taken[SMP_CPUS_MAX], woken[SMP_CPUS_MAX], asleep[SMP_CPUS_MAX];
static volatile uint32_t may_go;

static void on_vector(struct trap_frame *frame) {
    (void)frame;
    smp_add(&taken[smp_self()]);
    lapic_eoi();
}

static void clear(void) {
    for (uint32_t i = 0; i < smp_count; i++)
        taken[i] = woken[i] = asleep[i] = 0;
    may_go = 0;
}

// HLT ends as often as an interrupt comes: `asleep` tells the sender that it may send the next.
static void halt_rounds(void) {
    uint32_t self = smp_self();
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        interrupts_off();
        smp_add(&asleep[self]);
        interrupts_on_and_halt();
        CHECK_EQ(taken[self], i);
        smp_add(&woken[self]);
    }
}

// In the first half each has long been halted when the interrupt comes; in the second it has hardly
// begun.
static void check_wakes(void) {
    clear();
    smp_run_others(halt_rounds);
    for (uint32_t round = 1; round <= ROUNDS; round++)
        for (uint32_t i = 1; i < smp_count; i++) {
            CHECK(smp_wait_for(&asleep[i], round));
            if (round < ROUNDS / 2)
                smp_nap_us(10);
            CHECK_EQ(woken[i], round - 1); // nothing else has woken it
            lapic_send(i, LAPIC_ICR_ASSERT | VECTOR);
        }
    smp_join_others();
    for (uint32_t i = 1; i < smp_count; i++) {
        CHECK_EQ(taken[i], ROUNDS);
        CHECK_EQ(woken[i], ROUNDS);
    }
}

static void halt_once(void) {
    interrupts_off();
    smp_add(&asleep[smp_self()]);
    interrupts_on_and_halt();
    smp_add(&woken[smp_self()]);
}

static void check_broadcast(void) {
    clear();
    smp_run_others(halt_once);
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK(smp_wait_for(&asleep[i], 1));
    volatile uint32_t work = 0; // beside halted ones
    for (uint32_t i = 0; i < WORK; i++)
        work++;
    CHECK_EQ(work, WORK);
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK_EQ(woken[i], 0);
    lapic_send(0, LAPIC_ICR_OTHERS | LAPIC_ICR_ASSERT | VECTOR);
    smp_join_others();
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK_EQ(taken[i], 1);
}

static void on_nmi(struct trap_frame *frame) {
    (void)frame;
    CHECK(may_go);
}

static void halt_deaf(void) {
    uint32_t self = smp_self();
    interrupts_off();
    smp_add(&asleep[self]);
    while (!may_go) // an NMI that comes too early must not be the last
        __asm__ volatile("hlt");
    CHECK_EQ(taken[self], 0);
    smp_add(&woken[self]);
    interrupts_on(); // and now it comes
}

// The NMI goes on until it was seen, since it may come just before the HLT.
static void check_interrupts_off(void) {
    clear();
    trap_set_handler(EXC_NMI, on_nmi);
    smp_run(1, halt_deaf);
    CHECK(smp_wait_for(&asleep[1], 1));
    lapic_send(1, LAPIC_ICR_ASSERT | VECTOR);
    smp_nap_us(2000);
    CHECK_EQ(taken[1], 0);
    CHECK_EQ(woken[1], 0);
    may_go = 1;
    while (woken[1] == 0) {
        lapic_send(1, LAPIC_ICR_ASSERT | LAPIC_ICR_NMI);
        smp_nap_us(1000);
    }
    CHECK(smp_wait_for(&taken[1], 1));
    smp_join(1);
    CHECK_EQ(taken[1], 1);
}

// Each wakes the next and halts; the round ends where it began.
static void pass_on(void) {
    uint32_t self = smp_self(), next = self + 1 == smp_count ? 1 : self + 1;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        CHECK(smp_wait_for(&taken[self], i));
        if (next != 1 || i < ROUNDS)
            lapic_send(next, LAPIC_ICR_ASSERT | VECTOR);
    }
}

static void check_ring(void) {
    clear();
    smp_run_others(pass_on);
    lapic_send(1, LAPIC_ICR_ASSERT | VECTOR);
    for (uint32_t round = 1; round <= ROUNDS; round++)
        CHECK(smp_wait_for(&taken[smp_count - 1], round)); // patience is a round's
    smp_join_others();
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK_EQ(taken[i], ROUNDS);
}

void test(void) {
    trap_set_handler(VECTOR, on_vector);
    smp_start(cmdline_has("x2apic"));
    check_wakes();
    check_broadcast();
    check_interrupts_off();
    check_ring();
}
