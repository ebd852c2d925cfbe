// SPDX-License-Identifier: Apache-2.0
// The debug-exit port: a test guest ends its VM with a code, by any write of 1, 2 or 4 bytes.
// Setup: debugexit_init(), debugexit_attach() (4 ports at 0xf4). Reads give all ones. No state.
#pragma once

#include "vmm/device/bus.h"
#include "vmm/device/device.h"

#define DEBUGEXIT_PORTS 4u

struct debugexit_backend {
    void *opaque;
    void (*exit)(void *opaque, uint32_t code);
};

struct debugexit {
    struct device device;
    struct debugexit_backend backend;
};

void debugexit_init(struct debugexit *debugexit, const struct device_host *host,
                    const struct debugexit_backend *backend);

enum bus_error debugexit_attach(struct debugexit *debugexit, struct bus *bus, uint16_t base);
