// SPDX-License-Identifier: Apache-2.0
// drivers/clock and drivers/rtc: the TSC's rate out of simulated counters, dates against the C
// library's. Each read of a simulated counter takes some ticks of a simulated TSC.
#include "arch/x86.h"
#define x86_rdtsc                 clk_test_rdtsc
#define x86_cpuid                 clk_test_cpuid
#define x86_inb                   clk_test_inb
#define x86_inl                   clk_test_inl
#define x86_outb                  clk_test_outb
#define cpu_features              clk_test_cpu_features
#define acpi_info                 clk_test_acpi_info
#define tsc_hz                    clk_test_tsc_hz
#define lapic_timer_init          clk_test_lapic_timer_init
#define lapic_timer_stop          clk_test_lapic_timer_stop
#define lapic_timer_start_measure clk_test_lapic_timer_start_measure
#define lapic_timer_count         clk_test_lapic_timer_count
#define log_line                  clk_test_log_line
#define clock_init                clk_test_clock_init
#define clock_read_utc            clk_test_clock_read_utc
#define rtc_is_equal              clk_test_rtc_is_equal
#define rtc_decode                clk_test_rtc_decode

static uint64_t clk_test_rdtsc(void);
static struct cpuid_result clk_test_cpuid(uint32_t leaf, uint32_t subleaf);
static uint8_t clk_test_inb(uint16_t port);
static uint32_t clk_test_inl(uint16_t port);
static void clk_test_outb(uint16_t port, uint8_t value);

#include "drivers/clock.c"
#include "drivers/rtc.c"

#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

struct cpu_features cpu_features;
struct acpi_info acpi_info;
uint64_t tsc_hz;

#define PM_PORT     0x608u
#define ACCESS_TIME 1000u // TSC ticks

static struct {
    uint64_t tsc, hz;
    uint64_t timer_hz, timer_start;
    uint64_t pm_offset, pit_start;
    bool is_pm_stuck, is_pit_stuck;
    struct cpuid_result leaf15;
    uint8_t pit_latched[2];
    uint32_t pit_index;
    uint64_t given_timer_hz;
    uint8_t cmos[128], cmos_index;
    uint32_t cmos_step; // seconds change after so many reads, once
} sim;

static uint64_t clk_test_rdtsc(void) {
    return sim.tsc += 20;
}
static struct cpuid_result clk_test_cpuid(uint32_t leaf, uint32_t subleaf) {
    (void)subleaf;
    return leaf == 0 ? (struct cpuid_result){.eax = CPUID_TSC} : sim.leaf15;
}
static uint64_t elapsed(uint64_t since, uint64_t hz) {
    return (uint64_t)((unsigned __int128)(sim.tsc - since) * hz / sim.hz);
}
static uint32_t clk_test_inl(uint16_t port) {
    cr_assert_eq(port, PM_PORT);
    sim.tsc += ACCESS_TIME;
    return sim.is_pm_stuck ? 0 : (uint32_t)(sim.pm_offset + elapsed(0, PM_TIMER_HZ));
}
static uint8_t clk_test_inb(uint16_t port) {
    sim.tsc += ACCESS_TIME;
    if (port == PIT_CHANNEL2)
        return sim.pit_latched[sim.pit_index++ & 1];
    if (port == RTC_DATA) {
        if (sim.cmos_step > 0 && --sim.cmos_step == 0)
            sim.cmos[RTC_SECOND]++;
        return sim.cmos[sim.cmos_index];
    }
    return 0;
}
static void clk_test_outb(uint16_t port, uint8_t value) {
    sim.tsc += ACCESS_TIME;
    if (port == RTC_INDEX)
        sim.cmos_index = value & 0x7f;
    if (port == PIT_COMMAND && value == PIT_START)
        sim.pit_start = sim.tsc;
    if (port == PIT_COMMAND && value == PIT_LATCH) {
        uint64_t gone = sim.is_pit_stuck ? 0 : elapsed(sim.pit_start, PIT_HZ);
        uint64_t count = (PIT_MASK - gone) & PIT_MASK;
        sim.pit_latched[0] = (uint8_t)count;
        sim.pit_latched[1] = (uint8_t)(count >> 8);
        sim.pit_index = 0;
    }
}
void lapic_timer_init(uint64_t hz, uint64_t timer_hz) {
    cr_assert_eq(hz, tsc_hz);
    sim.given_timer_hz = timer_hz;
}
void lapic_timer_stop(void) {}
void lapic_timer_start_measure(void) {
    sim.timer_start = sim.tsc;
}
uint32_t lapic_timer_count(void) {
    cr_assert_not(cpu_features.has_tsc_deadline);
    sim.tsc += ACCESS_TIME / 4;
    return UINT32_MAX - (uint32_t)elapsed(sim.timer_start, sim.timer_hz);
}
void log_line(const char *format, ...) {
    (void)format;
}

static void clk_test_setup(void) {
    memset(&sim, 0, sizeof(sim));
    memset(&acpi_info, 0, sizeof(acpi_info));
    memset(&cpu_features, 0, sizeof(cpu_features));
    sim.hz = 2400000000;
    sim.timer_hz = 100000000;
    acpi_info.pm_timer_port = PM_PORT;
    acpi_info.pm_timer_is_32bit = true;
    tsc_hz = 0;
}

static void expect_near(uint64_t value, uint64_t wanted, uint64_t ppm) {
    uint64_t difference = value > wanted ? value - wanted : wanted - value;
    cr_assert_leq(difference, wanted / 1000000 * ppm, "%lu, not %lu", value, wanted);
}

TestSuite(drivers_clock, .init = clk_test_setup);

Test(drivers_clock, pm_timer_gives_the_rate) {
    static const uint64_t rate[] = {50000000, 1000000000, 2400000000, 5200000000};
    for (size_t i = 0; i < ARRAY_COUNT(rate); i++) {
        sim.hz = rate[i];
        cr_assert(clock_init());
        expect_near(tsc_hz, rate[i], 200);
        expect_near(sim.given_timer_hz, sim.timer_hz, 300);
    }
}

Test(drivers_clock, pm_timer_wraps) {
    static const uint64_t offset[] = {0xffff0000, 0xfffffff0, 0x00ffff00};
    for (size_t i = 0; i < ARRAY_COUNT(offset); i++) {
        sim.tsc = 0;
        sim.pm_offset = offset[i] - 4;
        acpi_info.pm_timer_is_32bit = offset[i] > 0xffffff;
        cr_assert(clock_init());
        expect_near(tsc_hz, sim.hz, 200);
    }
}

Test(drivers_clock, pit_stands_in) {
    acpi_info.pm_timer_port = 0;
    cr_assert(clock_init());
    expect_near(tsc_hz, sim.hz, 500);
    acpi_info.pm_timer_port = PM_PORT;
    sim.is_pm_stuck = true;
    cr_assert(clock_init());
    expect_near(tsc_hz, sim.hz, 500);
}

Test(drivers_clock, no_counter_is_told) {
    sim.is_pm_stuck = sim.is_pit_stuck = true;
    cr_assert_not(clock_init());
    cr_assert_eq(tsc_hz, 0);
}

Test(drivers_clock, cpuid_is_taken_when_confirmed) {
    cpu_features.has_tsc_deadline = true;
    sim.hz = 2400000123;
    sim.leaf15 = (struct cpuid_result){2, 200, 24000000, 0};
    cr_assert(clock_init());
    cr_assert_eq(tsc_hz, 2400000000);
    cr_assert_lt(sim.tsc, sim.hz / 1000); // a short look is enough
}

Test(drivers_clock, cpuid_that_lies_is_not_taken) {
    cpu_features.has_tsc_deadline = true;
    sim.hz = 50000000;
    sim.leaf15 = (struct cpuid_result){2, 292, 24000000, 0};
    cr_assert(clock_init());
    expect_near(tsc_hz, sim.hz, 200);
}

Test(drivers_clock, cpuid_without_crystal_is_incomplete) {
    cpu_features.has_tsc_deadline = true;
    sim.leaf15 = (struct cpuid_result){2, 200, 0, 0};
    cr_assert(clock_init());
    expect_near(tsc_hz, sim.hz, 200);
}

Test(drivers_clock, cpuid_is_all_there_is) {
    cpu_features.has_tsc_deadline = true;
    sim.is_pm_stuck = sim.is_pit_stuck = true;
    sim.leaf15 = (struct cpuid_result){1, 100, 24000000, 0};
    cr_assert(clock_init());
    cr_assert_eq(tsc_hz, 2400000000);
}

static void set_date(const struct tm *date, bool is_bcd) {
    static const uint8_t index[] = {RTC_SECOND, RTC_MINUTE, RTC_HOUR, RTC_DAY,
                                    RTC_MONTH,  RTC_YEAR,   0x32};
    int year = date->tm_year + 1900;
    int value[] = {date->tm_sec,     date->tm_min, date->tm_hour, date->tm_mday,
                   date->tm_mon + 1, year % 100,   year / 100};
    for (size_t i = 0; i < ARRAY_COUNT(index); i++)
        sim.cmos[index[i]] = (uint8_t)(is_bcd ? value[i] / 10 * 16 + value[i] % 10 : value[i]);
    sim.cmos[RTC_STATUS_B] = RTC_24_HOURS | (is_bcd ? 0 : RTC_BINARY);
}

Test(drivers_clock, dates_agree_with_the_c_library) {
    acpi_info.rtc_century_index = 0x32;
    for (time_t t = 0; t < 16725225600; t += 86400 * 3 + 12345) {
        struct tm date;
        uint64_t seconds, tsc;
        set_date(gmtime_r(&t, &date), t % 2 == 0);
        cr_assert(clock_read_utc(&seconds, &tsc));
        cr_assert_eq(seconds, (uint64_t)t);
    }
}

Test(drivers_clock, twelve_hour_clock_is_read) {
    static const uint8_t hour[][2] = {{0x12, 0}, {0x01, 1}, {0x11, 11}, {0x92, 12}, {0x81, 13}};
    time_t t = 1700000000 - 1700000000 % 86400;
    struct tm date;
    uint64_t seconds, tsc;
    set_date(gmtime_r(&t, &date), true);
    sim.cmos[RTC_STATUS_B] = 0;
    for (size_t i = 0; i < ARRAY_COUNT(hour); i++) {
        sim.cmos[RTC_HOUR] = hour[i][0];
        cr_assert(clock_read_utc(&seconds, &tsc));
        cr_assert_eq(seconds, (uint64_t)t + hour[i][1] * 3600u);
    }
}

Test(drivers_clock, second_that_changes_is_read_again) {
    struct tm date;
    time_t t = 1700000000;
    uint64_t seconds, tsc;
    set_date(gmtime_r(&t, &date), false);
    sim.cmos_step = 5;
    cr_assert(clock_read_utc(&seconds, &tsc));
    cr_assert_eq(seconds, (uint64_t)t + 1);
    cr_assert_lt(tsc, sim.tsc);
}

Test(drivers_clock, absent_clock_is_told) {
    uint64_t seconds, tsc;
    memset(sim.cmos, 0xff, sizeof(sim.cmos));
    cr_assert_not(clock_read_utc(&seconds, &tsc));
    memset(sim.cmos, 0, sizeof(sim.cmos)); // day 0 of month 0
    cr_assert_not(clock_read_utc(&seconds, &tsc));
    memset(sim.cmos, 0x1f, sizeof(sim.cmos)); // not BCD
    sim.cmos[RTC_STATUS_A] = 0;
    sim.cmos[RTC_STATUS_B] = RTC_24_HOURS;
    cr_assert_not(clock_read_utc(&seconds, &tsc));
}
