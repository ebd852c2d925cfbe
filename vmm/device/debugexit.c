// SPDX-License-Identifier: Apache-2.0
// The debug-exit port: debugexit_init(), debugexit_attach(). No state, so its record is empty.
#include "vmm/device/debugexit.h"

static uint32_t debugexit_read(struct device *device, uint16_t offset, uint8_t size) {
    (void)device;
    (void)offset;
    return UINT32_MAX >> (32 - 8 * size);
}

static void debugexit_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct debugexit *debugexit = (struct debugexit *)device;

    (void)offset;
    debugexit->backend.exit(debugexit->backend.opaque, value & UINT32_MAX >> (32 - 8 * size));
}

static void debugexit_reset(struct device *device) {
    (void)device;
}

static void debugexit_save(const struct device *device, void *record) {
    (void)device;
    (void)record;
}

static enum device_error debugexit_restore(struct device *device, const void *record,
                                           uint32_t version, uint32_t size) {
    (void)record;
    return device_check_record(device, version, size);
}

static const struct device_ops debugexit_ops = {
    .name = "debugexit",
    .version = 1,
    .record_size = 0,
    .reset = debugexit_reset,
    .port_read = debugexit_read,
    .port_write = debugexit_write,
    .save = debugexit_save,
    .restore = debugexit_restore,
};

void debugexit_init(struct debugexit *debugexit, const struct device_host *host,
                    const struct debugexit_backend *backend) {
    *debugexit =
        (struct debugexit){.device = {.ops = &debugexit_ops, .host = host}, .backend = *backend};
}

enum bus_error debugexit_attach(struct debugexit *debugexit, struct bus *bus, uint16_t base) {
    return bus_add_ports(bus, base, DEBUGEXIT_PORTS, &debugexit->device, 0, 4);
}
