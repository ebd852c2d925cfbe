// SPDX-License-Identifier: Apache-2.0
// The local APICs' timers, all at once and each for itself: once, periodic and by TSC deadline,
// none too early, none for somebody else; and a task priority, by TPR or CR8, that holds back and
// releases on one processor only. In xAPIC or (word `x2apic`) x2APIC mode.
//
// The runtime's naps use the timer, so nobody naps here: who waits spins.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR     0x60
#define IPI        0x51
#define PERIODS    10u
#define PATIENCE_L 120u // seconds of TSC time, in which many others have their turns

static volatile uint32_t fired[SMP_CPUS_MAX], taken[SMP_CPUS_MAX];
static volatile uint32_t held_count, is_sent, ready_count;
static uint32_t millisecond;

static void on_timer(struct trap_frame *frame) {
    (void)frame;
    smp_add(&fired[smp_self()]);
    lapic_eoi();
}

static void on_ipi(struct trap_frame *frame) {
    (void)frame;
    smp_add(&taken[smp_self()]);
    lapic_eoi();
}

static void arm(uint32_t mode, uint32_t initial) {
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    lapic_write(LAPIC_LVT_TIMER, mode | VECTOR);
    fired[smp_self()] = 0;
    lapic_write(LAPIC_TIMER_INITIAL, initial);
}

// Each another time, so that they end in another order than they began.
static uint32_t my_time(void) {
    return (smp_count - smp_self()) * millisecond / 2;
}

static void one_shot(void) {
    volatile uint32_t *count = &fired[smp_self()];
    uint64_t start = rdtsc();
    arm(LAPIC_TIMER_ONESHOT, my_time());
    CHECK(wait_for(count, 1, PATIENCE_L));
    CHECK(rdtsc() - start >= my_time());
    wait_us(1000);
    CHECK_EQ(*count, 1);
    CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
}

static void periodic(void) {
    volatile uint32_t *count = &fired[smp_self()];
    uint64_t start = rdtsc();
    arm(LAPIC_TIMER_PERIOD, millisecond);
    CHECK(wait_for(count, PERIODS, PATIENCE_L));
    CHECK(rdtsc() - start >= PERIODS * (uint64_t)millisecond);
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    uint32_t stopped = *count;
    wait_us(3000);
    CHECK(*count <= stopped + 1); // one may have been on its way
}

static void deadline(void) {
    volatile uint32_t *count = &fired[smp_self()];
    *count = 0;
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
    for (uint32_t i = 1; i <= PERIODS; i++) {
        uint64_t at = rdtsc() + my_time();
        wrmsr(MSR_TSC_DEADLINE, at);
        CHECK(wait_for(count, i, PATIENCE_L));
        CHECK(rdtsc() >= at);
        CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    }
    wait_us(1000);
    CHECK_EQ(*count, PERIODS);
}

// A deadline that one sets is not another's.
static void only_mine(void) {
    volatile uint32_t *count = &fired[smp_self()];
    *count = 0;
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
    smp_add(&ready_count);
    CHECK(wait_for(&ready_count, smp_count, PATIENCE_L));
    if (smp_self() == 1) {
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + millisecond);
        CHECK(wait_for(count, 1, PATIENCE_L));
    } else {
        CHECK(wait_for(&fired[1], 1, PATIENCE_L));
        CHECK_EQ(*count, 0);
    }
}

// ---- priorities ---------------------------------------------------------------------------------

static void release_by_tpr(void) {
    lapic_write(LAPIC_TPR, 0);
}

static void release_by_cr8(void) {
    write_cr8(0);
}

static void (*release)(void);

static bool both_wait(void) {
    return lapic_bit(LAPIC_IRR, IPI) && lapic_bit(LAPIC_IRR, VECTOR);
}

// Both the other's interrupt and our own timer's wait, and both come when they may.
static void hold_back(void) {
    uint32_t self = smp_self();
    taken[self] = 0;
    write_cr8(VECTOR >> 4);
    CHECK_EQ(lapic_read(LAPIC_TPR), VECTOR & 0xf0);
    arm(LAPIC_TIMER_ONESHOT, millisecond / 10);
    smp_add(&held_count);
    CHECK(wait_for(&is_sent, 1, PATIENCE_L));
    uint64_t end = rdtsc() + tsc_hz() * PATIENCE_L;
    while (!both_wait() && rdtsc() < end)
        smp_pause();
    CHECK(both_wait());
    wait_us(500); // in which they would come
    CHECK_EQ(taken[self] + fired[self], 0);
    write_cr8(IPI >> 4); // one of the two
    CHECK(wait_for(&fired[self], 1, PATIENCE_L));
    CHECK_EQ(taken[self], 0);
    release();
    CHECK(wait_for(&taken[self], 1, PATIENCE_L));
    CHECK_EQ(taken[self] + fired[self], 2);
    CHECK_EQ(read_cr8(), 0);
}

static void wait_for_end(uint32_t cpu) {
    while (smp_cpus[cpu].is_busy)
        smp_pause();
}

static void check_hold_back(void (*how)(void)) {
    release = how;
    held_count = is_sent = 0;
    taken[0] = 0;
    smp_run_others(hold_back);
    CHECK(wait_for(&held_count, smp_count - 1, PATIENCE_L));
    lapic_send(0, LAPIC_ICR_ALL | LAPIC_ICR_ASSERT | IPI);
    CHECK(wait_for(&taken[0], 1, PATIENCE_L)); // us it does not wait for
    is_sent = 1;
    for (uint32_t i = 1; i < smp_count; i++)
        wait_for_end(i);
}

static void run_all(smp_function *function) {
    smp_run_others(function);
    function();
    for (uint32_t i = 1; i < smp_count; i++)
        wait_for_end(i);
}

void test(void) {
    trap_set_handler(VECTOR, on_timer);
    trap_set_handler(IPI, on_ipi);
    smp_start(cmdline_has("x2apic"));
    millisecond = (uint32_t)(tsc_hz() / 1000);
    run_all(one_shot);
    run_all(periodic);
    run_all(deadline);
    run_all(only_mine);
    check_hold_back(release_by_tpr);
    check_hold_back(release_by_cr8);
}
