// SPDX-License-Identifier: Apache-2.0
// The MC146818: date, events and their interrupt, registers, memory, save and restore.
//
// The date runs while register A selects the 32768 Hz time base and SET is clear (`is_ticking`).
// Going in and out of that state (freeze, thaw) moves it between `seconds` and the bytes in cmos[].
#include "vmm/device/rtc.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/calendar.h"
#include "vmm/device/pc.h"
#include "vmm/device/ticks.h"

enum {
    CMOS_SECOND = 0x00,
    CMOS_SECOND_ALARM = 0x01,
    CMOS_MINUTE = 0x02,
    CMOS_MINUTE_ALARM = 0x03,
    CMOS_HOUR = 0x04,
    CMOS_HOUR_ALARM = 0x05,
    CMOS_WEEKDAY = 0x06,
    CMOS_DAY = 0x07,
    CMOS_MONTH = 0x08,
    CMOS_YEAR = 0x09,
    CMOS_A = 0x0a,
    CMOS_B = 0x0b,
    CMOS_C = 0x0c,
    CMOS_D = 0x0d,
    CMOS_CENTURY = RTC_CENTURY,

    A_RATE = 0x0f,
    A_DIVIDER = 0x70,
    A_DIVIDER_32768 = 0x20,
    A_UIP = 0x80,
    A_RESET = 0x26, // 1024 Hz

    B_24H = 0x02,
    B_BINARY = 0x04,
    B_UIE = 0x10,
    B_AIE = 0x20,
    B_PIE = 0x40,
    B_SET = 0x80,
    B_IRQS = B_UIE | B_AIE | B_PIE,

    C_UF = 0x10,
    C_AF = 0x20,
    C_PF = 0x40,
    C_IRQF = 0x80,
    C_FLAGS = C_UF | C_AF | C_PF, // the same bits as their enables in B

    D_VALID = 0x80,

    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0,      // both bits set: every value matches
    MONTHS_AHEAD = 8 * 12, // in which a 29th of February comes at the latest
    SECONDS_PER_DAY = 86400,
    INDEX_MASK = 0x7f, // bit 7 of port 0x70 is the NMI mask
};

#define RTC_HZ      32768u
#define UIP_NS      2228000u // 244 us before the update and 1984 us of update
#define HALF_SECOND (NS_PER_SECOND / 2)

// --- the date ------------------------------------------------------------------------------------

static bool divider_runs(const struct rtc *rtc) {
    return (rtc->cmos[CMOS_A] & A_DIVIDER) == A_DIVIDER_32768;
}

static bool is_ticking(const struct rtc *rtc) {
    return divider_runs(rtc) && !(rtc->cmos[CMOS_B] & B_SET);
}

static uint64_t since_phase(const struct rtc *rtc, uint64_t now) {
    return now > rtc->phase_ns ? now - rtc->phase_ns : 0;
}

static int64_t date_at(const struct rtc *rtc, uint64_t now) {
    return rtc->seconds + (int64_t)(since_phase(rtc, now) / NS_PER_SECOND);
}

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

// Writes the date into cmos[], in the format that register B asks for.
static void date_encode(struct rtc *rtc, int64_t seconds) {
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

// Reads it back. A date that does not exist becomes one that does.
static int64_t date_decode(struct rtc *rtc) {
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

static bool is_date_register(uint8_t index) {
    return index == CMOS_CENTURY || index == CMOS_SECOND || index == CMOS_MINUTE ||
           (index >= CMOS_HOUR && index <= CMOS_YEAR && index != CMOS_HOUR_ALARM);
}

// Moves the phase to the latest beginning of a second, the date with it.
static void phase_normalize(struct rtc *rtc, uint64_t now) {
    uint64_t whole = since_phase(rtc, now) / NS_PER_SECOND;

    rtc->seconds = calendar_clamp(date_at(rtc, now));
    rtc->phase_ns += whole * NS_PER_SECOND;
}

int64_t rtc_utc(const struct rtc *rtc) {
    struct rtc copy = *rtc;

    return is_ticking(rtc) ? date_at(rtc, device_now(&rtc->device)) : date_decode(&copy);
}

// --- events --------------------------------------------------------------------------------------

// 32768 Hz ticks of the periodic interrupt, 0 when it is off (table "Periodic Interrupt Rate").
static uint32_t periodic_ticks(const struct rtc *rtc) {
    uint32_t rate = rtc->cmos[CMOS_A] & A_RATE;

    if (rate == 0 || !divider_runs(rtc))
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
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

// Seconds from the date `seconds` to the next alarm after it (at least 1); 0: there will be none.
static uint64_t alarm_distance(const struct rtc *rtc, int64_t seconds) {
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

static bool irq_wanted(const struct rtc *rtc) {
    return (rtc->cmos[CMOS_B] & rtc->cmos[CMOS_C] & B_IRQS) != 0;
}

static bool wake_wanted(const struct rtc *rtc) {
    return (rtc->cmos[CMOS_B] & rtc->cmos[CMOS_C] & B_AIE) != 0;
}

static void irq_update(struct rtc *rtc) {
    bool level = irq_wanted(rtc), wake = wake_wanted(rtc);

    if (level != rtc->irq_level) {
        rtc->irq_level = level;
        irq_line_set(&rtc->irq, level);
    }
    if (wake != rtc->wake_level) {
        rtc->wake_level = wake;
        irq_line_set(&rtc->wake, wake);
    }
}

// Brings the flags of register C up to `now`.
static void events_sync(struct rtc *rtc, uint64_t now) {
    uint64_t before = rtc->synced_ns;
    uint32_t period = periodic_ticks(rtc);
    uint64_t distance;
    int64_t date;

    if (now <= before)
        return;
    rtc->synced_ns = now;
    if (period && ticks_from_ns(since_phase(rtc, now), RTC_HZ) / period !=
                      ticks_from_ns(since_phase(rtc, before), RTC_HZ) / period)
        rtc->cmos[CMOS_C] |= C_PF;
    if (is_ticking(rtc)) {
        date = date_at(rtc, before);
        if (date_at(rtc, now) != date) {
            rtc->cmos[CMOS_C] |= C_UF;
            distance = alarm_distance(rtc, date);
            if (distance && (uint64_t)(date_at(rtc, now) - date) >= distance)
                rtc->cmos[CMOS_C] |= C_AF;
        }
    }
    irq_update(rtc);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

// Only for enabled events whose flag is not up yet: the others wait for somebody to look.
static uint64_t rtc_deadline(const struct device *device) {
    const struct rtc *rtc = (const struct rtc *)device;
    uint8_t wanted = rtc->cmos[CMOS_B] & B_IRQS & (uint8_t)~rtc->cmos[CMOS_C];
    uint64_t since = since_phase(rtc, rtc->synced_ns);
    uint64_t second = since / NS_PER_SECOND;
    uint64_t deadline = DEVICE_NO_DEADLINE;
    uint32_t period = periodic_ticks(rtc);
    uint64_t distance;

    if ((wanted & B_PIE) && period)
        deadline = rtc->phase_ns +
                   ns_from_ticks((ticks_from_ns(since, RTC_HZ) / period + 1) * period, RTC_HZ);
    if (!is_ticking(rtc))
        return deadline;
    if (wanted & B_UIE)
        deadline = earlier(deadline, rtc->phase_ns + (second + 1) * NS_PER_SECOND);
    if (wanted & B_AIE) {
        distance = alarm_distance(rtc, rtc->seconds + (int64_t)second);
        if (distance)
            deadline = earlier(deadline, rtc->phase_ns + (second + distance) * NS_PER_SECOND);
    }
    return deadline;
}

static void rtc_run(struct device *device, uint64_t now) {
    events_sync((struct rtc *)device, now);
}

// --- registers -----------------------------------------------------------------------------------

// Registers A and B decide together whether the date runs. A divider that leaves reset makes the
// first update half a second later ("Divider Stages"); SET alone keeps the beat of the seconds.
static void write_control(struct rtc *rtc, uint8_t index, uint8_t value, uint64_t now) {
    bool ticked = is_ticking(rtc), divided = divider_runs(rtc);

    if (ticked) {
        phase_normalize(rtc, now);
        date_encode(rtc, rtc->seconds);
    }
    if (index == CMOS_B && (value & B_SET))
        value &= (uint8_t)~B_UIE;
    rtc->cmos[index] = index == CMOS_A ? value & (uint8_t)~A_UIP : value;
    if (!divided && divider_runs(rtc)) // at the start of the VM's time, later rather than before it
        rtc->phase_ns = now > HALF_SECOND ? now - HALF_SECOND : now;
    if (!is_ticking(rtc) || ticked)
        return; // the bytes, or the date as it was
    if (divided)
        phase_normalize(rtc, now);
    rtc->seconds = date_decode(rtc);
}

static void write_date(struct rtc *rtc, uint8_t value, uint64_t now) {
    if (is_ticking(rtc)) {
        phase_normalize(rtc, now);
        date_encode(rtc, rtc->seconds);
    }
    rtc->cmos[rtc->index] = value;
    if (is_ticking(rtc))
        rtc->seconds = date_decode(rtc);
}

static void write_data(struct rtc *rtc, uint8_t value) {
    uint64_t now = device_now(&rtc->device);

    events_sync(rtc, now);
    if (is_date_register(rtc->index))
        write_date(rtc, value, now);
    else if (rtc->index == CMOS_A || rtc->index == CMOS_B)
        write_control(rtc, rtc->index, value, now);
    else if (rtc->index != CMOS_C && rtc->index != CMOS_D)
        rtc->cmos[rtc->index] = value;
    irq_update(rtc);
    device_deadline_changed(&rtc->device);
}

static uint8_t read_data(struct rtc *rtc) {
    uint64_t now = device_now(&rtc->device);
    uint8_t value;

    if (is_date_register(rtc->index) && is_ticking(rtc))
        date_encode(rtc, date_at(rtc, now));
    value = rtc->cmos[rtc->index];
    if (rtc->index == CMOS_A && is_ticking(rtc) &&
        since_phase(rtc, now) % NS_PER_SECOND >= NS_PER_SECOND - UIP_NS)
        value |= A_UIP;
    if (rtc->index == CMOS_C) {
        events_sync(rtc, now);
        value = rtc->cmos[CMOS_C] | (irq_wanted(rtc) ? C_IRQF : 0);
        rtc->cmos[CMOS_C] = 0;
        irq_update(rtc);
        device_deadline_changed(&rtc->device);
    }
    return value;
}

static uint32_t rtc_read(struct device *device, uint16_t offset, uint8_t size) {
    (void)size;
    return offset == 0 ? 0xff : read_data((struct rtc *)device);
}

static void rtc_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct rtc *rtc = (struct rtc *)device;

    (void)size;
    if (offset == 0)
        rtc->index = value & INDEX_MASK;
    else
        write_data(rtc, (uint8_t)value);
}

void rtc_set_utc(struct rtc *rtc, int64_t utc_seconds) {
    uint64_t now = device_now(&rtc->device);

    events_sync(rtc, now);
    rtc->phase_ns = now;
    rtc->seconds = calendar_clamp(utc_seconds);
    if (!is_ticking(rtc))
        date_encode(rtc, rtc->seconds);
    device_deadline_changed(&rtc->device);
}

// --- reset, save, restore ------------------------------------------------------------------------

// The reset pin: a battery keeps everything but interrupt enables and flags.
static void rtc_reset(struct device *device) {
    struct rtc *rtc = (struct rtc *)device;

    events_sync(rtc, device_now(device));
    rtc->cmos[CMOS_B] &= (uint8_t)~B_IRQS;
    rtc->cmos[CMOS_C] = 0;
    rtc->index = 0;
    irq_update(rtc);
    device_deadline_changed(device);
}

struct rtc_record {
    int64_t seconds;
    uint64_t phase_ns, synced_ns;
    uint8_t index, weekday_shift;
    uint8_t cmos[RTC_CMOS_BYTES];
} __attribute__((packed));

static_assert(sizeof(struct rtc_record) == 154, "format of a saved RTC, version 1");

static void rtc_save(const struct device *device, void *record) {
    const struct rtc *rtc = (const struct rtc *)device;
    struct rtc_record r = {.seconds = rtc->seconds,
                           .phase_ns = rtc->phase_ns,
                           .synced_ns = rtc->synced_ns,
                           .index = rtc->index,
                           .weekday_shift = rtc->weekday_shift};

    memcpy(r.cmos, rtc->cmos, sizeof(r.cmos));
    memcpy(record, &r, sizeof(r));
}

static bool record_is_valid(const struct rtc_record *r, uint64_t now) {
    if (r->seconds < CALENDAR_FIRST_SECOND || r->seconds > CALENDAR_LAST_SECOND)
        return false;
    if (r->phase_ns > now || r->synced_ns > now || r->index > INDEX_MASK || r->weekday_shift > 6)
        return false;
    return !(r->cmos[CMOS_A] & A_UIP) && !(r->cmos[CMOS_C] & ~C_FLAGS) &&
           r->cmos[CMOS_D] == D_VALID && !((r->cmos[CMOS_B] & B_SET) && (r->cmos[CMOS_B] & B_UIE));
}

static enum device_error rtc_restore(struct device *device, const void *record, uint32_t version,
                                     uint32_t size) {
    struct rtc *rtc = (struct rtc *)device;
    enum device_error error = device_check_record(device, version, size);
    struct rtc_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if (!record_is_valid(&r, device_now(device)))
        return DEVICE_RECORD_VALUE;
    rtc->seconds = r.seconds;
    rtc->phase_ns = r.phase_ns;
    rtc->synced_ns = r.synced_ns;
    rtc->index = r.index;
    rtc->weekday_shift = r.weekday_shift;
    memcpy(rtc->cmos, r.cmos, sizeof(rtc->cmos));
    rtc->irq_level = irq_wanted(rtc);
    rtc->wake_level = wake_wanted(rtc);
    return DEVICE_OK;
}

static const struct device_ops rtc_ops = {
    .name = "rtc",
    .version = 1,
    .record_size = sizeof(struct rtc_record),
    .reset = rtc_reset,
    .port_read = rtc_read,
    .port_write = rtc_write,
    .deadline = rtc_deadline,
    .run = rtc_run,
    .save = rtc_save,
    .restore = rtc_restore,
};

void rtc_init(struct rtc *rtc, const struct device_host *host, struct irq_line irq,
              int64_t utc_seconds) {
    *rtc = (struct rtc){.device = {.ops = &rtc_ops, .host = host}, .irq = irq};
    rtc->cmos[CMOS_A] = A_DIVIDER_32768 | A_RESET;
    rtc->cmos[CMOS_B] = B_24H;
    rtc->cmos[CMOS_D] = D_VALID;
    rtc->seconds = calendar_clamp(utc_seconds);
}

void rtc_set_wake(struct rtc *rtc, struct irq_line wake) {
    rtc->wake = wake;
}

enum bus_error rtc_attach(struct rtc *rtc, struct bus *bus) {
    return bus_add_ports(bus, PC_PORT_RTC, 2, &rtc->device, 0, 1);
}
