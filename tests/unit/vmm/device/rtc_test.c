// SPDX-License-Identifier: Apache-2.0
// The RTC: dates in all formats, setting them as Linux does, interrupts, memory.
#include "tests/unit/vmm/device/harness.h"

#include <time.h>

#include "vmm/device/calendar.h"
#include "vmm/device/rtc.h"
#include "vmm/device/ticks.h"

#define UTC 1700000000LL // Tuesday 2023-11-14 22:13:20

static struct dev_world world;
static struct dev_line line;
static struct rtc rtc;

static void rtc_setup(void) {
    dev_world_init(&world);
    rtc_init(&rtc, &world.host, dev_line(&line), UTC);
}

static uint8_t get(uint8_t index) {
    dev_out(&rtc.device, 0, index);
    return dev_in(&rtc.device, 1);
}

static void put(uint8_t index, uint8_t value) {
    dev_out(&rtc.device, 0, index);
    dev_out(&rtc.device, 1, value);
}

static void run_for(uint64_t ns) {
    dev_run_until(&world, &rtc.device, world.now + ns);
}

TestSuite(dev_rtc, .init = rtc_setup);

Test(dev_rtc, calendar_agrees_with_the_c_library) {
    uint64_t seed = 11;

    for (uint32_t i = 0; i < 200000; i++) {
        int64_t span = CALENDAR_LAST_SECOND - CALENDAR_FIRST_SECOND + 1;
        time_t t = (time_t)(CALENDAR_FIRST_SECOND + (int64_t)(dev_random(&seed) % (uint64_t)span));
        struct calendar_date date = calendar_from_seconds(t);
        struct tm tm;

        gmtime_r(&t, &tm);
        cr_assert_eq(date.year, tm.tm_year + 1900);
        cr_assert_eq(date.month, tm.tm_mon + 1);
        cr_assert_eq(date.day, tm.tm_mday);
        cr_assert_eq(date.hour, tm.tm_hour);
        cr_assert_eq(date.minute, tm.tm_min);
        cr_assert_eq(date.second, tm.tm_sec);
        cr_assert_eq(date.weekday, tm.tm_wday);
        cr_assert_eq(calendar_to_seconds(&date), t);
    }
    cr_assert_eq(calendar_clamp(INT64_MAX), CALENDAR_LAST_SECOND);
    cr_assert_eq(calendar_clamp(INT64_MIN), CALENDAR_FIRST_SECOND);
}

Test(dev_rtc, reads_bcd_24h) {
    cr_assert_eq(get(0x0a), 0x26, "UIP clear");
    cr_assert_eq(get(0x0b), 0x02);
    cr_assert_eq(get(0x0d), 0x80);
    cr_assert_eq(get(0x00), 0x20);
    cr_assert_eq(get(0x02), 0x13);
    cr_assert_eq(get(0x04), 0x22);
    cr_assert_eq(get(0x06), 0x03, "Tuesday");
    cr_assert_eq(get(0x07), 0x14);
    cr_assert_eq(get(0x08), 0x11);
    cr_assert_eq(get(0x09), 0x23);
    cr_assert_eq(get(0x32), 0x20);
    cr_assert_eq(dev_in(&rtc.device, 0), 0xff, "the index is write only");
    dev_out(&rtc.device, 0, 0x80 | 0x02); // with the NMI mask bit
    cr_assert_eq(dev_in(&rtc.device, 1), 0x13);
}

Test(dev_rtc, reads_binary_and_12h) {
    put(0x0b, 0x04);
    cr_assert_eq(get(0x04), 0x80 | 10);
    cr_assert_eq(get(0x09), 23);
    cr_assert_eq(get(0x32), 0x20, "the century stays BCD");
    world.now = 2 * 3600 * NS_PER_SECOND;
    cr_assert_eq(get(0x04), 12, "midnight is 12 AM");
    cr_assert_eq(get(0x07), 15);
    world.now += 12 * 3600 * NS_PER_SECOND;
    cr_assert_eq(get(0x04), 0x80 | 12, "noon is 12 PM");
}

Test(dev_rtc, uip_announces_the_update) {
    world.now = NS_PER_SECOND - 2228001;
    cr_assert_eq(get(0x0a), 0x26);
    world.now = NS_PER_SECOND - 2228000;
    cr_assert_eq(get(0x0a), 0xa6);
    world.now = NS_PER_SECOND - 1;
    cr_assert_eq(get(0x0a), 0xa6);
    cr_assert_eq(get(0x00), 0x20);
    world.now = NS_PER_SECOND;
    cr_assert_eq(get(0x0a), 0x26);
    cr_assert_eq(get(0x00), 0x21);
}

// mc146818_set_time() of Linux.
Test(dev_rtc, linux_sets_the_date) {
    uint8_t control, select;

    world.now = 12345678901;
    control = get(0x0b);
    put(0x0b, control | 0x80);
    select = get(0x0a);
    put(0x0a, select | 0x70);
    put(0x09, 0x24);
    put(0x08, 0x02);
    put(0x07, 0x29);
    put(0x04, 0x23);
    put(0x02, 0x59);
    put(0x00, 0x58);
    put(0x32, 0x20);
    world.now += 5 * NS_PER_SECOND;
    cr_assert_eq(get(0x00), 0x58, "it stands still");
    put(0x0b, control);
    put(0x0a, select);
    world.now += 499999999;
    cr_assert_eq(get(0x00), 0x58);
    world.now += 1;
    cr_assert_eq(get(0x00), 0x59, "half a second after the divider's reset");
    cr_assert_eq(rtc_utc(&rtc), 1709251199);
    world.now += NS_PER_SECOND;
    cr_assert_eq(get(0x07), 0x01);
    cr_assert_eq(get(0x08), 0x03);
}

Test(dev_rtc, set_alone_keeps_the_beat) {
    world.now = 10 * NS_PER_SECOND + 300000000;
    put(0x0b, 0x82);
    put(0x00, 0x30);
    world.now += 4 * NS_PER_SECOND;
    put(0x0b, 0x02);
    cr_assert_eq(get(0x00), 0x30);
    world.now = 15 * NS_PER_SECOND;
    cr_assert_eq(get(0x00), 0x31);
}

Test(dev_rtc, single_register_may_be_set_on_the_run) {
    put(0x04, 0x05);
    cr_assert_eq(get(0x04), 0x05);
    cr_assert_eq(rtc_utc(&rtc), UTC - 17 * 3600);
    put(0x06, 0x07); // the guest's own idea of the day of the week
    cr_assert_eq(get(0x06), 0x07);
    world.now += 86400 * NS_PER_SECOND;
    cr_assert_eq(get(0x06), 0x01);
}

Test(dev_rtc, impossible_dates_become_possible) {
    static const uint8_t registers[] = {0, 2, 4, 6, 7, 8, 9, 0x32};

    put(0x0b, 0x82);
    for (size_t i = 0; i < sizeof(registers); i++)
        put(registers[i], 0xff);
    put(0x0b, 0x02);
    cr_assert_leq(rtc_utc(&rtc), CALENDAR_LAST_SECOND);
    cr_assert_leq(get(0x08), 0x12);
    put(0x0b, 0x82);
    for (size_t i = 0; i < sizeof(registers); i++)
        put(registers[i], 0x00);
    put(0x0b, 0x02);
    cr_assert_geq(rtc_utc(&rtc), CALENDAR_FIRST_SECOND);
}

Test(dev_rtc, update_interrupt_comes_each_second) {
    world.now = 500;
    put(0x0b, 0x12);
    for (uint32_t i = 1; i <= 5; i++) {
        run_for(NS_PER_SECOND);
        cr_assert_eq(line.rises, i);
        cr_assert_eq(get(0x0c), 0x90 | 0x40); // PF is up too, enabled or not
        cr_assert_not(line.level);
    }
    run_for(10 * NS_PER_SECOND);
    cr_assert_eq(line.rises, 6, "none while the flag is up");
    put(0x0b, 0x92);
    cr_assert_eq(get(0x0b), 0x82, "SET clears UIE");
    cr_assert_not(line.level);
}

Test(dev_rtc, periodic_interrupt_has_its_rate) {
    put(0x0a, 0x26);
    put(0x0b, 0x42);
    for (uint32_t i = 0; i < 10240; i++) {
        uint64_t deadline = rtc.device.ops->deadline(&rtc.device);

        world.now = deadline;
        rtc.device.ops->run(&rtc.device, deadline);
        cr_assert(line.level);
        cr_assert_eq(get(0x0c) & 0xc0, 0xc0);
    }
    cr_assert_eq(world.now, 10 * NS_PER_SECOND, "1024 Hz without drift");
    put(0x0a, 0x21);
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device) - world.now, NS_PER_SECOND / 256);
    put(0x0a, 0x20);
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), DEVICE_NO_DEADLINE);
}

Test(dev_rtc, alarm_goes_off_at_its_time) {
    put(0x01, 0x10);
    put(0x03, 0x00);
    put(0x05, 0x07);
    put(0x0b, 0x22);
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), 31610 * NS_PER_SECOND);
    run_for(31610 * NS_PER_SECOND);
    cr_assert(line.level);
    cr_assert_eq(get(0x04), 0x07);
    cr_assert_eq(get(0x0c) & 0xa0, 0xa0);
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (31610 + 86400ULL) * NS_PER_SECOND);
    put(0x05, 0xc0); // every hour
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (31610 + 3600ULL) * NS_PER_SECOND);
    put(0x03, 0xff); // every minute
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (31610 + 60ULL) * NS_PER_SECOND);
    put(0x01, 0xff); // every second
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (31610 + 1ULL) * NS_PER_SECOND);
    put(0x01, 0x60); // never
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), DEVICE_NO_DEADLINE);
}

// Against the plain rule: the first of the next 86400 seconds whose fields match.
Test(dev_rtc, alarm_search_agrees_with_the_rule) {
    uint64_t seed = 5;

    put(0x0b, 0x26);
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t s = (uint8_t)(dev_random(&seed) % 80 + (i % 5 == 0 ? 0xc0 : 0));
        uint8_t m = (uint8_t)(dev_random(&seed) % 62 + (i % 3 == 0 ? 0xc0 : 0));
        uint8_t h = (uint8_t)(dev_random(&seed) % 26 + (i % 2 == 0 ? 0xc0 : 0));
        uint64_t expected = DEVICE_NO_DEADLINE;

        world.now += dev_random(&seed) % 86400 * NS_PER_SECOND;
        put(0x01, s);
        put(0x03, m);
        put(0x05, h);
        get(0x0c);
        for (int64_t d = 1; d <= 86400 && expected == DEVICE_NO_DEADLINE; d++) {
            int64_t in_day = (rtc_utc(&rtc) + d) % 86400;

            if ((s >= 0xc0 || in_day % 60 == s) && (m >= 0xc0 || in_day / 60 % 60 == m) &&
                (h >= 0xc0 || in_day / 3600 == h))
                expected = (world.now / NS_PER_SECOND + (uint64_t)d) * NS_PER_SECOND;
        }
        cr_assert_eq(rtc.device.ops->deadline(&rtc.device), expected, "%x:%x:%x", h, m, s);
    }
}

// Against the plain rule, day by day; and the flag is right however late somebody looks.
Test(dev_rtc, alarm_of_a_date_agrees_with_the_rule) {
    uint64_t seed = 17;

    put(0x0b, 0x26);
    put(0x01, 30);
    put(0x03, 20);
    put(0x05, 10);
    for (uint32_t i = 0; i < 400; i++) {
        uint8_t day = (uint8_t)(dev_random(&seed) % 33), month = (uint8_t)(dev_random(&seed) % 14);
        uint64_t expected = DEVICE_NO_DEADLINE;

        if (i % 4 == 0)
            month = i % 8 ? 0xff : 0;
        if (i % 3 == 0)
            day = i % 2 ? 0xc0 : 0;
        world.now += dev_random(&seed) % (400 * 86400) * NS_PER_SECOND;
        put(RTC_ALARM_DAY, day);
        put(RTC_ALARM_MONTH, month);
        get(0x0c);
        int64_t utc = rtc_utc(&rtc), first = utc - utc % 86400 + 10 * 3600 + 20 * 60 + 30;
        for (int64_t at = first; at < first + 3000 * 86400LL; at += 86400) {
            struct calendar_date date = calendar_from_seconds(at);

            if (at > utc && (day == 0 || day >= 0xc0 || day == date.day) &&
                (month == 0 || month >= 0xc0 || month == date.month)) {
                expected = world.now + (uint64_t)(at - utc) * NS_PER_SECOND;
                break;
            }
        }
        cr_assert_eq(rtc.device.ops->deadline(&rtc.device), expected, "day %x of %x", day, month);
        if (expected == DEVICE_NO_DEADLINE)
            continue;
        put(0x0b, 0x06); // nobody is told
        world.now = expected - 1;
        cr_assert_eq(get(0x0c) & 0x20, 0);
        world.now = expected + dev_random(&seed) % 86400 * NS_PER_SECOND;
        cr_assert_eq(get(0x0c) & 0x20, 0x20);
        put(0x0b, 0x26);
    }
}

Test(dev_rtc, leap_day_is_awaited_for_eight_years) {
    put(0x0b, 0x26);
    put(0x01, 0);
    put(0x03, 0);
    put(0x05, 0);
    put(RTC_ALARM_DAY, 29);
    put(RTC_ALARM_MONTH, 2);
    rtc_set_utc(&rtc, 4107542400); // 2100-03-01: no leap year before 2104
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (4233686400 - 4107542400) * NS_PER_SECOND);
    rtc_set_utc(&rtc, 3981312001); // 2096-02-29, a second too late: 2100 is none
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), (4233686400 - 3981312001) * NS_PER_SECOND);
    put(RTC_ALARM_DAY, 30);
    cr_assert_eq(rtc.device.ops->deadline(&rtc.device), DEVICE_NO_DEADLINE);
    put(RTC_ALARM_DAY, 0);
    rtc_set_utc(&rtc, CALENDAR_LAST_SECOND - 5);
    (void)rtc.device.ops->deadline(&rtc.device); // behind the last of all dates
}

Test(dev_rtc, alarm_wakes) {
    struct dev_line wake;

    rtc_set_wake(&rtc, dev_line(&wake));
    put(0x01, 0x22);
    put(0x03, 0xff);
    put(0x05, 0xff);
    put(0x0b, 0x32); // with the update interrupt
    run_for(NS_PER_SECOND);
    cr_assert(line.level);
    cr_assert_not(wake.level);
    run_for(NS_PER_SECOND);
    cr_assert(wake.level);
    get(0x0c);
    cr_assert_not(wake.level);
    run_for(60 * NS_PER_SECOND);
    put(0x0b, 0x02);
    cr_assert_not(wake.level);
    cr_assert_eq(wake.rises, 2);
}

Test(dev_rtc, memory_is_described) {
    uint16_t sum = 0;

    rtc_set_memory(&rtc, 0xc0000000, 5ULL << 30);
    cr_assert_eq(get(0x15) | get(0x16) << 8, 640);
    cr_assert_eq(get(0x17) | get(0x18) << 8, 0xffff);
    cr_assert_eq(get(0x30) | get(0x31) << 8, 0xffff);
    cr_assert_eq(get(0x34) | get(0x35) << 8, (0xc0000000 >> 16) - 256);
    cr_assert_eq(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 << 14);
    for (uint8_t i = 0x10; i <= 0x2d; i++)
        sum = (uint16_t)(sum + get(i));
    cr_assert_eq(get(0x2e) << 8 | get(0x2f), sum);
    rtc_set_memory(&rtc, 8 << 20, 0);
    cr_assert_eq(get(0x30) | get(0x31) << 8, 7168);
    cr_assert_eq(get(0x34) | get(0x35) << 8, 0);
    put(0x0f, 0x05); // shutdown status: plain memory
    cr_assert_eq(get(0x0f), 0x05);
    put(0x0d, 0x00);
    cr_assert_eq(get(0x0d), 0x80);
}

Test(dev_rtc, host_corrects_the_date) {
    world.now = 777;
    rtc_set_utc(&rtc, UTC + 1000000);
    cr_assert_eq(rtc_utc(&rtc), UTC + 1000000);
    put(0x0b, 0x82);
    rtc_set_utc(&rtc, UTC);
    put(0x0b, 0x02);
    cr_assert_eq(rtc_utc(&rtc), UTC);
}

Test(dev_rtc, reset_keeps_what_the_battery_keeps) {
    put(0x0b, 0x72);
    put(0x40, 0x5a);
    run_for(2 * NS_PER_SECOND);
    cr_assert(line.level);
    rtc.device.ops->reset(&rtc.device);
    cr_assert_not(line.level);
    cr_assert_eq(get(0x0b), 0x02);
    cr_assert_eq(get(0x40), 0x5a);
    cr_assert_eq(rtc_utc(&rtc), UTC + 2);
}

Test(dev_rtc, record_round_trips) {
    struct dev_line other_line;
    struct rtc other;

    put(0x06, 0x05);
    put(0x0b, 0x72);
    put(0x01, 0xff);
    run_for(1234567890);
    rtc_init(&other, &world.host, dev_line(&other_line), 0);
    dev_check_records(&rtc.device, &other.device);
    cr_assert_eq(rtc_utc(&other), rtc_utc(&rtc));
    cr_assert_eq(other.irq_level, rtc.irq_level);
    dev_check_bad_value(&rtc.device, 0, 8, UINT64_MAX >> 1); // date
    dev_check_bad_value(&rtc.device, 8, 8, world.now + 1);   // phase
    dev_check_bad_value(&rtc.device, 16, 8, world.now + 1);  // synced
    dev_check_bad_value(&rtc.device, 24, 1, 0x80);           // index
    dev_check_bad_value(&rtc.device, 25, 1, 7);              // weekday
    dev_check_bad_value(&rtc.device, 26 + 0x0a, 1, 0xa6);    // UIP
    dev_check_bad_value(&rtc.device, 26 + 0x0b, 1, 0x90);    // SET with UIE
    dev_check_bad_value(&rtc.device, 26 + 0x0c, 1, 0x80);    // IRQF is not a flag
    dev_check_bad_value(&rtc.device, 26 + 0x0d, 1, 0x00);
}
