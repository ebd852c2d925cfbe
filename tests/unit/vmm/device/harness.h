// SPDX-License-Identifier: Apache-2.0
// What the tests of all device models share: a clock that the test moves, an interrupt line that
// counts, a random generator that repeats, and the checks that every saved record must stand.
#pragma once

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "vmm/device/device.h"

#define DEV_RECORD_MAX 1024u

struct dev_world {
    struct device_host host;
    uint64_t now;
    uint32_t deadline_changes;
};

static inline uint64_t dev_now(void *opaque) {
    return ((struct dev_world *)opaque)->now;
}

static inline void dev_deadline_changed(void *opaque, struct device *device) {
    (void)device;
    ((struct dev_world *)opaque)->deadline_changes++;
}

static inline void dev_world_init(struct dev_world *world) {
    *world = (struct dev_world){
        .host = {.opaque = world, .now_ns = dev_now, .deadline_changed = dev_deadline_changed}};
}

struct dev_line {
    bool level;
    uint32_t rises;
    uint32_t number;
};

static inline void dev_line_set(void *opaque, uint32_t number, bool level) {
    struct dev_line *line = opaque;

    cr_assert_neq(line->level, level, "a line is told of changes only");
    line->level = level;
    line->rises += level;
    line->number = number;
}

static inline struct irq_line dev_line(struct dev_line *line) {
    *line = (struct dev_line){0};
    return (struct irq_line){.set = dev_line_set, .opaque = line, .number = 5};
}

// xorshift64*
static inline uint64_t dev_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static inline uint8_t dev_in(struct device *device, uint16_t offset) {
    return (uint8_t)device->ops->port_read(device, offset, 1);
}

static inline void dev_out(struct device *device, uint16_t offset, uint8_t value) {
    device->ops->port_write(device, offset, 1, value);
}

// Serves the device's deadlines up to `until`, each at its time.
static inline void dev_run_until(struct dev_world *world, struct device *device, uint64_t until) {
    while (device->ops->deadline(device) <= until) {
        world->now = device->ops->deadline(device);
        device->ops->run(device, world->now);
        cr_assert_gt(device->ops->deadline(device), world->now);
    }
    world->now = until;
}

// --- records -------------------------------------------------------------------------------------

static inline enum device_error dev_try_restore(struct device *device, const void *buffer,
                                                size_t size) {
    size_t used = 0;

    return device_restore(device, buffer, size, &used);
}

// A record that is refused must leave the device as it was.
static inline void dev_check_refused(struct device *device, const void *bad, size_t size,
                                     enum device_error why) {
    uint8_t before[DEV_RECORD_MAX], after[DEV_RECORD_MAX];

    device_save(device, before);
    cr_assert_eq(dev_try_restore(device, bad, size), why);
    device_save(device, after);
    cr_assert_arr_eq(before, after, device_saved_size(device));
}

static inline void dev_check_bad_heads(struct device *device, const uint8_t *good) {
    size_t size = device_saved_size(device);
    struct device_record head;
    uint8_t bad[DEV_RECORD_MAX + 1] = {0};

    memcpy(bad, good, size);
    bad[1] ^= 1;
    dev_check_refused(device, bad, size, DEVICE_RECORD_NAME);
    for (uint32_t version = 0; version <= 2; version += 2) {
        memcpy(&head, good, sizeof(head));
        head.version = version;
        memcpy(bad, &head, sizeof(head));
        dev_check_refused(device, bad, size, DEVICE_RECORD_VERSION);
    }
    memcpy(&head, good, sizeof(head));
    head.size++;
    memcpy(bad, &head, sizeof(head));
    dev_check_refused(device, bad, size, DEVICE_RECORD_SIZE);
    dev_check_refused(device, bad, size + 1, DEVICE_RECORD_SIZE);
    dev_check_refused(device, good, sizeof(head) - 1, DEVICE_RECORD_SIZE);
    if (size > sizeof(head))
        dev_check_refused(device, good, size - 1, DEVICE_RECORD_SIZE);
}

// Changed bytes are refused for their value, or give a state that saves as exactly these bytes.
static inline void dev_check_changed_bytes(struct device *device, const uint8_t *good) {
    size_t size = device_saved_size(device);
    uint8_t changed[DEV_RECORD_MAX], saved[DEV_RECORD_MAX];
    uint64_t seed = 1;

    if (size == sizeof(struct device_record))
        return;
    for (uint32_t round = 0; round < 20000; round++) {
        size_t at = sizeof(struct device_record) +
                    dev_random(&seed) % (size - sizeof(struct device_record));
        enum device_error error;

        memcpy(changed, good, size);
        changed[at] = (uint8_t)dev_random(&seed);
        error = dev_try_restore(device, changed, size);
        device_save(device, saved);
        if (error)
            cr_assert_eq(error, DEVICE_RECORD_VALUE);
        else
            cr_assert_arr_eq(saved, changed, size, "byte %zu", at);
        cr_assert_eq(dev_try_restore(device, good, size), DEVICE_OK);
    }
}

// Everything a record has to stand: `from` is in mid-activity, `to` is a fresh device of the same
// kind.
static inline void dev_check_records(const struct device *from, struct device *to) {
    uint8_t good[DEV_RECORD_MAX], saved[DEV_RECORD_MAX];
    size_t size = device_saved_size(from), used = 0;

    cr_assert_leq(size, DEV_RECORD_MAX);
    device_save(from, good);
    dev_check_bad_heads(to, good);
    cr_assert_eq(device_restore(to, good, size, &used), DEVICE_OK);
    cr_assert_eq(used, size);
    device_save(to, saved);
    cr_assert_arr_eq(saved, good, size);
    dev_check_changed_bytes(to, good);
}

// The record of `from` with the `n` bytes at `offset` (behind the head) replaced is refused for its
// value.
static inline void dev_check_bad_value(struct device *from, size_t offset, size_t n,
                                       uint64_t value) {
    uint8_t bad[DEV_RECORD_MAX];

    device_save(from, bad);
    memcpy(bad + sizeof(struct device_record) + offset, &value, n);
    dev_check_refused(from, bad, device_saved_size(from), DEVICE_RECORD_VALUE);
}
