// SPDX-License-Identifier: Apache-2.0
// The date in the bytes of the MC146818, binary or BCD, and when its alarm goes off.
#include "vmm/device/rtc_date.h"

#include "vmm/device/calendar.h"

enum {
    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0,      // both bits set: every value matches
    MONTHS_AHEAD = 8 * 12, // in which a 29th of February comes at the latest
    SECONDS_PER_DAY = 86400,
};

static uint8_t encode(const struct rtc *rtc, uint32_t value) {
    if (rtc->cmos[CMOS_B] & B_BINARY)
        return (uint8_t)value;
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static uint8_t decode(const struct rtc *rtc, uint8_t byte) {
    if (rtc->cmos[CMOS_B] & B_BINARY)
        return byte;
    return (uint8_t)((byte >> 4) * 10 + (byte & 15));
}

static uint8_t encode_hour(const struct rtc *rtc, uint8_t hour) {
    if (rtc->cmos[CMOS_B] & B_24H)
        return encode(rtc, hour);
    return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static uint8_t decode_hour(const struct rtc *rtc, uint8_t byte) {
    uint8_t hour;

    if (rtc->cmos[CMOS_B] & B_24H)
        return decode(rtc, byte);
    hour = decode(rtc, byte & (uint8_t)~HOUR_PM) % 12;
    return byte & HOUR_PM ? hour + 12 : hour;
}

void rtc_date_encode(struct rtc *rtc, int64_t seconds) {
    struct calendar_date date = calendar_from_seconds(seconds);
    uint8_t *cmos = rtc->cmos;

    cmos[CMOS_SECOND] = encode(rtc, date.second);
    cmos[CMOS_MINUTE] = encode(rtc, date.minute);
    cmos[CMOS_HOUR] = encode_hour(rtc, date.hour);
    cmos[CMOS_WEEKDAY] = encode(rtc, (date.weekday + rtc->weekday_shift) % 7u + 1);
    cmos[CMOS_DAY] = encode(rtc, date.day);
    cmos[CMOS_MONTH] = encode(rtc, date.month);
    cmos[CMOS_YEAR] = encode(rtc, (uint32_t)date.year % 100);
    cmos[CMOS_CENTURY] = (uint8_t)(date.year / 1000 << 4 | date.year / 100 % 10); // always BCD
}

int64_t rtc_date_decode(struct rtc *rtc) {
    const uint8_t *cmos = rtc->cmos;
    struct calendar_date date = {
        .year = ((cmos[CMOS_CENTURY] >> 4) * 10 + (cmos[CMOS_CENTURY] & 15)) * 100 +
                decode(rtc, cmos[CMOS_YEAR]),
        .month = decode(rtc, cmos[CMOS_MONTH]),
        .day = decode(rtc, cmos[CMOS_DAY]),
        .hour = decode_hour(rtc, cmos[CMOS_HOUR]),
        .minute = decode(rtc, cmos[CMOS_MINUTE]),
        .second = decode(rtc, cmos[CMOS_SECOND]),
    };
    int64_t seconds = calendar_to_seconds(&date);
    uint32_t weekday = decode(rtc, cmos[CMOS_WEEKDAY]) + 6u; // 1..7 to 0..6, plus 7

    rtc->weekday_shift = (uint8_t)((weekday + 7 - calendar_from_seconds(seconds).weekday) % 7);
    return seconds;
}

static bool alarm_matches(uint8_t alarm, uint8_t value) {
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

// The first value from `from` on that an alarm byte matches, or `end`.
static uint32_t alarm_next(const struct rtc *rtc, uint8_t index, uint32_t from, uint32_t end) {
    uint8_t alarm = rtc->cmos[index];

    for (uint32_t v = from; v < end; v++)
        if (alarm_matches(alarm,
                          index == CMOS_HOUR_ALARM ? encode_hour(rtc, (uint8_t)v) : encode(rtc, v)))
            return v;
    return end;
}

// The first second of the day, from `from` on, at which the alarm goes off; SECONDS_PER_DAY: none.
static uint32_t alarm_in_day(const struct rtc *rtc, uint32_t from) {
    uint32_t first_second = alarm_next(rtc, CMOS_SECOND_ALARM, 0, 60);
    uint32_t first_minute = alarm_next(rtc, CMOS_MINUTE_ALARM, 0, 60);
    uint32_t from_minute = from / 60 % 60, from_hour = from / 3600;
    uint32_t second = alarm_next(rtc, CMOS_SECOND_ALARM, from % 60, 60);
    uint32_t minute, hour;

    if (first_second == 60 || first_minute == 60)
        return SECONDS_PER_DAY;
    if (second == 60)
        from_minute++;
    minute = alarm_next(rtc, CMOS_MINUTE_ALARM, from_minute, 60);
    if (minute == 60)
        from_hour++;
    hour = alarm_next(rtc, CMOS_HOUR_ALARM, from_hour, 24);
    if (hour == 24)
        return SECONDS_PER_DAY;
    if (hour != from / 3600)
        minute = first_minute;
    if (hour != from / 3600 || minute != from / 60 % 60)
        second = first_second;
    return hour * 3600 + minute * 60 + second;
}

// Whether the alarm's day, or month, is this one.
static bool date_matches(const struct rtc *rtc, uint8_t index, uint32_t value) {
    uint8_t alarm = rtc->cmos[index];

    return alarm == 0 || alarm_matches(alarm, encode(rtc, value));
}

// The first day of the month of `date`, from its day on, on which the alarm may go off; 0: none.
static uint32_t alarm_day(const struct rtc *rtc, const struct calendar_date *date) {
    uint32_t end = calendar_month_days(date->year, date->month);

    if (!date_matches(rtc, RTC_ALARM_MONTH, date->month))
        return 0;
    for (uint32_t day = date->day; day <= end; day++)
        if (date_matches(rtc, RTC_ALARM_DAY, day))
            return day;
    return 0;
}

// The beginning of the first day, from that of `seconds` on, on which the alarm may go off. False:
// none.
static bool alarm_next_day(const struct rtc *rtc, int64_t seconds, int64_t *next) {
    struct calendar_date date = calendar_from_seconds(seconds);

    date.hour = date.minute = date.second = 0;
    for (uint32_t i = 0; i <= MONTHS_AHEAD; i++) {
        uint32_t day = alarm_day(rtc, &date);

        if (day != 0) {
            date.day = (uint8_t)day;
            *next = calendar_to_seconds(&date);
            return true;
        }
        date.day = 1;
        date.year += date.month == 12;
        date.month = date.month % 12 + 1;
    }
    return false;
}

uint64_t rtc_alarm_distance(const struct rtc *rtc, int64_t seconds) {
    struct calendar_date date = calendar_from_seconds(seconds);
    uint32_t in_day = date.hour * 3600u + date.minute * 60u + date.second;
    uint32_t first = alarm_in_day(rtc, 0), next = alarm_in_day(rtc, in_day + 1);
    int64_t today = seconds - in_day, day = today;

    if (first == SECONDS_PER_DAY || !alarm_next_day(rtc, today, &day))
        return 0;
    if (day == today && next < SECONDS_PER_DAY)
        return next - in_day;
    if (day == today && !alarm_next_day(rtc, today + SECONDS_PER_DAY, &day))
        return 0;
    return day > today ? (uint64_t)(day + first - seconds) : 0; // not behind the last of all dates
}
