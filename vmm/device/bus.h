// SPDX-License-Identifier: Apache-2.0
// The bus of the virtual PC: which device answers at a port or at a guest-physical address.
//
// Setup: bus_init(), then bus_add_ports() and bus_add_mmio() for each range. Ranges may come and go
// later (PCI BARs). Accesses: bus_port_*() and bus_mmio_*(), any value, any size named below.
//
// Rules, those of an ISA bus: an access that lies in one range and is no wider than the range's
// width reaches the device whole; every other access is cut in halves until its parts do. A byte
// that nobody claims reads as all ones, and a write to it is lost. Ports wrap at 0xffff, addresses
// at 2^64.
//
// Invariants: both tables are sorted by base, without overlap. `port_slot` maps each port below
// BUS_FAST_PORTS to its range (index + 1, 0: nobody's), so that the ports of the ISA devices, the
// only ones with heavy traffic, cost one load; all others are searched for.
#pragma once

#include "vmm/device/device.h"

#define BUS_PORT_RANGES 64
#define BUS_MMIO_RANGES 64
#define BUS_FAST_PORTS  0x400

struct bus_range {
    uint64_t base;
    uint64_t last; // inclusive
    struct device *device;
    uint64_t first_offset; // what the device sees as offset at `base`
    uint8_t width;         // widest access that the device takes whole
};

struct bus {
    uint8_t port_slot[BUS_FAST_PORTS];
    uint32_t port_count;
    uint32_t mmio_count;
    uint32_t mmio_found; // where in mmio[] the last access went
    struct bus_range ports[BUS_PORT_RANGES];
    struct bus_range mmio[BUS_MMIO_RANGES];
};

enum bus_error {
    BUS_OK = 0,
    BUS_OVERLAP, // a byte of the range is another's
    BUS_FULL,    // no room in the table
    // Empty, beyond the end of the space, a width that is none, or a device without the calls.
    BUS_RANGE,
};

void bus_init(struct bus *bus);

// Claims `count` ports from `base`. `width` is 1, 2 or 4. On an error nothing has changed.
enum bus_error bus_add_ports(struct bus *bus, uint16_t base, uint32_t count, struct device *device,
                             uint16_t first_offset, uint8_t width);
// Claims `size` bytes of guest-physical address space from `base`. `width` is 1, 2, 4 or 8.
enum bus_error bus_add_mmio(struct bus *bus, uint64_t base, uint64_t size, struct device *device,
                            uint64_t first_offset, uint8_t width);
// Gives a range back. False: the device has no range with that base.
bool bus_remove_ports(struct bus *bus, uint16_t base, const struct device *device);
bool bus_remove_mmio(struct bus *bus, uint64_t base, const struct device *device);

// Port I/O; `size` is 1, 2 or 4.
uint32_t bus_port_read(struct bus *bus, uint16_t port, uint8_t size);
void bus_port_write(struct bus *bus, uint16_t port, uint8_t size, uint32_t value);

// Memory-mapped I/O; `size` is 1, 2, 4 or 8.
uint64_t bus_mmio_read(struct bus *bus, uint64_t address, uint8_t size);
void bus_mmio_write(struct bus *bus, uint64_t address, uint8_t size, uint64_t value);

// Does somebody claim this byte? (For a VMM that reports accesses to nothing.)
bool bus_port_is_claimed(const struct bus *bus, uint16_t port);
bool bus_mmio_is_claimed(const struct bus *bus, uint64_t address);
// Is none of these bytes claimed? `size` is at least 1, and `address` + `size` - 1 at most
// UINT64_MAX.
bool bus_mmio_is_free(const struct bus *bus, uint64_t address, uint64_t size);
