// SPDX-License-Identifier: Apache-2.0
// Dates to seconds and back: calendar_from_seconds(), calendar_to_seconds(). Years are counted from
// March on, so that the leap day is the last of its year, in eras of 400 years of 146097 days.
#include "vmm/device/calendar.h"

#define DAYS_PER_ERA      146097
#define DAYS_0000_TO_1970 719468 // from 0000-03-01
#define SECONDS_PER_DAY   86400

int64_t calendar_clamp(int64_t seconds) {
    if (seconds < CALENDAR_FIRST_SECOND)
        return CALENDAR_FIRST_SECOND;
    return seconds > CALENDAR_LAST_SECOND ? CALENDAR_LAST_SECOND : seconds;
}

uint32_t calendar_month_days(int32_t year, uint8_t month) {
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    if (month == 2)
        return is_leap ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

static int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

struct calendar_date calendar_from_seconds(int64_t seconds) {
    int64_t t = calendar_clamp(seconds);
    int64_t days = floor_divide(t, SECONDS_PER_DAY) + DAYS_0000_TO_1970;
    int64_t in_day = t - floor_divide(t, SECONDS_PER_DAY) * SECONDS_PER_DAY;
    int64_t era = floor_divide(days, DAYS_PER_ERA);
    int64_t in_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era =
        (in_era - in_era / 1460 + in_era / 36524 - in_era / (DAYS_PER_ERA - 1)) / 365;
    int64_t in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * in_year + 2) / 153; // 0 is March
    int64_t year = era * 400 + year_of_era + (month >= 10);

    return (struct calendar_date){
        .year = (int32_t)year,
        .month = (uint8_t)(month < 10 ? month + 3 : month - 9),
        .day = (uint8_t)(in_year - (153 * month + 2) / 5 + 1),
        .hour = (uint8_t)(in_day / 3600),
        .minute = (uint8_t)(in_day / 60 % 60),
        .second = (uint8_t)(in_day % 60),
        .weekday = (uint8_t)((days + 3) % 7 < 0 ? (days + 3) % 7 + 7 : (days + 3) % 7),
    };
}

int64_t calendar_to_seconds(const struct calendar_date *date) {
    int64_t months = (int64_t)date->year * 12 + date->month - 3; // from March of year 0
    int64_t year = floor_divide(months, 12);
    int64_t month = months - year * 12;
    int64_t era = floor_divide(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t in_year = (153 * month + 2) / 5 + date->day - 1;
    int64_t in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;
    int64_t days = era * DAYS_PER_ERA + in_era - DAYS_0000_TO_1970;

    return calendar_clamp(days * SECONDS_PER_DAY + date->hour * 3600 + date->minute * 60 +
                          date->second);
}
