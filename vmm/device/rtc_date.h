// SPDX-License-Identifier: Apache-2.0
// The registers of the MC146818, and what its bytes say of the date and of the alarm. For rtc.c.
#pragma once

#include "vmm/device/rtc.h"

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

    INDEX_MASK = 0x7f, // bit 7 of port 0x70 is the NMI mask
};

// Writes the date into cmos[], in the format that register B asks for.
void rtc_date_encode(struct rtc *rtc, int64_t seconds);

// Reads it back. A date that does not exist becomes one that does.
int64_t rtc_date_decode(struct rtc *rtc);

// Seconds from the date `seconds` to the next alarm after it (at least 1); 0: there will be none.
uint64_t rtc_alarm_distance(const struct rtc *rtc, int64_t seconds);
