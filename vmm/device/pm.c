// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware: events and the SCI, the timer, the control register, save and restore. All
// registers take byte, word and double-word accesses: a read is cut out of the 12-byte block, a
// write is applied byte by byte.
#include "vmm/device/pm.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/ticks.h"

enum {
    STS_TIMER = 1 << 0,
    STS_POWER_BUTTON = 1 << 8,
    STS_RTC = 1 << 10,
    STS_MASK = STS_TIMER | STS_POWER_BUTTON | STS_RTC, // the events that exist

    EN_TIMER = 1 << 0,
    EN_MASK = 1 << 0 | 1 << 5 | 1 << 8 | 1 << 10, // timer, global lock, power button, RTC

    CNT_SCI_EN = 1 << 0,
    CNT_BM_RLD = 1 << 1,
    CNT_SLP_TYP_SHIFT = 10,
    CNT_SLP_TYP = 7 << CNT_SLP_TYP_SHIFT,
    CNT_SLP_EN = 1 << 13,
    CNT_KEPT = CNT_BM_RLD | CNT_SLP_TYP,

    PORT_EN = 2,
};

#define HALF_TURN_SHIFT 31 // TMR_STS: "the most significant bit changes", from 0 to 1 or back

static uint64_t timer_ticks(const struct pm *pm) {
    return ticks_from_ns(device_now(&pm->device), PM_TIMER_HZ);
}

// --- events --------------------------------------------------------------------------------------

static bool sci_wanted(const struct pm *pm) {
    return (pm->status & pm->enable) != 0;
}

static void sci_update(struct pm *pm) {
    bool level = sci_wanted(pm);

    if (level == pm->sci_level)
        return;
    pm->sci_level = level;
    irq_line_set(&pm->sci, level);
}

static void timer_sync(struct pm *pm, uint64_t ticks) {
    uint64_t half_turns = ticks >> HALF_TURN_SHIFT;

    if (half_turns <= pm->half_turns)
        return;
    pm->half_turns = half_turns;
    pm->status |= STS_TIMER;
    sci_update(pm);
}

static uint64_t pm_deadline(const struct device *device) {
    const struct pm *pm = (const struct pm *)device;

    if (!(pm->enable & EN_TIMER) || (pm->status & STS_TIMER))
        return DEVICE_NO_DEADLINE;
    return ns_from_ticks((pm->half_turns + 1) << HALF_TURN_SHIFT, PM_TIMER_HZ);
}

static void pm_run(struct device *device, uint64_t now) {
    timer_sync((struct pm *)device, ticks_from_ns(now, PM_TIMER_HZ));
}

void pm_power_button(struct pm *pm) {
    pm->status |= STS_POWER_BUTTON;
    sci_update(pm);
}

static void rtc_alarm(void *opaque, uint32_t number, bool level) {
    struct pm *pm = opaque;

    (void)number;
    if (!level)
        return;
    pm->status |= STS_RTC;
    sci_update(pm);
}

struct irq_line pm_rtc_line(struct pm *pm) {
    return (struct irq_line){.set = rtc_alarm, .opaque = pm};
}

// --- registers -----------------------------------------------------------------------------------

static uint32_t pm_read(struct device *device, uint16_t offset, uint8_t size) {
    struct pm *pm = (struct pm *)device;
    uint64_t ticks = timer_ticks(pm);
    uint64_t event, value;

    timer_sync(pm, ticks);
    event = (uint64_t)pm->status | (uint64_t)pm->enable << 16 |
            (uint64_t)(pm->control | CNT_SCI_EN) << 32;
    if (offset >= PM_PORT_TIMER)
        value = (uint32_t)ticks >> 8 * (offset - PM_PORT_TIMER);
    else // an access across the two blocks sees no timer
        value = event >> 8 * offset;
    return (uint32_t)value & UINT32_MAX >> (32 - 8 * size);
}

// SLP_EN is a command: it reads 0. It acts on the sleep type that is written along with it.
static void write_control_high(struct pm *pm, uint8_t byte) {
    uint16_t value = (uint16_t)(byte << 8);

    pm->control = (pm->control & 0xff) | (value & CNT_KEPT);
    if ((value & CNT_SLP_EN) && (value & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT == PM_SLP_TYP_S5)
        pm->backend.power_off(pm->backend.opaque);
}

static void write_byte(struct pm *pm, uint32_t offset, uint8_t byte) {
    uint32_t shift = offset % 2 * 8;
    uint16_t value = (uint16_t)(byte << shift), keep = (uint16_t) ~(0xff << shift);

    switch (offset & ~1u) {
    case PM_PORT_EVENT:
        pm->status &= (uint16_t)~value;
        break;
    case PORT_EN:
        pm->enable = (pm->enable & keep) | (value & EN_MASK);
        break;
    case PM_PORT_CNT:
        if (offset % 2)
            write_control_high(pm, byte);
        else
            pm->control = (pm->control & keep) | (value & CNT_KEPT);
        break;
    default: // reserved, timer: read only
        break;
    }
}

static void pm_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct pm *pm = (struct pm *)device;

    timer_sync(pm, timer_ticks(pm));
    for (uint32_t i = 0; i < size; i++)
        write_byte(pm, offset + i, (uint8_t)(value >> 8 * i));
    sci_update(pm);
    device_deadline_changed(device);
}

// --- reset, save, restore ------------------------------------------------------------------------

static void pm_reset(struct device *device) {
    struct pm *pm = (struct pm *)device;

    pm->status = pm->enable = pm->control = 0;
    pm->half_turns = timer_ticks(pm) >> HALF_TURN_SHIFT;
    sci_update(pm);
    device_deadline_changed(device);
}

struct pm_record {
    uint64_t half_turns;
    uint16_t status, enable, control;
} __attribute__((packed));

static_assert(sizeof(struct pm_record) == 14, "format of saved ACPI registers, version 1");

static void pm_save(const struct device *device, void *record) {
    const struct pm *pm = (const struct pm *)device;
    struct pm_record r = {.half_turns = pm->half_turns,
                          .status = pm->status,
                          .enable = pm->enable,
                          .control = pm->control};

    memcpy(record, &r, sizeof(r));
}

static enum device_error pm_restore(struct device *device, const void *record, uint32_t version,
                                    uint32_t size) {
    struct pm *pm = (struct pm *)device;
    enum device_error error = device_check_record(device, version, size);
    struct pm_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if ((r.status & ~STS_MASK) || (r.enable & ~EN_MASK) || (r.control & ~CNT_KEPT) ||
        r.half_turns > timer_ticks(pm) >> HALF_TURN_SHIFT)
        return DEVICE_RECORD_VALUE;
    pm->half_turns = r.half_turns;
    pm->status = r.status;
    pm->enable = r.enable;
    pm->control = r.control;
    pm->sci_level = sci_wanted(pm);
    return DEVICE_OK;
}

static const struct device_ops pm_ops = {
    .name = "pm",
    .version = 1,
    .record_size = sizeof(struct pm_record),
    .reset = pm_reset,
    .port_read = pm_read,
    .port_write = pm_write,
    .deadline = pm_deadline,
    .run = pm_run,
    .save = pm_save,
    .restore = pm_restore,
};

void pm_init(struct pm *pm, const struct device_host *host, const struct pm_backend *backend,
             struct irq_line sci) {
    *pm = (struct pm){.device = {.ops = &pm_ops, .host = host}, .backend = *backend, .sci = sci};
}

enum bus_error pm_attach(struct pm *pm, struct bus *bus, uint16_t base) {
    return bus_add_ports(bus, base, PM_PORTS, &pm->device, 0, 4);
}
