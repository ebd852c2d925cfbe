// SPDX-License-Identifier: Apache-2.0
// The TSC counts as often as CPUID says, by a clock that is not its own: the ACPI PM timer. So does
// the local APIC's timer, by the TSC. With `hz=N`, that rate is N.
#include "runtime/acpi.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"

#define PM_TIMER_HZ 3579545ULL
#define MEASURE_US  200000u
#define LOOK_US     50u // which a look at both clocks may take
#define LOOKS       1000u
#define PERMIL      1000u
#define MILLION     1000000u

struct pair {
    uint64_t tsc;
    uint32_t other;
};

static uint16_t pm_timer_port;

static uint32_t read_pm_timer(void) {
    return in32(pm_timer_port);
}

static uint32_t read_lapic_timer(void) {
    return lapic_read(LAPIC_TIMER_CURRENT);
}

// Both at one time, as far as others let us: the best of some looks, unless one is good.
static struct pair look(uint32_t (*read)(void)) {
    struct pair best = {0, 0};
    uint64_t shortest = UINT64_MAX;
    for (uint32_t i = 0; i < LOOKS && shortest > tsc_hz() * LOOK_US / MILLION; i++) {
        uint64_t before = rdtsc();
        uint32_t other = read();
        uint64_t took = rdtsc() - before;
        if (took < shortest) {
            shortest = took;
            best = (struct pair){before + took / 2, other};
        }
    }
    return best;
}

static bool is_near(uint64_t value, uint64_t want) {
    return value >= want - want / PERMIL && value <= want + want / PERMIL;
}

static void check_tsc(void) {
    pm_timer_port = (uint16_t)acpi_field(acpi_find("FACP"), FADT_PM_TIMER, 4);
    struct pair first = look(read_pm_timer);
    wait_us(MEASURE_US);
    struct pair last = look(read_pm_timer);
    uint64_t passed = last.other - first.other;
    CHECK(passed != 0 && is_near((last.tsc - first.tsc) * PM_TIMER_HZ / passed, tsc_hz()));
}

static void check_lapic_timer(void) {
    lapic_init(false);
    lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_DIVIDE_1);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED);
    lapic_write(LAPIC_TIMER_INITIAL, UINT32_MAX);
    struct pair first = look(read_lapic_timer);
    wait_us(MEASURE_US);
    struct pair last = look(read_lapic_timer);
    CHECK(is_near(first.other - last.other, last.tsc - first.tsc));
}

void test(void) {
    uint64_t wanted = cmdline_number("hz");
    CHECK(wanted == 0 || tsc_hz() == wanted);
    check_tsc();
    check_lapic_timer();
}
