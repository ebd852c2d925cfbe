// SPDX-License-Identifier: Apache-2.0
// The format of the CMOS clock. Pure. MC146818A data sheet, "Address Map" and "Register B".
#pragma once

#include "lib/types.h"

enum rtc_index {
    RTC_SECOND = 0x00,
    RTC_MINUTE = 0x02,
    RTC_HOUR = 0x04,
    RTC_DAY = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_STATUS_A = 0x0a,
    RTC_STATUS_B = 0x0b,
};

#define RTC_UPDATING 0x80u // status A
#define RTC_24_HOURS 0x02u // status B
#define RTC_BINARY   0x04u // status B, else BCD
#define RTC_PM       0x80u // of a 12-hour hour

// As read. `century` counts only with has_century; without, years are 2000 to 2099.
struct rtc_registers {
    uint8_t second, minute, hour, day, month, year, century, status_b;
    bool has_century;
};

bool rtc_is_equal(const struct rtc_registers *a, const struct rtc_registers *b);
// Seconds since 1970-01-01. False: not a date from 1970 on.
bool rtc_decode(const struct rtc_registers *rtc, uint64_t *seconds);
