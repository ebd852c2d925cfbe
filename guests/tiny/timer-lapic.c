// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer in its three modes, in xAPIC or (word `x2apic`) x2APIC mode: it fires as
// often as it should, no earlier than it should, and not while it is masked or stopped.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR  0x60
#define PERIODS 10u
#define LONG_MS 10000u // at 375 MHz the timer holds 11 s

static volatile uint32_t *const count = &trap_count[VECTOR];
static uint32_t millisecond; // in ticks of the timer, which counts as the TSC does

static void on_timer(struct trap_frame *frame) {
    (void)frame;
    lapic_eoi();
}

static void arm(uint32_t mode, uint32_t initial) {
    lapic_write(LAPIC_LVT_TIMER, mode | VECTOR);
    lapic_write(LAPIC_TIMER_INITIAL, initial);
}

static void check_one_shot(void) {
    // Long enough that it still counts, however long others run in between.
    arm(LAPIC_TIMER_ONESHOT, LONG_MS * millisecond);
    uint32_t first = lapic_read(LAPIC_TIMER_CURRENT);
    CHECK(first > 0 && first <= LONG_MS * millisecond);
    CHECK(lapic_read(LAPIC_TIMER_CURRENT) < first);
    uint64_t start = rdtsc();
    *count = 0;
    arm(LAPIC_TIMER_ONESHOT, 2 * millisecond);
    CHECK(wait_for(count, 1, PATIENCE_S));
    CHECK(rdtsc() - start >= 2 * millisecond);
    wait_us(5000);
    CHECK_EQ(*count, 1);
    CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
    // What has counted to 0 stays there until it is programmed again, also in the other mode.
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_PERIOD | VECTOR);
    CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
    wait_us(5000);
    CHECK_EQ(*count, 1);
}

static void check_periodic(void) {
    uint64_t start = rdtsc();
    *count = 0;
    arm(LAPIC_TIMER_PERIOD, millisecond);
    CHECK(wait_for(count, PERIODS, PATIENCE_S));
    CHECK(rdtsc() - start >= PERIODS * (uint64_t)millisecond);
    lapic_write(LAPIC_TIMER_INITIAL, 0);
    uint32_t stopped = *count;
    wait_us(5000);
    CHECK(*count <= stopped + 1); // one may have been on its way
    CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
}

static void check_masked(void) {
    *count = 0;
    lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED | VECTOR);
    lapic_write(LAPIC_TIMER_INITIAL, millisecond);
    wait_us(5000);
    CHECK_EQ(*count, 0);
}

static void check_divided(void) {
    uint64_t start = rdtsc();
    *count = 0;
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_16);
    arm(LAPIC_TIMER_ONESHOT, millisecond / 4);
    CHECK(wait_for(count, 1, PATIENCE_S));
    CHECK(rdtsc() - start >= 4 * (uint64_t)millisecond);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
}

static void disarm(void) {
    wrmsr(MSR_TSC_DEADLINE, 0);
}

static void change_mode(void) {
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_ONESHOT | VECTOR);
}

// A deadline that was taken back in time does not fire. Others may run in between: then once more,
// further ahead.
static void check_disarmed(void (*take_back)(void)) {
    for (uint64_t ahead = 2 * (uint64_t)millisecond;; ahead *= 2) {
        lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
        *count = 0;
        uint64_t deadline = rdtsc() + ahead;
        wrmsr(MSR_TSC_DEADLINE, deadline);
        take_back();
        if (rdtsc() >= deadline)
            continue;
        while (rdtsc() < deadline + ahead)
            __asm__ volatile("pause");
        CHECK_EQ(*count, 0);
        return;
    }
}

static void check_deadline(void) {
    uint64_t deadline;
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
    *count = 0;
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    deadline = rdtsc() + PATIENCE_S * 1000 * (uint64_t)millisecond;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), deadline);
    deadline = rdtsc() + 2 * millisecond;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    CHECK(wait_for(count, 1, PATIENCE_S));
    CHECK(rdtsc() >= deadline);
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1000); // past: at once
    CHECK(wait_for(count, 2, PATIENCE_S));
    check_disarmed(disarm);
    lapic_write(LAPIC_TIMER_INITIAL, millisecond); // without effect in this mode
    CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
    check_disarmed(change_mode);
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + millisecond); // ignored in the other modes
    CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
}

void test(void) {
    lapic_init(cmdline_has("x2apic"));
    millisecond = (uint32_t)(tsc_hz() / 1000);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    trap_set_handler(VECTOR, on_timer);
    interrupts_on();
    check_one_shot();
    check_periodic();
    check_masked();
    check_divided();
    check_deadline();
}
