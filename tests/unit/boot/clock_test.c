// SPDX-License-Identifier: Apache-2.0
// boot/boot_clock on a simulated TSC and counter: rates, wraps, what they may be wrong by; and
// dates.
#include "boot/boot_clock.h"

#include <criterion/criterion.h>
#include <time.h>

#include "lib/types.h"

#define PM_HZ   3579545u
#define PM_MASK 0xffffffu
#define MS      1000u        // microseconds
#define START   (1ull << 41) // the TSC has been counting for long when it begins

static struct {
    uint64_t tsc_hz, hz, mask;
    uint64_t offset; // of the counter
    uint64_t span;   // TSC ticks that a reading takes
} sim;

static uint64_t scale(uint64_t us, uint64_t hz) {
    return (uint64_t)((unsigned __int128)us * hz / 1000000);
}

// What is read `us` after power-on.
static struct boot_clock_sample look(uint64_t us) {
    return (struct boot_clock_sample){scale(us, sim.tsc_hz) + START,
                                      (scale(us, sim.hz) + sim.offset) & sim.mask, sim.span};
}

static void setup(void) {
    sim.tsc_hz = 2400000000;
    sim.hz = PM_HZ;
    sim.mask = PM_MASK;
    sim.offset = 0;
    sim.span = 2000;
}

static bool begin(struct boot_clock *clock) {
    return boot_clock_begin(clock, sim.hz, sim.mask, look(0), look(5 * MS));
}

// In ppb, and is it within what the clock says?
static uint64_t error_of(const struct boot_clock *clock) {
    uint64_t bound;
    uint64_t rate = boot_clock_rate(clock, &bound);
    uint64_t apart = rate > sim.tsc_hz ? rate - sim.tsc_hz : sim.tsc_hz - rate;
    uint64_t ppb = (uint64_t)((unsigned __int128)apart * 1000000000 / sim.tsc_hz);
    cr_assert_leq(ppb, bound, "%lu ppb, and the bound is %lu", ppb, bound);
    return bound;
}

TestSuite(boot_clock, .init = setup);

Test(boot_clock, first_look_gives_an_idea) {
    static const uint64_t rate[] = {50000000, 1000000000, 2400000000, 5200000000};
    for (size_t i = 0; i < ARRAY_COUNT(rate); i++) {
        struct boot_clock clock;
        sim.tsc_hz = rate[i];
        sim.span = rate[i] / 1000000; // 1 us
        cr_assert(begin(&clock));
        cr_assert_leq(error_of(&clock), 700000);
    }
}

Test(boot_clock, longer_is_better) {
    struct boot_clock clock;
    cr_assert(begin(&clock));
    cr_assert(boot_clock_add(&clock, look(250 * MS)));
    cr_assert_leq(error_of(&clock), 13000);
    cr_assert(boot_clock_add(&clock, look(2000 * MS)));
    cr_assert_leq(error_of(&clock), 2000);
}

// The PM timer of 24 bits wraps after 4.69 s: what lies between two looks may be any number of
// that.
Test(boot_clock, wraps_between_looks_are_counted) {
    static const uint64_t at[] = {1000, 4600, 4700, 4800, 9400, 33000, 120000, 600000};
    for (uint64_t offset = 0; offset <= PM_MASK; offset += PM_MASK / 7) {
        sim.offset = offset;
        for (size_t i = 0; i < ARRAY_COUNT(at); i++) {
            struct boot_clock clock;
            cr_assert(begin(&clock));
            cr_assert(boot_clock_add(&clock, look(at[i] * MS)));
            cr_assert_leq(error_of(&clock), 4000, "after %lu ms", at[i]);
        }
    }
}

// Loading from a slow disk may take minutes: products of so many ticks have more than 64 bits.
Test(boot_clock, a_day_is_as_good_as_a_second) {
    struct boot_clock clock;
    sim.tsc_hz = 5200000000;
    sim.hz = 100000000;
    sim.mask = UINT32_MAX;
    cr_assert(begin(&clock));
    for (uint64_t s = 2; s < 86400; s += s / 2) {
        cr_assert(boot_clock_add(&clock, look(s * 1000 * MS)));
        cr_assert_leq(error_of(&clock), 500, "after %lu s", s);
    }
}

Test(boot_clock, the_8254_wraps_every_55_ms) {
    struct boot_clock clock;
    sim.hz = 1193182;
    sim.mask = 0xffff;
    cr_assert(begin(&clock));
    for (uint64_t ms = 20; ms < 40000; ms += ms / 3)
        cr_assert(boot_clock_add(&clock, look(ms * MS)));
    cr_assert_leq(error_of(&clock), 2000);
}

// Between the looks it may have wrapped once more or less than it should have: then nobody can
// tell.
Test(boot_clock, too_long_a_gap_is_refused) {
    struct boot_clock clock, before;
    sim.hz = 1193182;
    sim.mask = 0xffff;
    cr_assert(begin(&clock));
    before = clock;
    cr_assert_not(boot_clock_add(&clock, look(600000 * MS)));
    cr_assert_arr_eq((uint8_t *)&clock, (uint8_t *)&before, sizeof(clock));
}

Test(boot_clock, what_stands_still_is_told) {
    struct boot_clock clock;
    struct boot_clock_sample first = look(0), second = look(5 * MS);
    cr_assert_not(boot_clock_begin(&clock, sim.hz, sim.mask, first, first));
    second.tsc = first.tsc;
    cr_assert_not(boot_clock_begin(&clock, sim.hz, sim.mask, first, second));
    cr_assert(begin(&clock));
    cr_assert_not(boot_clock_add(&clock, look(4 * MS))); // backwards
    struct boot_clock_sample apart = look(10 * MS);
    apart.tsc = look(4 * MS).tsc;
    cr_assert_not(boot_clock_add(&clock, apart));
}

// A port without a device: two reads differ, so it seems to run, and soon nothing fits any more.
Test(boot_clock, noise_is_given_up) {
    struct boot_clock clock;
    uint32_t state = 1, rounds = 0;
    bool is_used = begin(&clock);
    for (uint64_t ms = 10; is_used; ms += 5, rounds++) {
        struct boot_clock_sample sample = look(ms * MS);
        state = state * 1664525u + 1013904223u;
        sample.ticks = state >> 8 & sim.mask;
        if (!boot_clock_add(&clock, sample))
            is_used = boot_clock_again(&clock, sample, look((ms + 5) * MS));
        cr_assert_lt(rounds, 1000);
    }
    cr_assert_gt(rounds, BOOT_CLOCK_AGAIN_MAX);
}

// A few gaps in a long load are forgiven, and the next counter starts without this one's.
Test(boot_clock, beginning_again_is_counted_by_counter) {
    struct boot_clock clock;
    cr_assert(begin(&clock));
    for (uint32_t i = 0; i < BOOT_CLOCK_AGAIN_MAX; i++)
        cr_assert(boot_clock_again(&clock, look(i * 9000 * MS), look((i * 9000 + 5) * MS)));
    cr_assert(boot_clock_add(&clock, look((BOOT_CLOCK_AGAIN_MAX - 1) * 9000 * MS + 2000 * MS)));
    cr_assert_leq(error_of(&clock), 2000);
    cr_assert_not(boot_clock_again(&clock, look(0), look(5 * MS)));
    cr_assert(begin(&clock));
    cr_assert_not(boot_clock_again(&clock, look(0), look(0))); // stands still
    cr_assert(boot_clock_again(&clock, look(0), look(5 * MS)));
}

// A TSC that changes its speed half way shows in the error, not in silence.
Test(boot_clock, what_disagrees_with_itself_is_told) {
    struct boot_clock clock;
    struct boot_clock_sample late = look(3000 * MS);
    uint64_t error;
    cr_assert(begin(&clock));
    cr_assert(boot_clock_add(&clock, look(1000 * MS)));
    cr_assert(boot_clock_add(&clock, look(1500 * MS)));
    late.tsc += sim.tsc_hz / 100; // 10 ms of 1.5 s
    cr_assert(boot_clock_add(&clock, late));
    boot_clock_rate(&clock, &error);
    cr_assert_geq(error, 1000000);
}

// No gap between what it says and what it does, at any time and by any jitter of the readings.
Test(boot_clock, the_bound_holds_with_jitter) {
    uint32_t state = 7;
    for (uint32_t round = 0; round < 3000; round++) {
        struct boot_clock clock;
        sim.offset = round * 5557u;
        cr_assert(begin(&clock));
        for (uint64_t us = 20 * MS; us < 8000 * MS; us += us / 2 + state % 7777) {
            struct boot_clock_sample sample = look(us);
            state = state * 1664525u + 1013904223u;
            sample.tsc += (state >> 8) % (sim.span / 2); // the reading was late
            sample.ticks = (sample.ticks - (state >> 20) % 3) & sim.mask;
            cr_assert(boot_clock_add(&clock, sample));
        }
        error_of(&clock);
    }
}

Test(boot_clock, cpuid_tells_when_it_is_whole) {
    cr_assert_eq(boot_clock_told((const uint32_t[]){2, 200, 24000000}, 0), 2400000000);
    cr_assert_eq(boot_clock_told((const uint32_t[]){2, 200, 25000000}, 2400), 2500000000);
    cr_assert_eq(boot_clock_told((const uint32_t[]){2, 176, 0}, 2100), 2100000000); // no crystal
    cr_assert_eq(boot_clock_told((const uint32_t[]){0, 0, 0}, 3600), 3600000000);
    cr_assert_eq(boot_clock_told((const uint32_t[]){0, 200, 24000000}, 0), 0);
    cr_assert_eq(boot_clock_told((const uint32_t[]){2, 0, 24000000}, 0), 0);
    cr_assert_eq(boot_clock_told((const uint32_t[]){1, UINT32_MAX, UINT32_MAX}, 0),
                 (uint64_t)UINT32_MAX * UINT32_MAX);
}

// The kernel would call the hand-over damaged.
Test(boot_clock, a_rate_that_the_kernel_refuses_is_none) {
    cr_assert_not(boot_clock_is_rate(0));
    cr_assert_not(boot_clock_is_rate(999999));
    cr_assert(boot_clock_is_rate(1000000));
    cr_assert_not(boot_clock_is_rate(UINT64_MAX));                             // does not fit
    cr_assert_eq(boot_clock_told((const uint32_t[]){200, 2, 24000000}, 0), 0); // 240 kHz
    cr_assert_eq(boot_clock_told((const uint32_t[]){1, 1, 1000000}, 0), 1000000);
}

Test(boot_clock, cpuid_is_believed_within_the_error) {
    cr_assert(boot_clock_agrees(2400000000, 2400000000, 0));
    cr_assert(boot_clock_agrees(2400000000, 2400004800, 2000)); // 2 ppm
    cr_assert_not(boot_clock_agrees(2400000000, 2400007200, 2000));
    cr_assert_not(boot_clock_agrees(2400007200, 2400000000, 2000));
    cr_assert(boot_clock_agrees(2400000000, 2400600000, 250000));
    cr_assert_not(boot_clock_agrees(3504000000, 50000000, 20000)); // an emulator's
    // A base frequency in whole MHz, of a TSC that runs with 2095 MHz.
    cr_assert_not(boot_clock_agrees(2100000000, 2095078000, 2000));
    // The same, rounded by less than 200 ppm.
    cr_assert_not(boot_clock_agrees(2496000000, 2495700000, 3000));
}

static bool read_date(const struct tm *date, int32_t zone, uint64_t *seconds) {
    return boot_clock_utc(
        &(const struct boot_date){(uint32_t)date->tm_year + 1900, (uint32_t)date->tm_mon + 1,
                                  (uint32_t)date->tm_mday, (uint32_t)date->tm_hour,
                                  (uint32_t)date->tm_min, (uint32_t)date->tm_sec, zone},
        seconds);
}

Test(boot_clock, dates_agree_with_the_c_library) {
    for (time_t t = 0; t < 16725225600; t += 86400 * 3 + 12345) {
        struct tm date;
        uint64_t seconds;
        gmtime_r(&t, &date);
        cr_assert(read_date(&date, 2047, &seconds));
        cr_assert_eq(seconds, (uint64_t)t);
    }
}

// Local time is UTC less the zone.
Test(boot_clock, zones_are_taken_into_account) {
    static const int32_t zones[] = {0, -60, 300, -765, 1440, -1440};
    struct tm date;
    uint64_t seconds;
    for (size_t i = 0; i < ARRAY_COUNT(zones); i++) {
        time_t t = 1700000000, local = t - zones[i] * 60;
        cr_assert(read_date(gmtime_r(&local, &date), zones[i], &seconds));
        cr_assert_eq(seconds, (uint64_t)t);
    }
    time_t zero = 0;
    cr_assert_not(read_date(gmtime_r(&zero, &date), -60, &seconds)); // before 1970
    cr_assert_not(read_date(&date, 1441, &seconds));
    cr_assert_not(read_date(&date, INT32_MIN, &seconds));
}

Test(boot_clock, no_date_is_told) {
    static const struct boot_date bad[] = {
        {0, 0, 0, 0, 0, 0, 0},     {1969, 12, 31, 23, 59, 59, 0},
        {2026, 13, 1, 0, 0, 0, 0}, {2026, 0, 1, 0, 0, 0, 0},
        {2026, 1, 0, 0, 0, 0, 0},  {2026, 1, 32, 0, 0, 0, 0},
        {2026, 1, 1, 24, 0, 0, 0}, {2026, 1, 1, 0, 60, 0, 0},
        {2026, 1, 1, 0, 0, 60, 0}, {65535, 255, 255, 255, 255, 255, 0},
    };
    uint64_t seconds;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        cr_assert_not(boot_clock_utc(&bad[i], &seconds));
}
