// SPDX-License-Identifier: Apache-2.0
// Arithmetic of clocks; the interface is told in boot_clock.h.
#include "boot/boot_clock.h"

#include "include/boot.h"
#include "lib/types.h"

#define BILLION          1000000000ull
#define MEGA             1000000ull
#define TICKS_UNCERTAIN  8u // one at each end; emulators count in microseconds, of up to four ticks
#define ZONE_UNSPECIFIED 2047
#define MINUTES_A_DAY    1440

#define DAYS_BEFORE_1970  719468u // since 0000-03-01
#define DAYS_IN_400_YEARS 146097u

// a * b / c with all 128 bits of the product, which this target has no function for; UINT64_MAX
// where the quotient does not fit.
static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t low, high, rest;
    __asm__("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
    if (high >= c)
        return UINT64_MAX;
    __asm__("divq %4" : "=a"(low), "=d"(rest) : "a"(low), "d"(high), "rm"(c) : "cc");
    return low;
}

static uint64_t difference(uint64_t a, uint64_t b) {
    return a > b ? a - b : b - a;
}

static uint64_t rate_between(const struct boot_clock *clock, const struct boot_clock_sample *from,
                             const struct boot_clock_sample *to) {
    return mul_div(to->tsc - from->tsc, clock->hz, to->ticks - from->ticks);
}

// What the readings at both ends may have cost, in ppb.
static uint64_t reading_error(const struct boot_clock_sample *from,
                              const struct boot_clock_sample *to) {
    uint64_t tsc = to->tsc - from->tsc, ticks = to->ticks - from->ticks;
    return mul_div((from->span + to->span) / 2, BILLION, tsc) + TICKS_UNCERTAIN * BILLION / ticks;
}

bool boot_clock_begin(struct boot_clock *clock, uint64_t hz, uint64_t mask,
                      struct boot_clock_sample first, struct boot_clock_sample second) {
    uint64_t ticks = (second.ticks - first.ticks) & mask;
    second.ticks = first.ticks + ticks;
    *clock = (struct boot_clock){hz, mask, first, second, second, 0};
    return ticks > 0 && second.tsc > first.tsc;
}

bool boot_clock_again(struct boot_clock *clock, struct boot_clock_sample first,
                      struct boot_clock_sample second) {
    uint32_t again = clock->again + 1;
    bool is_good = boot_clock_begin(clock, clock->hz, clock->mask, first, second);
    clock->again = again;
    return is_good && again <= BOOT_CLOCK_AGAIN_MAX;
}

uint64_t boot_clock_rate(const struct boot_clock *clock, uint64_t *error) {
    const struct boot_clock_sample *first = &clock->first, *middle = &clock->middle;
    const struct boot_clock_sample *last = &clock->last;
    uint64_t rate = rate_between(clock, first, last);
    *error = reading_error(first, last);
    if (middle->tsc < last->tsc && middle->ticks < last->ticks) {
        uint64_t apart =
            difference(rate_between(clock, first, middle), rate_between(clock, middle, last));
        uint64_t seen = mul_div(apart, BILLION, rate);
        uint64_t explained = reading_error(first, middle) + reading_error(middle, last);
        *error += seen > explained ? seen - explained : 0;
    }
    return rate;
}

bool boot_clock_add(struct boot_clock *clock, struct boot_clock_sample sample) {
    const struct boot_clock_sample *first = &clock->first, *last = &clock->last;
    uint64_t error;
    if (sample.tsc <= last->tsc)
        return false;
    boot_clock_rate(clock, &error);
    // How far the counter should have come, and how much that may be wrong by.
    uint64_t gone =
        mul_div(sample.tsc - first->tsc, last->ticks - first->ticks, last->tsc - first->tsc);
    uint64_t doubt = mul_div(gone, error, BILLION);
    if (gone > UINT64_MAX / 2 || doubt > clock->mask / 4)
        return false;
    // The place next to that where it shows what it showed.
    uint64_t expected = first->ticks + gone;
    uint64_t ahead = (sample.ticks - expected) & clock->mask;
    uint64_t behind = (expected - sample.ticks) & clock->mask;
    sample.ticks = ahead < behind ? expected + ahead : expected - behind;
    if (MIN(ahead, behind) > clock->mask / 4 || sample.ticks <= last->ticks)
        return false;
    if (sample.tsc - first->tsc >= 2 * (clock->middle.tsc - first->tsc))
        clock->middle = *last;
    clock->last = sample;
    return true;
}

// mul_div saturates where the counter all but stands still.
bool boot_clock_is_rate(uint64_t hz) {
    return hz >= BOOT_TSC_HZ_MIN && hz != UINT64_MAX;
}

uint64_t boot_clock_told(const uint32_t leaf15[3], uint32_t base_mhz) {
    uint64_t denominator = leaf15[0], numerator = leaf15[1], crystal = leaf15[2];
    // Without the crystal's rate the base frequency is that of the TSC, in whole MHz.
    bool is_whole = denominator != 0 && numerator != 0 && crystal != 0;
    uint64_t hz = is_whole ? crystal * numerator / denominator : base_mhz * MEGA;
    return boot_clock_is_rate(hz) ? hz : 0;
}

uint64_t boot_clock_apart(uint64_t told, uint64_t measured) {
    return mul_div(difference(told, measured), BILLION, measured);
}

bool boot_clock_agrees(uint64_t told, uint64_t measured, uint64_t error) {
    return boot_clock_apart(told, measured) <= error;
}

// Days since 1970-01-01; the year starts in March, so that the leap day is its last.
static uint64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day) {
    uint32_t y = month <= 2 ? year - 1 : year;
    uint32_t m = (month + 9) % 12;
    uint32_t era = y / 400, year_of_era = y % 400;
    uint32_t day_of_year = (153 * m + 2) / 5 + day - 1;
    uint32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (uint64_t)era * DAYS_IN_400_YEARS + day_of_era - DAYS_BEFORE_1970;
}

bool boot_clock_utc(const struct boot_date *date, uint64_t *seconds) {
    int32_t zone = date->zone == ZONE_UNSPECIFIED ? 0 : date->zone;
    if (date->second > 59 || date->minute > 59 || date->hour > 23 || date->year < 1970 ||
        date->year > 9999 || date->month < 1 || date->month > 12 || date->day < 1 ||
        date->day > 31 || zone < -MINUTES_A_DAY || zone > MINUTES_A_DAY)
        return false;
    uint64_t minutes = days_since_1970(date->year, date->month, date->day) * MINUTES_A_DAY +
                       date->hour * 60 + date->minute;
    if (zone < 0 && minutes < (uint64_t)-zone)
        return false;
    *seconds = (minutes + (uint64_t)(int64_t)zone) * 60 + date->second;
    return true;
}
