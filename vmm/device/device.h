// SPDX-License-Identifier: Apache-2.0
// What a device model is. One device, one file; each is a plain struct that embeds `struct device`
// first. Models are pure: they reach the rest of the virtual PC only through the callbacks below,
// so that the same code runs in the VMM (ring 3) and in the unit tests on the host.
//
// Life: MODEL_init() fills the struct (the caller owns it; nothing is allocated), leaves it in its
// power-on state and calls no callback. Then accesses, run() and the model's own functions in any
// order. reset() may be called at any time.
//
// Callbacks (interrupt lines, deadline_changed, and what a model's own header names) are called in
// the middle of a model's function. They may call other models, but not the one that called them;
// so a request to reset or power off the VM is noted by the callback and carried out after the
// call.
//
// Locks: none in here. The VMM holds its one device lock around every call of a device function.
//
// Time: nanoseconds of the VM's own monotonic clock (0 at its creation; it stands still while the
// VM is paused and continues after a restore), so nothing in a saved record depends on a host's
// clock. It never runs backwards; a model that is shown an earlier time does nothing worse than
// stand still.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_NO_DEADLINE UINT64_MAX

struct device;

// An interrupt line from a device to whatever listens: `set` is called at each change of level
// only, with true for "asserted" (volts and polarity are nobody's business here). `set` NULL: not
// connected. `is_heard`: whether some interrupt controller takes it at present; NULL: always.
struct irq_line {
    void (*set)(void *opaque, uint32_t number, bool level);
    bool (*is_heard)(void *opaque, uint32_t number);
    void *opaque;
    uint32_t number;
};

// What the rest of the virtual PC offers to every model.
struct device_host {
    void *opaque;
    uint64_t (*now_ns)(void *opaque);
    // Told last thing in a call in which the device's next deadline may have become an earlier one:
    // ops->deadline already gives the new one. By a device without deadlines: some other device's,
    // since a line of it is heard again. May be NULL.
    void (*deadline_changed)(void *opaque, struct device *device);
};

// A saved device is one record: this head, then `size` bytes that the model alone understands.
// Little endian, no pointers, no padding with meaning. A model reads every version it ever wrote.
struct device_record {
    char name[16];    // device_ops.name, NUL-padded
    uint32_t version; // device_ops.version at the time of saving
    uint32_t size;    // bytes that follow
};

enum device_error {
    DEVICE_OK = 0,
    DEVICE_RECORD_NAME,    // the record belongs to another model
    DEVICE_RECORD_VERSION, // written by a newer version
    DEVICE_RECORD_SIZE,    // truncated or too long
    DEVICE_RECORD_VALUE,   // a value that the model can never have
};

struct device_ops {
    const char *name; // at most 16 bytes
    uint32_t version;
    uint32_t record_size; // bytes of the current version's record, without the head
    // Power-on or reset state. Outputs (interrupt lines) go to their idle level through their
    // callbacks; inputs keep the level that others drive.
    void (*reset)(struct device *device);
    // Port I/O. `offset` counts from the range's base (plus the range's own first offset, see
    // bus.h); `size` is 1, 2 or 4, no more than the range's width, and the access lies within the
    // range. A read returns zero-extended; what no register answers reads as all ones. `value` may
    // carry garbage above `size`. NULL: the device has no ports.
    uint32_t (*port_read)(struct device *device, uint16_t offset, uint8_t size);
    void (*port_write)(struct device *device, uint16_t offset, uint8_t size, uint32_t value);
    // Memory-mapped I/O: the same with a `size` of 1, 2, 4 or 8. NULL: the device has none.
    uint64_t (*mmio_read)(struct device *device, uint64_t offset, uint8_t size);
    void (*mmio_write)(struct device *device, uint64_t offset, uint8_t size, uint64_t value);
    // Timers: the next time at which `run` must be called, or DEVICE_NO_DEADLINE. NULL: no timers.
    // `run` may come late or without need. After run(now) the deadline lies after `now`.
    uint64_t (*deadline)(const struct device *device);
    void (*run)(struct device *device, uint64_t now);
    // Save writes exactly record_size bytes; restore checks everything before it changes anything.
    // Neither calls a callback: who listens to a line saves the level he sees himself, and the VMM
    // asks all deadlines again after a restore. Configuration (lines, callbacks, identity) is not
    // saved: a record is restored into a device that was set up by the same MODEL_init() arguments.
    // Device time must be set before: a record with times that have not come yet is refused.
    void (*save)(const struct device *device, void *record);
    enum device_error (*restore)(struct device *device, const void *record, uint32_t version,
                                 uint32_t size);
};

struct device {
    const struct device_ops *ops;
    const struct device_host *host;
};

// --- for models ----------------------------------------------------------------------------------

static inline uint64_t device_now(const struct device *device) {
    return device->host->now_ns(device->host->opaque);
}

static inline void device_deadline_changed(struct device *device) {
    if (device->host->deadline_changed)
        device->host->deadline_changed(device->host->opaque, device);
}

static inline bool irq_line_is_heard(const struct irq_line *line) {
    return line->is_heard == NULL || line->is_heard(line->opaque, line->number);
}

static inline void irq_line_set(const struct irq_line *line, bool level) {
    if (line->set)
        line->set(line->opaque, line->number, level);
}

// The first two checks of a restore() that knows one version only.
static inline enum device_error device_check_record(const struct device *device, uint32_t version,
                                                    uint32_t size) {
    if (version == 0 || version > device->ops->version)
        return DEVICE_RECORD_VERSION;
    return size == device->ops->record_size ? DEVICE_OK : DEVICE_RECORD_SIZE;
}

// --- for the VMM ---------------------------------------------------------------------------------

// Bytes that device_save() writes: head and record.
size_t device_saved_size(const struct device *device);

// Writes head and record to `buffer` (any alignment, device_saved_size() bytes).
void device_save(const struct device *device, void *buffer);

// Restores the device from the record at the start of `buffer`, of which `available` bytes are
// there; `*used` is the record's length with its head. On any error the device is unchanged.
enum device_error device_restore(struct device *device, const void *buffer, size_t available,
                                 size_t *used);
