// SPDX-License-Identifier: Apache-2.0
// The MC146818 real-time clock with 114 bytes of CMOS memory, of the PC/AT.
//
// Setup: rtc_init() with the date at time 0 of the VM, rtc_set_memory() as the firmware would,
// rtc_set_wake(), rtc_attach(). After a restore the VMM may correct the date with rtc_set_utc().
//
// The date is computed from device time, so an idle RTC costs nothing; deadlines exist only for
// enabled interrupts. UIP reads 1 during the last 2228 us of each second, as in the data sheet (244
// us warning and 1984 us update).
//
// Besides the chip's three bytes the alarm has a day of the month and a month, as the FADT says: 0
// there, or both upper bits set, is any.
//
// Source: "MC146818AS Real-Time Clock plus RAM" (Motorola, 1988), "Address Map" to "Registers";
// century at 0x32 and the memory size bytes: "PS/2 and PC BIOS Interface Technical Reference" (IBM,
// 1991), "CMOS RAM"; 0x34 and 0x5b: Bochs BIOS, "rombios.c"; day and month of the alarm: ACPI 6.5,
// 4.8.2.4 "Real Time Clock Alarm", at the places of the VT82C686B (VIA, 2000), "CMOS / RTC I/O
// Registers". Invariants: `index` < 128; `seconds` is a date of the years 0 to 9999; phase_ns,
// synced_ns <= now, so a restore needs device time to be set first. While the date stands still
// (SET, or the divider is held in reset) it is what cmos[] says; else it is `seconds` plus the
// whole seconds since phase_ns.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define RTC_CMOS_BYTES  128u // those of date and status included
#define RTC_ALARM_DAY   0x7du
#define RTC_ALARM_MONTH 0x7eu
#define RTC_CENTURY     0x32u

struct rtc {
    struct device device;
    struct irq_line irq;
    struct irq_line wake;
    uint8_t index;
    uint8_t
        weekday_shift; // what the guest made of the day of the week: 0..6 later than the true one
    bool irq_level, wake_level;
    uint8_t cmos[RTC_CMOS_BYTES]; // see above for the date; flags of register C up to synced_ns
    int64_t seconds;              // date, in seconds since 1970 UTC, at phase_ns
    uint64_t phase_ns;            // a time at which a second began
    uint64_t synced_ns;           // register C has every event up to here
};

void rtc_init(struct rtc *rtc, const struct device_host *host, struct irq_line irq,
              int64_t utc_seconds);

enum bus_error rtc_attach(struct rtc *rtc, struct bus *bus);

// Writes the memory size bytes (0x15..0x18, 0x30, 0x31, 0x34, 0x35, 0x5b..0x5d) and their checksum:
// bytes of RAM below 4 GiB and from 4 GiB on.
void rtc_set_memory(struct rtc *rtc, uint64_t low_bytes, uint64_t high_bytes);

// Another line, which is asserted while the interrupt line is because of the alarm.
void rtc_set_wake(struct rtc *rtc, struct irq_line wake);

// Sets the date, as after a restore. It starts a new second.
void rtc_set_utc(struct rtc *rtc, int64_t utc_seconds);

// The date that the guest would read now.
int64_t rtc_utc(const struct rtc *rtc);
