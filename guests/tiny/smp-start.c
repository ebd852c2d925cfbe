// SPDX-License-Identifier: Apache-2.0
// INIT and SIPI: every processor that the MADT names starts once, with its APIC ID wherever one can
// read it and its local APIC as after INIT; a second SIPI is ignored; INIT stops a running
// processor, from outside and wherever it is, and SIPI starts it again; nobody answers to an ID
// beyond the last. In xAPIC or (word `x2apic`) x2APIC mode.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define TOPOLOGY     0xbu
#define AMD_FEATURES 0x80000001u
#define ECX_TOPOEXT  BIT(22)
#define AMD_TOPOLOGY 0x8000001eu
#define SVR_RESET    0xffu
#define OTHER        0x41u
// A page with a trampoline that nobody may come through: it writes to a place of its own, and
// halts.
#define TRAP_PAGE 0x11000u
#define TRAP_MARK (TRAP_PAGE + 0x800u)

static volatile uint32_t beats[SMP_CPUS_MAX];
static volatile uint32_t has_halted;

// mov $1, %al; mov %al, %cs:0x800; cli; hlt
static const uint8_t trap_code[] = {0xb0, 0x01, 0x2e, 0xa2, 0x00, 0x08, 0xfa, 0xf4};

static volatile uint8_t *trap_mark(void) {
    return (volatile uint8_t *)(uintptr_t)TRAP_MARK;
}

static void place_trap(void) {
    volatile uint8_t *page = (volatile uint8_t *)(uintptr_t)TRAP_PAGE;
    for (uint32_t i = 0; i < sizeof(trap_code); i++)
        page[i] = trap_code[i];
    *trap_mark() = 0;
}

static void check_identity(void) {
    uint32_t self = smp_self();
    uint32_t shift = lapic_is_x2apic() ? 0 : 24;
    CHECK_EQ(cpuid(1, 0).ebx >> 24, self);
    CHECK((cpuid(1, 0).ebx >> 16 & 0xff) >= smp_count);
    CHECK_EQ(lapic_read(LAPIC_ID), self << shift);
    if (cpuid(0, 0).eax >= TOPOLOGY) {
        CHECK_EQ(cpuid(TOPOLOGY, 0).edx, self);
        CHECK_EQ(cpuid(TOPOLOGY, 1).edx, self);
        CHECK_EQ(cpuid(TOPOLOGY, 1).ebx, smp_count);
        CHECK_EQ(self >> cpuid(TOPOLOGY, 1).eax, 0);
    }
    if (cpuid(AMD_FEATURES, 0).ecx & ECX_TOPOEXT) {
        CHECK_EQ(cpuid(AMD_TOPOLOGY, 0).eax, self);
        CHECK_EQ(cpuid(AMD_TOPOLOGY, 0).ebx, self); // a core, of one thread
        CHECK_EQ(cpuid(AMD_TOPOLOGY, 0).ecx, 0);
    }
    CHECK_EQ((rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP) != 0, self == 0);
    beats[self]++;
}

static void check_started_once(void) {
    for (uint32_t i = 1; i < smp_count; i++) {
        CHECK_EQ(smp_cpus[i].start_count, 1);
        CHECK_EQ(smp_cpus[i].first_svr, SVR_RESET);
        CHECK_EQ(smp_cpus[i].first_tpr, 0);
        CHECK_EQ(smp_cpus[i].first_apic_base, LAPIC_BASE | APIC_BASE_ENABLE);
    }
    smp_run_all(check_identity);
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK_EQ(beats[i], 1);
}

static void nothing(void) {}

static void check_second_sipi(void) {
    for (uint32_t i = 1; i < smp_count; i++)
        lapic_send(i, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | TRAP_PAGE / PAGE_SIZE);
    lapic_send(0, LAPIC_ICR_OTHERS | LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | TRAP_PAGE / PAGE_SIZE);
    smp_run_all(nothing); // each has had a look at what came before
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK_EQ(smp_cpus[i].start_count, 1);
    CHECK_EQ(*trap_mark(), 0);
}

static void beat(void) {
    lapic_write(LAPIC_TPR, 0x20);
    for (;;)
        beats[smp_self()]++;
}

static void halt_forever(void) {
    interrupts_off();
    smp_add(&has_halted);
    for (;;)
        __asm__ volatile("hlt");
}

static void expect_restart(uint32_t cpu, uint32_t starts) {
    lapic_send(cpu, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | SMP_TRAMPOLINE / PAGE_SIZE);
    CHECK(smp_wait_for(&smp_cpus[cpu].start_count, starts));
    CHECK_EQ(smp_cpus[cpu].start_count, starts);
    CHECK_EQ(smp_cpus[cpu].first_svr, SVR_RESET);
    CHECK_EQ(smp_cpus[cpu].first_tpr, 0);
    // INIT changes the local APIC's mode no more than its ID: SDM 3A 11.12.5.1 "x2APIC States".
    uint64_t mode = lapic_is_x2apic() ? APIC_BASE_X2APIC : 0;
    CHECK_EQ(smp_cpus[cpu].first_apic_base, LAPIC_BASE | APIC_BASE_ENABLE | mode);
    beats[cpu] = 0;
    smp_run(cpu, check_identity);
    smp_join(cpu);
    CHECK_EQ(beats[cpu], 1);
}

// Its counter comes to rest: that takes as long as the host lets it run on.
static bool stops(uint32_t cpu) {
    for (uint32_t tries = 0; tries < 1000; tries++) {
        uint32_t before = beats[cpu];
        smp_nap_us(1000);
        smp_nap_us(1000);
        if (beats[cpu] == before)
            return true;
    }
    return false;
}

static void check_init_stops(uint32_t cpu) {
    beats[cpu] = 0;
    smp_run(cpu, beat);
    CHECK(smp_wait_for(&beats[cpu], 1000));
    lapic_send(cpu, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    CHECK(stops(cpu));
    lapic_send(cpu, LAPIC_ICR_ASSERT | OTHER); // does not start it
    uint32_t before = beats[cpu];
    smp_nap_us(1000);
    CHECK(beats[cpu] - before <= 1); // one may have been on its way
    expect_restart(cpu, 2);
}

static void check_init_of_halted(uint32_t cpu) {
    has_halted = 0;
    smp_run(cpu, halt_forever);
    CHECK(smp_wait_for(&has_halted, 1));
    lapic_send(cpu, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    expect_restart(cpu, 3);
}

// One command after the other, without a pause: the last SIPI counts in each round, and each INIT.
static void check_rounds(uint32_t cpu) {
    uint32_t starts = smp_cpus[cpu].start_count;
    for (uint32_t i = 1; i <= 20; i++) {
        lapic_send(cpu, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
        expect_restart(cpu, starts + i);
    }
}

static void check_nobody(void) {
    lapic_send(smp_count, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    lapic_send(smp_count, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | TRAP_PAGE / PAGE_SIZE);
    smp_run_all(nothing);
    CHECK_EQ(*trap_mark(), 0);
}

void test(void) {
    place_trap();
    smp_start(cmdline_has("x2apic"));
    check_started_once();
    check_second_sipi();
    for (uint32_t i = 1; i < smp_count; i += smp_count / 2) {
        check_init_stops(i);
        check_init_of_halted(i);
        check_rounds(i);
    }
    check_nobody();
}
