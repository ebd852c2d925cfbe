// SPDX-License-Identifier: Apache-2.0
// Dates of the proleptic Gregorian calendar to seconds since 1970 and back, for the years 0 to
// 9999.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CALENDAR_FIRST_SECOND (-62167219200LL) // 0000-01-01 00:00:00
#define CALENDAR_LAST_SECOND  253402300799LL   // 9999-12-31 23:59:59

struct calendar_date {
    int32_t year;       // 0..9999
    uint8_t month, day; // from 1
    uint8_t hour, minute, second;
    uint8_t weekday; // 0 Sunday .. 6; result only
};

// `seconds` outside the range above is taken as its nearest end.
struct calendar_date calendar_from_seconds(int64_t seconds);

// Fields need not be in range (a 31st of February is the 3rd of March); the result is brought into
// the range above.
int64_t calendar_to_seconds(const struct calendar_date *date);

// 28 to 31; `month` is from 1 to 12.
uint32_t calendar_month_days(int32_t year, uint8_t month);

// The date in the range above that is nearest to `seconds`.
int64_t calendar_clamp(int64_t seconds);
