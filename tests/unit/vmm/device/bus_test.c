// SPDX-License-Identifier: Apache-2.0
// The bus: registration, and how accesses are cut.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/bus.h"

struct recorder {
    struct device device;
    uint32_t accesses;
    uint64_t last_offset, last_value;
    uint8_t last_size;
};

static uint32_t recorder_port_read(struct device *device, uint16_t offset, uint8_t size) {
    struct recorder *r = (struct recorder *)device;

    r->accesses++;
    r->last_offset = offset;
    r->last_size = size;
    return (0x44332211u + 0x01010101u * offset) & UINT32_MAX >> (32 - 8 * size);
}

static void recorder_port_write(struct device *device, uint16_t offset, uint8_t size,
                                uint32_t value) {
    struct recorder *r = (struct recorder *)device;

    r->accesses++;
    r->last_offset = offset;
    r->last_size = size;
    r->last_value = value & UINT32_MAX >> (32 - 8 * size);
}

static uint64_t recorder_mmio_read(struct device *device, uint64_t offset, uint8_t size) {
    return recorder_port_read(device, (uint16_t)offset, size < 4 ? size : 4);
}

static void recorder_mmio_write(struct device *device, uint64_t offset, uint8_t size,
                                uint64_t value) {
    struct recorder *r = (struct recorder *)device;

    r->accesses++;
    r->last_offset = offset;
    r->last_size = size;
    r->last_value = value & UINT64_MAX >> (64 - 8 * size);
}

static const struct device_ops recorder_ops = {.name = "recorder",
                                               .port_read = recorder_port_read,
                                               .port_write = recorder_port_write,
                                               .mmio_read = recorder_mmio_read,
                                               .mmio_write = recorder_mmio_write};
static const struct device_ops silent_ops = {.name = "silent"};

static struct bus bus;
static struct recorder a, b;

static void bus_setup(void) {
    bus_init(&bus);
    a = (struct recorder){.device = {.ops = &recorder_ops}};
    b = (struct recorder){.device = {.ops = &recorder_ops}};
}

TestSuite(dev_bus, .init = bus_setup);

Test(dev_bus, ports_refuse_overlap) {
    cr_assert_eq(bus_add_ports(&bus, 0x100, 8, &a.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_add_ports(&bus, 0x107, 1, &b.device, 0, 1), BUS_OVERLAP);
    cr_assert_eq(bus_add_ports(&bus, 0xff, 2, &b.device, 0, 1), BUS_OVERLAP);
    cr_assert_eq(bus_add_ports(&bus, 0, 0x10000, &b.device, 0, 1), BUS_OVERLAP);
    cr_assert_eq(bus_add_ports(&bus, 0x108, 1, &b.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_add_ports(&bus, 0xff, 1, &b.device, 0, 1), BUS_OK);
    cr_assert(bus_port_is_claimed(&bus, 0xff));
    cr_assert_not(bus_port_is_claimed(&bus, 0xfe));
}

Test(dev_bus, impossible_ranges_are_refused) {
    struct device silent = {.ops = &silent_ops};

    cr_assert_eq(bus_add_ports(&bus, 0, 0, &a.device, 0, 1), BUS_RANGE);
    cr_assert_eq(bus_add_ports(&bus, 0xffff, 2, &a.device, 0, 1), BUS_RANGE);
    cr_assert_eq(bus_add_ports(&bus, 0, 1, &a.device, 0, 3), BUS_RANGE);
    cr_assert_eq(bus_add_ports(&bus, 0, 1, &a.device, 0, 8), BUS_RANGE);
    cr_assert_eq(bus_add_ports(&bus, 0, 2, &a.device, 0xffff, 1), BUS_RANGE);
    cr_assert_eq(bus_add_ports(&bus, 0, 1, &silent, 0, 1), BUS_RANGE);
    cr_assert_eq(bus_add_mmio(&bus, 0, 0, &a.device, 0, 4), BUS_RANGE);
    cr_assert_eq(bus_add_mmio(&bus, UINT64_MAX, 2, &a.device, 0, 4), BUS_RANGE);
    cr_assert_eq(bus_add_mmio(&bus, 0, 1, &a.device, 0, 16), BUS_RANGE);
    cr_assert_eq(bus_add_mmio(&bus, 0, 1, &silent, 0, 4), BUS_RANGE);
    cr_assert_eq(bus.port_count + bus.mmio_count, 0);
}

Test(dev_bus, tables_fill_up) {
    for (uint16_t i = 0; i < BUS_PORT_RANGES; i++)
        cr_assert_eq(bus_add_ports(&bus, (uint16_t)(0x8000 - 2 * i), 1, &a.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_add_ports(&bus, 0, 1, &a.device, 0, 1), BUS_FULL);
    for (uint64_t i = 0; i < BUS_MMIO_RANGES; i++)
        cr_assert_eq(bus_add_mmio(&bus, i * 16, 16, &a.device, 0, 4), BUS_OK);
    cr_assert_eq(bus_add_mmio(&bus, 1 << 20, 1, &a.device, 0, 4), BUS_FULL);
}

Test(dev_bus, unclaimed_reads_ones) {
    cr_assert_eq(bus_port_read(&bus, 0x80, 1), 0xff);
    cr_assert_eq(bus_port_read(&bus, 0x80, 2), 0xffff);
    cr_assert_eq(bus_port_read(&bus, 0xfffe, 4), 0xffffffff);
    cr_assert_eq(bus_mmio_read(&bus, UINT64_MAX, 8), UINT64_MAX);
    cr_assert_eq(bus_mmio_read(&bus, 0x1000, 4), 0xffffffff);
    bus_port_write(&bus, 0x80, 4, 0);
    bus_mmio_write(&bus, 0x1000, 8, 0);
}

Test(dev_bus, access_reaches_its_range_whole) {
    cr_assert_eq(bus_add_ports(&bus, 0x3f0, 4, &a.device, 8, 4), BUS_OK);
    bus_port_write(&bus, 0x3f0, 4, 0x12345678);
    cr_assert_eq(a.accesses, 1);
    cr_assert_eq(a.last_offset, 8);
    cr_assert_eq(a.last_value, 0x12345678);
    cr_assert_eq(bus_port_read(&bus, 0x3f2, 2), (0x2211 + 0x0a0a));
    cr_assert_eq(a.accesses, 2);
}

Test(dev_bus, wide_access_is_cut_to_the_width) {
    cr_assert_eq(bus_add_ports(&bus, 0x3f8, 8, &a.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_port_read(&bus, 0x3f8, 4), 0x14131211);
    cr_assert_eq(a.accesses, 4);
    bus_port_write(&bus, 0x3fe, 2, 0xbbaa);
    cr_assert_eq(a.accesses, 6);
    cr_assert_eq(a.last_offset, 7);
    cr_assert_eq(a.last_value, 0xbb);
    cr_assert_eq(bus_add_mmio(&bus, 0x1000, 0x1000, &b.device, 0, 4), BUS_OK);
    bus_mmio_write(&bus, 0x1010, 8, 0x1122334455667788);
    cr_assert_eq(b.accesses, 2);
    cr_assert_eq(b.last_offset, 0x14);
    cr_assert_eq(b.last_value, 0x11223344);
}

Test(dev_bus, straddling_access_is_shared_out) {
    cr_assert_eq(bus_add_ports(&bus, 0x400, 2, &a.device, 0, 4), BUS_OK);
    cr_assert_eq(bus_add_ports(&bus, 0x3fe, 2, &b.device, 0, 4), BUS_OK);
    cr_assert_eq(bus_port_read(&bus, 0x3fe, 4), 0x22112211);
    cr_assert_eq(bus_port_read(&bus, 0x401, 2), 0xff12);
    cr_assert_eq(bus_port_read(&bus, 0x3fd, 2), 0x11ff);
    cr_assert_eq(bus_add_ports(&bus, 0xffff, 1, &a.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_port_read(&bus, 0xffff, 2), 0xff11, "ports wrap");
}

Test(dev_bus, ranges_can_be_removed) {
    cr_assert_eq(bus_add_ports(&bus, 0x10, 1, &a.device, 0, 1), BUS_OK);
    cr_assert_eq(bus_add_ports(&bus, 0x20, 1, &b.device, 0, 1), BUS_OK);
    cr_assert_not(bus_remove_ports(&bus, 0x10, &b.device));
    cr_assert_not(bus_remove_ports(&bus, 0x11, &a.device));
    cr_assert(bus_remove_ports(&bus, 0x10, &a.device));
    cr_assert_eq(bus_port_read(&bus, 0x10, 1), 0xff);
    cr_assert_eq(bus_port_read(&bus, 0x20, 1), 0x11);
    cr_assert_eq(bus_add_mmio(&bus, 0x10, 16, &a.device, 0, 1), BUS_OK);
    cr_assert_not(bus_remove_mmio(&bus, 0x10, &b.device));
    cr_assert(bus_remove_mmio(&bus, 0x10, &a.device));
    cr_assert_not(bus_mmio_is_claimed(&bus, 0x10));
}

Test(dev_bus, free_addresses) {
    bus_init(&bus);
    cr_assert(bus_mmio_is_free(&bus, 0, UINT64_MAX));
    cr_assert_eq(bus_add_mmio(&bus, 0x1800, 0x100, &a.device, 0, 4), BUS_OK);
    cr_assert_eq(bus_add_mmio(&bus, 0x3000, 0x1000, &b.device, 0, 4), BUS_OK);
    cr_assert(bus_mmio_is_free(&bus, 0, 0x1000));
    cr_assert_not(bus_mmio_is_free(&bus, 0x1000, 0x1000), "a part of the page");
    cr_assert(bus_mmio_is_free(&bus, 0x1000, 0x800));
    cr_assert_not(bus_mmio_is_free(&bus, 0x18ff, 1));
    cr_assert(bus_mmio_is_free(&bus, 0x1900, 0x1700));
    cr_assert_not(bus_mmio_is_free(&bus, 0x2fff, 2));
    cr_assert(bus_mmio_is_free(&bus, 0x4000, UINT64_MAX - 0x4000));
}

// The table against a plain array of owners.
Test(dev_bus, lookup_agrees_with_a_plain_map) {
    static struct device *owner[0x10000];
    uint64_t seed = 7;

    for (uint32_t i = 0; i < 2000; i++) {
        uint16_t base = (uint16_t)(dev_random(&seed) % 0x900);
        uint32_t count = 1 + (uint32_t)(dev_random(&seed) % 40);
        struct device *device = dev_random(&seed) & 1 ? &a.device : &b.device;

        if (bus_add_ports(&bus, base, count, device, 0, 1) == BUS_OK) {
            for (uint32_t p = base; p < base + count; p++) {
                cr_assert_null(owner[p]);
                owner[p] = device;
            }
        } else if (bus.port_count > 30) {
            const struct bus_range range = bus.ports[dev_random(&seed) % bus.port_count];

            cr_assert(bus_remove_ports(&bus, (uint16_t)range.base, range.device));
            for (uint64_t p = range.base; p <= range.last; p++)
                owner[p] = NULL;
        }
        for (uint32_t p = 0; p < 0xa00; p += 3)
            cr_assert_eq(bus_port_is_claimed(&bus, (uint16_t)p), owner[p] != NULL);
    }
}
