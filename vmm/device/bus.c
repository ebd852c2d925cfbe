// SPDX-License-Identifier: Apache-2.0
// The bus: see bus.h for the rules. A port below BUS_FAST_PORTS is found through `port_slot`,
// anything else by binary search. Only registration changes the tables.
#include "vmm/device/bus.h"

#include <assert.h>

#include "lib/string.h"

// Kept out of their callers, which need no stack frame then.
#define CUT __attribute__((noinline))

static_assert(BUS_PORT_RANGES < 256, "port_slot holds index + 1 in a byte");

void bus_init(struct bus *bus) {
    memset(bus, 0, sizeof(*bus));
}

// --- tables --------------------------------------------------------------------------------------

// Index of the first range that ends at or after `address`.
static uint32_t table_position(const struct bus_range *table, uint32_t count, uint64_t address) {
    uint32_t low = 0;

    while (count > 0) {
        uint32_t half = count / 2;

        if (table[low + half].last < address) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return low;
}

static const struct bus_range *table_find(const struct bus_range *table, uint32_t count,
                                          uint64_t address) {
    uint32_t i = table_position(table, count, address);

    return i < count && table[i].base <= address ? &table[i] : NULL;
}

static enum bus_error table_add(struct bus_range *table, uint32_t *count, uint32_t max,
                                const struct bus_range *range) {
    uint32_t i = table_position(table, *count, range->base);

    if (i < *count && table[i].base <= range->last)
        return BUS_OVERLAP;
    if (*count == max)
        return BUS_FULL;
    memmove(&table[i + 1], &table[i], (*count - i) * sizeof(*table));
    table[i] = *range;
    ++*count;
    return BUS_OK;
}

static bool table_remove(struct bus_range *table, uint32_t *count, uint64_t base,
                         const struct device *device) {
    uint32_t i = table_position(table, *count, base);

    if (i == *count || table[i].base != base || table[i].device != device)
        return false;
    --*count;
    memmove(&table[i], &table[i + 1], (*count - i) * sizeof(*table));
    return true;
}

static void port_slots_rebuild(struct bus *bus) {
    memset(bus->port_slot, 0, sizeof(bus->port_slot));
    for (uint32_t i = 0; i < bus->port_count; i++)
        for (uint64_t port = bus->ports[i].base;
             port <= bus->ports[i].last && port < BUS_FAST_PORTS; port++)
            bus->port_slot[port] = (uint8_t)(i + 1);
}

// --- registration --------------------------------------------------------------------------------

enum bus_error bus_add_ports(struct bus *bus, uint16_t base, uint32_t count, struct device *device,
                             uint16_t first_offset, uint8_t width) {
    struct bus_range range = {.base = base,
                              .last = (uint64_t)base + count - 1,
                              .device = device,
                              .first_offset = first_offset,
                              .width = width};
    enum bus_error error;

    if (count == 0 || count > 0x10000 || range.last > 0xffff || first_offset + count > 0x10000)
        return BUS_RANGE;
    if ((width != 1 && width != 2 && width != 4) || !device->ops->port_read ||
        !device->ops->port_write)
        return BUS_RANGE;
    error = table_add(bus->ports, &bus->port_count, BUS_PORT_RANGES, &range);
    if (error == BUS_OK)
        port_slots_rebuild(bus);
    return error;
}

enum bus_error bus_add_mmio(struct bus *bus, uint64_t base, uint64_t size, struct device *device,
                            uint64_t first_offset, uint8_t width) {
    struct bus_range range = {.base = base,
                              .last = base + size - 1,
                              .device = device,
                              .first_offset = first_offset,
                              .width = width};

    if (size == 0 || range.last < base || first_offset + size - 1 < first_offset)
        return BUS_RANGE;
    if ((width != 1 && width != 2 && width != 4 && width != 8) || !device->ops->mmio_read ||
        !device->ops->mmio_write)
        return BUS_RANGE;
    return table_add(bus->mmio, &bus->mmio_count, BUS_MMIO_RANGES, &range);
}

bool bus_remove_ports(struct bus *bus, uint16_t base, const struct device *device) {
    if (!table_remove(bus->ports, &bus->port_count, base, device))
        return false;
    port_slots_rebuild(bus);
    return true;
}

bool bus_remove_mmio(struct bus *bus, uint64_t base, const struct device *device) {
    return table_remove(bus->mmio, &bus->mmio_count, base, device);
}

// --- accesses ------------------------------------------------------------------------------------

static inline const struct bus_range *port_find(const struct bus *bus, uint16_t port) {
    if (port < BUS_FAST_PORTS) {
        uint8_t slot = bus->port_slot[port];

        return slot ? &bus->ports[slot - 1] : NULL;
    }
    return table_find(bus->ports, bus->port_count, port);
}

// Most accesses go where the one before went. Wherever mmio_found points, what is there is looked
// at.
static inline const struct bus_range *mmio_find(struct bus *bus, uint64_t address) {
    const struct bus_range *range = &bus->mmio[bus->mmio_found];

    if (bus->mmio_found < bus->mmio_count && address - range->base <= range->last - range->base)
        return range;
    range = table_find(bus->mmio, bus->mmio_count, address);
    if (range)
        bus->mmio_found = (uint32_t)(range - bus->mmio);
    return range;
}

static inline bool range_takes(const struct bus_range *range, uint64_t address, uint8_t size) {
    return range && size <= range->width && size - 1u <= range->last - address;
}

// The halves of an access that no range takes whole; the recursion ends at single bytes.
static CUT uint32_t port_read_cut(struct bus *bus, uint16_t port, uint8_t size) {
    uint8_t half = size / 2;
    uint32_t low, high;

    if (size == 1)
        return 0xff;
    low = bus_port_read(bus, port, half);
    high = bus_port_read(bus, (uint16_t)(port + half), half);
    return low | high << (8 * half);
}

static CUT void port_write_cut(struct bus *bus, uint16_t port, uint8_t size, uint32_t value) {
    uint8_t half = size / 2;

    if (size == 1)
        return;
    bus_port_write(bus, port, half, value);
    bus_port_write(bus, (uint16_t)(port + half), half, value >> (8 * half));
}

static CUT uint64_t mmio_read_cut(struct bus *bus, uint64_t address, uint8_t size) {
    uint8_t half = size / 2;
    uint64_t low, high;

    if (size == 1)
        return 0xff;
    low = bus_mmio_read(bus, address, half);
    high = bus_mmio_read(bus, address + half, half);
    return low | high << (8 * half);
}

static CUT void mmio_write_cut(struct bus *bus, uint64_t address, uint8_t size, uint64_t value) {
    uint8_t half = size / 2;

    if (size == 1)
        return;
    bus_mmio_write(bus, address, half, value);
    bus_mmio_write(bus, address + half, half, value >> (8 * half));
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, uint8_t size) {
    const struct bus_range *range = port_find(bus, port);

    if (!range_takes(range, port, size))
        return port_read_cut(bus, port, size);
    return range->device->ops->port_read(
        range->device, (uint16_t)(range->first_offset + (port - range->base)), size);
}

void bus_port_write(struct bus *bus, uint16_t port, uint8_t size, uint32_t value) {
    const struct bus_range *range = port_find(bus, port);

    if (range_takes(range, port, size))
        range->device->ops->port_write(
            range->device, (uint16_t)(range->first_offset + (port - range->base)), size, value);
    else
        port_write_cut(bus, port, size, value);
}

uint64_t bus_mmio_read(struct bus *bus, uint64_t address, uint8_t size) {
    const struct bus_range *range = mmio_find(bus, address);

    if (!range_takes(range, address, size))
        return mmio_read_cut(bus, address, size);
    return range->device->ops->mmio_read(range->device,
                                         range->first_offset + (address - range->base), size);
}

void bus_mmio_write(struct bus *bus, uint64_t address, uint8_t size, uint64_t value) {
    const struct bus_range *range = mmio_find(bus, address);

    if (range_takes(range, address, size))
        range->device->ops->mmio_write(range->device, range->first_offset + (address - range->base),
                                       size, value);
    else
        mmio_write_cut(bus, address, size, value);
}

bool bus_port_is_claimed(const struct bus *bus, uint16_t port) {
    return port_find(bus, port) != NULL;
}

bool bus_mmio_is_claimed(const struct bus *bus, uint64_t address) {
    return table_find(bus->mmio, bus->mmio_count, address) != NULL;
}

bool bus_mmio_is_free(const struct bus *bus, uint64_t address, uint64_t size) {
    uint32_t i = table_position(bus->mmio, bus->mmio_count, address);

    return i == bus->mmio_count || bus->mmio[i].base > address + size - 1;
}
