// SPDX-License-Identifier: Apache-2.0
// What wakes a system that sleeps to idle: the RTC's alarm, with day and month, and the power
// button, each through the ACPI interrupt. The RTC's own line stays masked, as a sleeping system
// has it. `button` waits for somebody to press it.
#include "runtime/acpi.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR         0x51
#define SCI_INPUT      9u
#define STS_BUTTON     BIT(8)
#define STS_RTC        BIT(10)
#define FADT_NO_RTC    BIT(6)
#define FADT_NO_BUTTON BIT(4)
#define FADT_DAY       106u
#define FADT_MONTH     107u

#define SECONDS       0x00
#define SECONDS_ALARM 0x01
#define MINUTES       0x02
#define MINUTES_ALARM 0x03
#define HOURS         0x04
#define HOURS_ALARM   0x05
#define DAY           0x07
#define MONTH         0x08
#define STATUS_B      0x0b
#define STATUS_C      0x0c
#define B_ALARM       0x20u
#define AHEAD         2u // seconds until the alarm, so that it cannot have begun already

static uint16_t events; // port of PM1_STS; PM1_EN follows
static uint16_t seen;

static uint8_t cmos_read(uint8_t index) {
    out8(0x70, index);
    return in8(0x71);
}

static void cmos_write(uint8_t index, uint8_t value) {
    out8(0x70, index);
    out8(0x71, value);
}

static void on_sci(struct trap_frame *frame) {
    (void)frame;
    seen |= in16(events);
    out16(events, seen);
    lapic_eoi();
}

// From here on the event is not lost, however late we sleep.
static void listen_for(uint16_t event) {
    seen = 0;
    out16(events, 0xffff);
    out16(events + 2, event);
}

// Halts until the event comes: nothing else can wake it.
static void sleep_until(uint16_t event) {
    interrupts_off();
    while (!(seen & event)) {
        interrupts_on_and_halt();
        interrupts_off();
    }
    CHECK_EQ(seen, event);
    CHECK_EQ(in16(events) & event, 0);
    out16(events + 2, 0);
}

// All numbers are BCD.
static uint32_t second(void) {
    uint8_t bcd = cmos_read(SECONDS);
    return (bcd >> 4) * 10u + (bcd & 0xf);
}

static void check_alarm(void) {
    const uint8_t *fadt = acpi_find("FACP");
    uint8_t day = (uint8_t)acpi_field(fadt, FADT_DAY, 1);
    uint8_t month = (uint8_t)acpi_field(fadt, FADT_MONTH, 1);
    CHECK_EQ(acpi_field(fadt, FADT_FLAGS, 4) & FADT_NO_RTC, 0);
    CHECK(day != 0 && month != 0);
    cmos_write(day, cmos_read(DAY));
    cmos_write(month, cmos_read(MONTH));
    cmos_write(HOURS_ALARM, 0xff);
    cmos_write(MINUTES_ALARM, 0xff);
    listen_for(STS_RTC);
    uint32_t wanted = (second() + AHEAD) % 60;
    cmos_write(SECONDS_ALARM, (uint8_t)(wanted / 10 << 4 | wanted % 10));
    (void)cmos_read(STATUS_C);
    cmos_write(STATUS_B, cmos_read(STATUS_B) | B_ALARM);
    sleep_until(STS_RTC);
    // Not early; others may have run since, for less than a minute.
    CHECK((second() + 60 - wanted) % 60 < 60 - AHEAD);
    CHECK_EQ(cmos_read(STATUS_C) & B_ALARM, B_ALARM);
}

void test(void) {
    const uint8_t *fadt = acpi_find("FACP");
    events = (uint16_t)acpi_field(fadt, FADT_PM1A_EVENT, 4);
    CHECK_EQ(acpi_field(fadt, FADT_SCI, 2), SCI_INPUT);
    lapic_init(false);
    trap_set_handler(VECTOR, on_sci);
    ioapic_route(SCI_INPUT, VECTOR);
    ioapic_write(IOAPIC_ENTRY(SCI_INPUT), IOAPIC_LEVEL | VECTOR);
    if (!cmdline_has("button")) {
        check_alarm();
        return;
    }
    CHECK_EQ(acpi_field(fadt, FADT_FLAGS, 4) & FADT_NO_BUTTON, 0);
    listen_for(STS_BUTTON);
    print("waits for its power button\n");
    sleep_until(STS_BUTTON);
}
