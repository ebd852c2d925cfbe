// SPDX-License-Identifier: Apache-2.0
// The paravirtual clock: CPUID offers it, it keeps step with the TSC, goes on when the guest moves
// its TSC, and with the wall clock agrees with the CMOS clock. Steal time: no more than has passed;
// with the word `steal`, while other VMs keep all processors busy, more than nothing.
#include "runtime/pvclock.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define STEPS       20u
#define STEP_US     1000u
#define ERROR_S     2u           // of those that set the clocks
#define ERROR_NS    2u           // of rounding
#define MOVE        BIT(40)      // of the TSC: 137 s at 8 GHz
#define MOVE_NS     60000000000u // a wait for others is less than that, the move is more
#define DAY         86400u       // seconds
#define BUSY_US     500000u      // go on for that long, so that others are stolen from, too
#define GRACE_S     30u          // in which another VM must have run
#define NS_A_SECOND 1000000000ULL

static _Alignas(64) volatile struct pvclock clock;
static _Alignas(64) volatile struct pvclock_steal steal;
static volatile struct pvclock_wall wall;

static uint64_t address(const volatile void *p) {
    return (uintptr_t)p;
}

static uint64_t now(void) {
    return pvclock_ns(&clock, rdtsc());
}

static void check_cpuid(void) {
    uint32_t wanted = KVM_CLOCKSOURCE2 | KVM_STEAL_TIME | KVM_CLOCK_STABLE;
    CHECK_EQ(cpuid(CPUID_KVM_FEATURES, 0).eax & wanted, wanted);
}

static void check_registration(void) {
    CHECK_EQ(rdmsr(MSR_KVM_SYSTEM_TIME_NEW), 0);
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, address(&clock) | PVCLOCK_ENABLE);
    CHECK_EQ(rdmsr(MSR_KVM_SYSTEM_TIME_NEW), address(&clock) | PVCLOCK_ENABLE);
    CHECK(clock.version != 0 && clock.version % 2 == 0);
    CHECK(clock.multiplier >= BIT(31));
    CHECK_EQ(clock.flags, PVCLOCK_TSC_STABLE);
}

static void check_step(void) {
    uint64_t tsc = rdtsc(), ns = pvclock_ns(&clock, tsc);
    for (uint32_t i = 0; i < STEPS; i++) {
        wait_us(STEP_US);
        uint64_t next = rdtsc(), next_ns = pvclock_ns(&clock, next);
        uint64_t want = (next - tsc) * NS_A_SECOND / tsc_hz();
        CHECK(next_ns - ns <= want + ERROR_NS && next_ns - ns + ERROR_NS >= want);
        tsc = next;
        ns = next_ns;
    }
}

static void check_move(void) {
    uint64_t before = now(), adjust = rdmsr(MSR_TSC_ADJUST);
    uint32_t version = clock.version;
    wrmsr(MSR_TSC, rdtsc() + MOVE);
    CHECK(clock.version != version && clock.version % 2 == 0);
    uint64_t after = now();
    CHECK(after >= before && after - before < MOVE_NS);
    wrmsr(MSR_TSC_ADJUST, adjust);
    uint64_t last = now();
    CHECK(last >= after && last - after < MOVE_NS);
}

static uint32_t cmos(uint8_t index) {
    out8(0x70, index);
    uint32_t value = in8(0x71);
    return (value >> 4) * 10 + (value & 0xf);
}

static uint32_t cmos_second_of_day(void) {
    uint32_t minute, second;
    do { // no update in between
        minute = cmos(4) * 60 + cmos(2);
        second = cmos(0);
    } while (minute != cmos(4) * 60 + cmos(2) || second > cmos(0));
    return minute * 60 + second;
}

static uint64_t wall_second(void) {
    return wall.seconds + (wall.nanoseconds + now()) / NS_A_SECOND;
}

// Both are told from the machine's clock, which counts whole seconds.
static void check_wall(void) {
    wrmsr(MSR_KVM_WALL_CLOCK_NEW, address(&wall));
    CHECK_EQ(rdmsr(MSR_KVM_WALL_CLOCK_NEW), address(&wall));
    CHECK(wall.version != 0 && wall.version % 2 == 0 && wall.nanoseconds < NS_A_SECOND);
    uint64_t first = wall_second() - ERROR_S;
    uint32_t seen = cmos_second_of_day();
    uint64_t last = wall_second() + ERROR_S;
    CHECK((seen + DAY - first % DAY) % DAY <= last - first);
    try_wrmsr(MSR_KVM_WALL_CLOCK_NEW, address(&wall) + 1);
    CHECK_FAULT(EXC_GP, 0);
    try_wrmsr(MSR_KVM_WALL_CLOCK_NEW, low_ram_end() - 4);
    CHECK_FAULT(EXC_GP, 0);
}

static void check_steal(bool is_contended) {
    uint64_t start = now();
    wrmsr(MSR_KVM_STEAL_TIME, address(&steal) | PVCLOCK_ENABLE);
    CHECK_EQ(rdmsr(MSR_KVM_STEAL_TIME), address(&steal) | PVCLOCK_ENABLE);
    CHECK(steal.ns <= now() - start); // 0, but for what was stolen since
    while (is_contended && steal.ns == 0 && now() - start < GRACE_S * NS_A_SECOND)
        __asm__ volatile("" ::: "memory");
    wait_us(is_contended ? BUSY_US : STEP_US);
    uint64_t stolen = steal.ns;
    CHECK(stolen <= now() - start);
    CHECK(stolen > 0 || !is_contended);
    CHECK(steal.version != 0 && steal.version % 2 == 0);
    CHECK_EQ(steal.preempted, 0); // nobody who looks at his own can see another
    CHECK_EQ(steal.flags, 0);
}

static void check_switched_off(void) {
    uint32_t version = clock.version;
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
    wrmsr(MSR_TSC, rdtsc() + MOVE);
    CHECK_EQ(clock.version, version);
}

void test(void) {
    check_cpuid();
    check_registration();
    check_step();
    check_move();
    check_wall();
    check_steal(cmdline_has("steal"));
    check_switched_off();
}
