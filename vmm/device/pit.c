// SPDX-License-Identifier: Apache-2.0
// The 8254: what a counter does with time, the interrupt line of counter 0, registers, save and
// restore.
//
// Nothing ticks here. A counter is a start tick and a count; its value, its output and its next
// edge are computed when somebody asks. counter_sync() moves `start` on by whole periods, so it
// stays exact.
#include "vmm/device/pit.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"
#include "vmm/device/ticks.h"

enum {
    PORT_CONTROL = 3,
    PORT_CONTROL_B = 4, // offset as pit_attach() registers port 0x61

    CONTROL_BCD = 0x01,
    CONTROL_READ_BACK = 3, // in place of a counter's number
    READ_BACK_NO_STATUS = 0x10,
    READ_BACK_NO_COUNT = 0x20,

    ACCESS_LATCH = 0,
    ACCESS_LOW = 1,
    ACCESS_HIGH = 2,
    ACCESS_BOTH = 3,

    STATUS_OUT = 0x80,
    STATUS_NULL_COUNT = 0x40,

    CONTROL_B_GATE2 = 0x01,
    CONTROL_B_WRITABLE = 0x0f,
    CONTROL_B_REFRESH = 0x10,
    CONTROL_B_OUT2 = 0x20,

    REFRESH_NS = 15085,
    BINARY_MODULUS = 0x10000,
    BCD_MODULUS = 10000,
};

static uint64_t now_ticks(const struct pit *pit) {
    return ticks_from_ns(device_now(&pit->device), PIT_HZ);
}

// --- one counter ---------------------------------------------------------------------------------

static bool counter_is_periodic(const struct pit_counter *c) {
    return c->mode == 2 || c->mode == 3;
}

// Modes 0 and 4 count while the gate is high; 1 and 5 are only started by it.
static bool counter_is_pausable(const struct pit_counter *c) {
    return c->mode == 0 || c->mode == 4;
}

static uint32_t counter_modulus(const struct pit_counter *c) {
    return c->bcd ? BCD_MODULUS : BINARY_MODULUS;
}

// Ticks since the present count was loaded.
static uint64_t counter_passed(const struct pit_counter *c, uint64_t now) {
    uint64_t since = now > c->start ? now - c->start : 0;

    if (c->phase != PIT_RUNNING)
        return 0;
    if (c->gate)
        return c->elapsed + since;
    return counter_is_periodic(c) ? 0 : counter_is_pausable(c) ? c->elapsed : since;
}

static bool counter_out(const struct pit_counter *c, uint64_t now) {
    uint64_t passed = counter_passed(c, now);
    bool is_running = c->phase == PIT_RUNNING;

    switch (c->mode) {
    case 0:
        return is_running && passed >= c->count;
    case 1:
        return !is_running || passed >= c->count;
    case 2:
        return !is_running || !c->gate || passed % c->count != c->count - 1;
    case 3:
        return !is_running || !c->gate || passed % c->count < (c->count + 1) / 2;
    default:
        return !is_running || passed != c->count;
    }
}

static uint16_t to_bcd(uint32_t value) {
    return (uint16_t)(value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 |
                      value / 1000 % 10 << 12);
}

// What the counting element shows. In mode 3 it counts by twos, twice a period.
static uint16_t counter_value(const struct pit_counter *c, uint64_t now) {
    uint64_t passed = counter_passed(c, now);
    uint32_t modulus = counter_modulus(c);
    uint32_t value;

    if (c->mode == 2)
        value = c->count - (uint32_t)(passed % c->count);
    else if (c->mode == 3)
        value = c->count - (uint32_t)(2 * passed % c->count);
    else
        value = c->count + modulus - (uint32_t)(passed % modulus);
    value %= modulus;
    return c->bcd ? to_bcd(value) : (uint16_t)value;
}

static void counter_load(struct pit_counter *c, uint64_t now) {
    c->count = c->next_count;
    c->start = now;
    c->elapsed = 0;
    c->phase = PIT_RUNNING;
    c->null_count = false;
    c->strobe_served = false;
}

// Ends the periods that are over; true when there was one. A new count takes its turn after the
// period in which it was written.
static bool counter_sync(struct pit_counter *c, uint64_t now) {
    uint64_t passed = counter_passed(c, now);

    if (!counter_is_periodic(c) || passed < c->count)
        return false;
    if (c->null_count) {
        c->start += c->count;
        passed -= c->count;
        c->count = c->next_count;
        c->null_count = false;
    }
    c->start += passed - passed % c->count;
    return true;
}

static void counter_set_gate(struct pit_counter *c, bool gate, uint64_t now) {
    bool was = c->gate;

    if (gate == was)
        return;
    if (!gate && c->phase == PIT_RUNNING && counter_is_pausable(c))
        c->elapsed = counter_passed(c, now);
    c->gate = gate;
    if (!gate || c->phase == PIT_IDLE)
        return;
    if (counter_is_pausable(c))
        c->start = now;
    else
        counter_load(c, now);
}

static void counter_set_count(struct pit_counter *c, uint32_t raw, uint64_t now) {
    uint32_t value = raw;

    if (c->bcd)
        value = (raw & 15) + (raw >> 4 & 15) * 10 + (raw >> 8 & 15) * 100 + (raw >> 12) * 1000;
    value %= counter_modulus(c);
    c->next_count = value ? value : counter_modulus(c);
    c->null_count = true;
    if (counter_is_pausable(c) || (counter_is_periodic(c) && c->phase == PIT_IDLE))
        counter_load(c, now);
    else if (c->phase == PIT_IDLE)
        c->phase = PIT_ARMED;
}

// --- the interrupt line --------------------------------------------------------------------------

static void irq_set(struct pit *pit, bool level) {
    if (pit->irq_level == level)
        return;
    pit->irq_level = level;
    irq_line_set(&pit->irq, level);
}

// Brings all counters to `now` and shows what counter 0's output did since the last look. Its low
// time in the periodic modes is not shown (a request would be lost), only the edge at each period's
// end.
static void pit_sync(struct pit *pit, uint64_t now) {
    struct pit_counter *c = &pit->counter[0];
    bool rose = counter_sync(c, now);

    counter_sync(&pit->counter[1], now);
    counter_sync(&pit->counter[2], now);
    if (c->mode == 4 && c->phase == PIT_RUNNING && !c->strobe_served &&
        counter_passed(c, now) > c->count)
        rose = c->strobe_served = true;
    if (rose)
        irq_set(pit, false);
    irq_set(pit, c->mode != 0 || counter_out(c, now));
}

// The clock of 18.2 Hz that the firmware starts in every machine, and hardly a system uses. An idle
// machine would wake up for it in vain, so it is quiet while no interrupt controller takes it.
static bool is_unheard_clock(const struct pit *pit) {
    const struct pit_counter *c = &pit->counter[0];

    return c->mode == 3 && c->count == BINARY_MODULUS && !irq_line_is_heard(&pit->irq);
}

static uint64_t pit_deadline(const struct device *device) {
    const struct pit *pit = (const struct pit *)device;
    const struct pit_counter *c = &pit->counter[0];

    if (c->phase != PIT_RUNNING || is_unheard_clock(pit))
        return DEVICE_NO_DEADLINE;
    if (counter_is_periodic(c) || (c->mode == 0 && !pit->irq_level))
        return ns_from_ticks(c->start + c->count, PIT_HZ);
    if (c->mode == 4 && !c->strobe_served)
        return ns_from_ticks(c->start + c->count + 1, PIT_HZ);
    return DEVICE_NO_DEADLINE;
}

static void pit_run(struct device *device, uint64_t now) {
    pit_sync((struct pit *)device, ticks_from_ns(now, PIT_HZ));
}

// --- registers -----------------------------------------------------------------------------------

static void latch_count(struct pit_counter *c, uint64_t now) {
    if (c->latched_bytes > 0)
        return;
    c->count_latch = counter_value(c, now);
    c->latched_bytes = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit_counter *c, uint64_t now) {
    if (c->status_latched)
        return;
    c->status_latch = (uint8_t)(c->access << 4 | c->mode << 1 | c->bcd);
    if (counter_out(c, now))
        c->status_latch |= STATUS_OUT;
    if (c->null_count)
        c->status_latch |= STATUS_NULL_COUNT;
    c->status_latched = true;
}

static void write_control(struct pit *pit, uint8_t value, uint64_t now) {
    uint8_t select = value >> 6, access = value >> 4 & 3, mode = value >> 1 & 7;
    struct pit_counter *c;

    if (select == CONTROL_READ_BACK) {
        for (uint32_t i = 0; i < PIT_COUNTERS; i++) {
            if (!(value & 2u << i))
                continue;
            if (!(value & READ_BACK_NO_COUNT))
                latch_count(&pit->counter[i], now);
            if (!(value & READ_BACK_NO_STATUS))
                latch_status(&pit->counter[i], now);
        }
        return;
    }
    c = &pit->counter[select];
    if (access == ACCESS_LATCH) {
        latch_count(c, now);
        return;
    }
    *c = (struct pit_counter){.gate = c->gate,
                              .access = access,
                              .mode = mode > 5 ? mode & 3 : mode,
                              .bcd = value & CONTROL_BCD,
                              .count = 1,
                              .next_count = 1,
                              .null_count = true};
}

static void write_count(struct pit_counter *c, uint8_t byte, uint64_t now) {
    switch (c->access) {
    case ACCESS_LOW:
        counter_set_count(c, byte, now);
        break;
    case ACCESS_HIGH:
        counter_set_count(c, (uint32_t)byte << 8, now);
        break;
    default:
        if (c->write_high_next) {
            counter_set_count(c, (uint32_t)byte << 8 | c->write_low, now);
        } else {
            c->write_low = byte;
            if (c->mode == 0)
                c->phase = PIT_IDLE; // "the first byte disables counting"
        }
        c->write_high_next = !c->write_high_next;
        break;
    }
}

static uint8_t read_count(struct pit_counter *c, uint64_t now) {
    bool is_latched = c->latched_bytes > 0;
    uint16_t value = is_latched ? c->count_latch : counter_value(c, now);
    bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high_next);

    if (c->status_latched) {
        c->status_latched = false;
        return c->status_latch;
    }
    if (is_latched)
        c->latched_bytes--;
    if (c->access == ACCESS_BOTH)
        c->read_high_next = !c->read_high_next;
    return (uint8_t)(high ? value >> 8 : value);
}

static uint8_t read_control_b(const struct pit *pit, uint64_t now) {
    uint8_t value = pit->control_b;

    if (device_now(&pit->device) / REFRESH_NS % 2)
        value |= CONTROL_B_REFRESH;
    if (counter_out(&pit->counter[2], now))
        value |= CONTROL_B_OUT2;
    return value;
}

static uint32_t pit_read(struct device *device, uint16_t offset, uint8_t size) {
    struct pit *pit = (struct pit *)device;
    uint64_t now = now_ticks(pit);

    (void)size;
    pit_sync(pit, now);
    if (offset < PIT_COUNTERS)
        return read_count(&pit->counter[offset], now);
    return offset == PORT_CONTROL_B ? read_control_b(pit, now) : 0xff;
}

static void pit_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct pit *pit = (struct pit *)device;
    uint64_t now = now_ticks(pit);

    (void)size;
    pit_sync(pit, now);
    if (offset == PORT_CONTROL_B) {
        pit->control_b = value & CONTROL_B_WRITABLE;
        counter_set_gate(&pit->counter[2], value & CONTROL_B_GATE2, now);
        return;
    }
    if (offset == PORT_CONTROL)
        write_control(pit, (uint8_t)value, now);
    else
        write_count(&pit->counter[offset], (uint8_t)value, now);
    pit_sync(pit, now);
    device_deadline_changed(&pit->device);
}

// --- reset, save, restore ------------------------------------------------------------------------

static void registers_reset(struct pit *pit) {
    pit->control_b = 0;
    for (uint32_t i = 0; i < PIT_COUNTERS; i++)
        pit->counter[i] = (struct pit_counter){
            .access = ACCESS_BOTH, .count = 1, .next_count = 1, .gate = i != 2, .null_count = true};
}

static void pit_reset(struct device *device) {
    struct pit *pit = (struct pit *)device;

    registers_reset(pit);
    irq_set(pit, false);
    device_deadline_changed(device);
}

struct pit_counter_record {
    uint64_t start, elapsed;
    uint32_t count, next_count;
    uint16_t count_latch;
    uint8_t mode, access, phase, write_low, status_latch, latched_bytes;
    uint8_t bcd, gate, write_high_next, read_high_next, status_latched, null_count, strobe_served;
} __attribute__((packed));

struct pit_record {
    struct pit_counter_record counter[PIT_COUNTERS];
    uint8_t control_b;
    uint8_t irq_level;
} __attribute__((packed));

static_assert(sizeof(struct pit_record) == 3 * 39 + 2, "format of a saved 8254, version 1");

static void pit_save(const struct device *device, void *record) {
    const struct pit *pit = (const struct pit *)device;
    struct pit_record r = {.control_b = pit->control_b, .irq_level = pit->irq_level};

    for (uint32_t i = 0; i < PIT_COUNTERS; i++) {
        const struct pit_counter *c = &pit->counter[i];

        r.counter[i] = (struct pit_counter_record){
            .start = c->start,
            .elapsed = c->elapsed,
            .count = c->count,
            .next_count = c->next_count,
            .count_latch = c->count_latch,
            .mode = c->mode,
            .access = c->access,
            .phase = c->phase,
            .write_low = c->write_low,
            .status_latch = c->status_latch,
            .latched_bytes = c->latched_bytes,
            .bcd = c->bcd,
            .gate = c->gate,
            .write_high_next = c->write_high_next,
            .read_high_next = c->read_high_next,
            .status_latched = c->status_latched,
            .null_count = c->null_count,
            .strobe_served = c->strobe_served,
        };
    }
    memcpy(record, &r, sizeof(r));
}

static bool counter_record_is_valid(const struct pit_counter_record *r, uint64_t now) {
    uint32_t modulus = r->bcd ? BCD_MODULUS : BINARY_MODULUS;

    if (r->mode > 5 || r->access < ACCESS_LOW || r->access > ACCESS_BOTH || r->phase > PIT_RUNNING)
        return false;
    if (r->count == 0 || r->count > modulus || r->next_count == 0 || r->next_count > modulus)
        return false;
    if (r->start > now || r->elapsed > now || r->latched_bytes > (r->access == ACCESS_BOTH ? 2 : 1))
        return false;
    return r->bcd <= 1 && r->gate <= 1 && r->write_high_next <= 1 && r->read_high_next <= 1 &&
           r->status_latched <= 1 && r->null_count <= 1 && r->strobe_served <= 1;
}

static void counter_restore(struct pit_counter *c, const struct pit_counter_record *r) {
    *c = (struct pit_counter){
        .start = r->start,
        .elapsed = r->elapsed,
        .count = r->count,
        .next_count = r->next_count,
        .count_latch = r->count_latch,
        .mode = r->mode,
        .access = r->access,
        .phase = r->phase,
        .write_low = r->write_low,
        .status_latch = r->status_latch,
        .latched_bytes = r->latched_bytes,
        .bcd = r->bcd,
        .gate = r->gate,
        .write_high_next = r->write_high_next,
        .read_high_next = r->read_high_next,
        .status_latched = r->status_latched,
        .null_count = r->null_count,
        .strobe_served = r->strobe_served,
    };
}

static enum device_error pit_restore(struct device *device, const void *record, uint32_t version,
                                     uint32_t size) {
    struct pit *pit = (struct pit *)device;
    enum device_error error = device_check_record(device, version, size);
    struct pit_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    for (uint32_t i = 0; i < PIT_COUNTERS; i++)
        if (!counter_record_is_valid(&r.counter[i], now_ticks(pit)))
            return DEVICE_RECORD_VALUE;
    if ((r.control_b & ~CONTROL_B_WRITABLE) || r.irq_level > 1 || !r.counter[0].gate ||
        !r.counter[1].gate || r.counter[2].gate != (r.control_b & CONTROL_B_GATE2))
        return DEVICE_RECORD_VALUE;
    for (uint32_t i = 0; i < PIT_COUNTERS; i++)
        counter_restore(&pit->counter[i], &r.counter[i]);
    pit->control_b = r.control_b;
    pit->irq_level = r.irq_level;
    return DEVICE_OK;
}

static const struct device_ops pit_ops = {
    .name = "pit",
    .version = 1,
    .record_size = sizeof(struct pit_record),
    .reset = pit_reset,
    .port_read = pit_read,
    .port_write = pit_write,
    .deadline = pit_deadline,
    .run = pit_run,
    .save = pit_save,
    .restore = pit_restore,
};

void pit_init(struct pit *pit, const struct device_host *host, struct irq_line irq) {
    *pit = (struct pit){.device = {.ops = &pit_ops, .host = host}, .irq = irq};
    registers_reset(pit);
}

enum bus_error pit_attach(struct pit *pit, struct bus *bus) {
    enum bus_error error = bus_add_ports(bus, PC_PORT_PIT, 4, &pit->device, 0, 1);

    if (error)
        return error;
    return bus_add_ports(bus, PC_PORT_SPEAKER, 1, &pit->device, PORT_CONTROL_B, 1);
}
