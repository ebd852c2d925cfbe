// SPDX-License-Identifier: Apache-2.0
// The MC146818: its clock, events and their interrupt, registers, save and restore.
//
// The date runs while register A selects the 32768 Hz time base and SET is clear (`is_ticking`).
// Going in and out of that state (freeze, thaw) moves it between `seconds` and the bytes in cmos[].
#include "vmm/device/rtc.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/calendar.h"
#include "vmm/device/pc.h"
#include "vmm/device/rtc_date.h"
#include "vmm/device/ticks.h"

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

    return is_ticking(rtc) ? date_at(rtc, device_now(&rtc->device)) : rtc_date_decode(&copy);
}

// --- events --------------------------------------------------------------------------------------

// 32768 Hz ticks of the periodic interrupt, 0 when it is off (table "Periodic Interrupt Rate").
static uint32_t periodic_ticks(const struct rtc *rtc) {
    uint32_t rate = rtc->cmos[CMOS_A] & A_RATE;

    if (rate == 0 || !divider_runs(rtc))
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
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
            distance = rtc_alarm_distance(rtc, date);
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
        distance = rtc_alarm_distance(rtc, rtc->seconds + (int64_t)second);
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
        rtc_date_encode(rtc, rtc->seconds);
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
    rtc->seconds = rtc_date_decode(rtc);
}

static void write_date(struct rtc *rtc, uint8_t value, uint64_t now) {
    if (is_ticking(rtc)) {
        phase_normalize(rtc, now);
        rtc_date_encode(rtc, rtc->seconds);
    }
    rtc->cmos[rtc->index] = value;
    if (is_ticking(rtc))
        rtc->seconds = rtc_date_decode(rtc);
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
        rtc_date_encode(rtc, date_at(rtc, now));
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
        rtc_date_encode(rtc, rtc->seconds);
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
