// SPDX-License-Identifier: Apache-2.0
// Time is one for all processors: no TSC is behind what another has read before, neither in turns
// nor all at once; each has a TSC_ADJUST of its own, which moves its TSC and nobody else's; INIT
// leaves the TSC alone.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define ROUNDS 50u
#define LOOKS  5000u
#define AHEAD  (1ULL << 40)

static volatile uint32_t turn;
static volatile uint64_t newest;
static volatile uint32_t behind_count;
static struct smp_barrier barrier;

// Not before the one who had the turn before us.
static void in_turns(void) {
    uint32_t self = smp_self();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        CHECK(smp_wait_for(&turn, i * smp_count + self));
        uint64_t now = rdtsc();
        if (now < newest)
            behind_count++;
        newest = now;
        smp_add(&turn);
    }
}

// Not before what was the newest when we looked.
static void all_at_once(void) {
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < LOOKS; i++) {
        uint64_t seen = __atomic_load_n(&newest, __ATOMIC_SEQ_CST);
        uint64_t now = rdtsc();
        if (now < seen)
            smp_add(&behind_count);
        while (seen < now && !__atomic_compare_exchange_n(&newest, &seen, now, false,
                                                          __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            smp_pause();
    }
}

static void check_monotonic(void) {
    turn = behind_count = 0;
    newest = 0;
    smp_run_all(in_turns);
    smp_run_all(all_at_once);
    CHECK_EQ(behind_count, 0);
}

static void check_no_adjustment(void) {
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 0);
}

static uint64_t theirs, adjusted;

static void look(void) {
    theirs = rdtsc();
}

static void move_ahead(void) {
    uint64_t before = rdtsc();
    wrmsr(MSR_TSC_ADJUST, AHEAD);
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), AHEAD);
    CHECK(rdtsc() >= before + AHEAD);
}

static void move_back(void) {
    wrmsr(MSR_TSC_ADJUST, 0);
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 0);
    CHECK(rdtsc() < AHEAD);
}

// A write to the TSC shows in TSC_ADJUST: SDM 3B 17.17.3 "Time-Stamp Counter Adjustment".
static void write_tsc(void) {
    uint64_t before = rdtsc();
    wrmsr(MSR_TSC, before + AHEAD);
    adjusted = rdmsr(MSR_TSC_ADJUST);
    CHECK(rdtsc() >= before + AHEAD);
}

static void run_on(uint32_t cpu, smp_function *function) {
    smp_run(cpu, function);
    smp_join(cpu);
}

static uint64_t look_at(uint32_t cpu) {
    run_on(cpu, look);
    return theirs;
}

static void check_adjust(uint32_t cpu) {
    uint64_t start = rdtsc();
    smp_run_all(check_no_adjustment);
    run_on(cpu, move_ahead);
    CHECK(look_at(cpu) >= start + AHEAD);
    CHECK(rdtsc() < start + AHEAD);
    CHECK_EQ(rdmsr(MSR_TSC_ADJUST), 0);
    run_on(cpu, move_back);
    uint64_t before = rdtsc();
    run_on(cpu, write_tsc);
    CHECK(rdtsc() < start + AHEAD);
    // By as much less as the processor took from its look to its write.
    CHECK(adjusted <= AHEAD && AHEAD - adjusted <= rdtsc() - before);
    run_on(cpu, move_back);
    check_monotonic(); // back to where it was, to the tick
}

static void check_init(void) {
    uint32_t last = smp_count - 1, starts = smp_cpus[last].start_count;
    run_on(last, move_ahead);
    uint64_t before = look_at(last);
    lapic_send(last, LAPIC_ICR_INIT | LAPIC_ICR_ASSERT);
    lapic_send(last, LAPIC_ICR_SIPI | LAPIC_ICR_ASSERT | SMP_TRAMPOLINE / PAGE_SIZE);
    CHECK(smp_wait_for(&smp_cpus[last].start_count, starts + 1));
    CHECK(look_at(last) >= before);
    run_on(last, move_back);
    smp_run_all(check_no_adjustment);
    check_monotonic();
}

void test(void) {
    smp_start(cmdline_has("x2apic"));
    check_monotonic();
    check_adjust(1);
    check_adjust(smp_count - 1);
    check_init();
}
