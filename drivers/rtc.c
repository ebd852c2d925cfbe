// SPDX-License-Identifier: Apache-2.0
// See drivers/rtc.h.
#include "drivers/rtc.h"

#define NOT_BCD           0xffu
#define DAYS_BEFORE_1970  719468u // since 0000-03-01
#define DAYS_IN_400_YEARS 146097u

// Also refuses digits above 9, which comes out as a value no field can have.
static uint32_t number(const struct rtc_registers *rtc, uint8_t value) {
    if ((rtc->status_b & RTC_BINARY) != 0)
        return value;
    if ((value & 0xf) > 9 || value >> 4 > 9)
        return NOT_BCD;
    return (uint32_t)(value >> 4) * 10 + (value & 0xf);
}

static uint32_t hour_of(const struct rtc_registers *rtc) {
    if ((rtc->status_b & RTC_24_HOURS) != 0)
        return number(rtc, rtc->hour);
    uint32_t hour = number(rtc, (uint8_t)(rtc->hour & ~RTC_PM));
    if (hour == 0 || hour > 12)
        return NOT_BCD;
    return hour % 12 + ((rtc->hour & RTC_PM) != 0 ? 12 : 0);
}

static uint32_t year_of(const struct rtc_registers *rtc) {
    uint32_t century = rtc->has_century ? number(rtc, rtc->century) : 20;
    uint32_t year = number(rtc, rtc->year);
    return year > 99 || century > 99 ? 0 : century * 100 + year;
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

bool rtc_is_equal(const struct rtc_registers *a, const struct rtc_registers *b) {
    return a->second == b->second && a->minute == b->minute && a->hour == b->hour &&
           a->day == b->day && a->month == b->month && a->year == b->year &&
           a->century == b->century;
}

bool rtc_decode(const struct rtc_registers *rtc, uint64_t *seconds) {
    uint32_t second = number(rtc, rtc->second), minute = number(rtc, rtc->minute);
    uint32_t hour = hour_of(rtc), year = year_of(rtc);
    uint32_t month = number(rtc, rtc->month), day = number(rtc, rtc->day);
    if (second > 59 || minute > 59 || hour > 23 || year < 1970 || month < 1 || month > 12 ||
        day < 1 || day > 31)
        return false;
    *seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    return true;
}
