// SPDX-License-Identifier: Apache-2.0
// What a device model is. One device, one file; each is a plain struct that embeds `struct device`
// first. Models are pure: they reach the rest of the virtual PC only through the callbacks below, so
// that the same code runs in the VMM (ring 3) and in the unit tests on the host.
//
// Locks: none in here. The VMM holds its one device lock around every call of a device function.
//
// Time: nanoseconds of the VM's own monotonic clock (0 at its creation; it stands still while the VM
// is paused and continues after a restore), so nothing in a saved record depends on a host's clock.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICE_NO_DEADLINE UINT64_MAX

struct device;

// An interrupt line from a device to whatever listens: `set` is called at each change of level only.
struct irq_line {
    void (*set)(void *opaque, uint32_t number, bool level);
    void *opaque;
    uint32_t number;
};

// What the rest of the virtual PC offers to every model.
struct device_host {
    void *opaque;
    uint64_t (*now_ns)(void *opaque);
    // Told after a call in which a device's next deadline may have changed.
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
    const char *name;
    uint32_t version;
    uint32_t record_size; // bytes of the current version's record, without the head
    // Power-on or reset state.
    void (*reset)(struct device *device);
    // Port I/O. `offset` counts from the range's base; `size` is 1, 2 or 4 and the access lies within
    // the range. A read returns zero-extended; what no register answers reads as all ones.
    uint32_t (*port_read)(struct device *device, uint16_t offset, uint8_t size);
    void (*port_write)(struct device *device, uint16_t offset, uint8_t size, uint32_t value);
    // Memory-mapped I/O: `size` is 1, 2, 4 or 8.
    uint64_t (*mmio_read)(struct device *device, uint64_t offset, uint8_t size);
    void (*mmio_write)(struct device *device, uint64_t offset, uint8_t size, uint64_t value);
    // Timers: the next time at which `run` must be called, or DEVICE_NO_DEADLINE. NULL: no timers.
    uint64_t (*deadline)(const struct device *device);
    void (*run)(struct device *device, uint64_t now);
    // Save writes exactly record_size bytes; restore checks everything before it changes anything.
    void (*save)(const struct device *device, void *record);
    enum device_error (*restore)(struct device *device, const void *record, uint32_t version,
                                 uint32_t size);
};

struct device {
    const struct device_ops *ops;
    const struct device_host *host;
};
