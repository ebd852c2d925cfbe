// SPDX-License-Identifier: Apache-2.0
// The IOAPIC, from the data sheet, and the wiring of the PC's interrupt lines.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/bus.h"
#include "vmm/device/ioapic.h"
#include "vmm/device/irq.h"
#include "vmm/device/pc.h"

static struct dev_world world;
static struct bus bus;
static struct ioapic ioapic;
static uint32_t sends, route_changes;
static uint64_t last_address;
static uint32_t last_data;

static bool is_taken;

static bool on_send(void *opaque, uint64_t address, uint32_t data) {
    (void)opaque;
    sends++;
    last_address = address;
    last_data = data;
    return is_taken;
}

static void on_routes(void *opaque) {
    (void)opaque;
    route_changes++;
}

static const struct ioapic_backend backend = {.send = on_send, .routes_changed = on_routes};

static void ioapic_setup(void) {
    dev_world_init(&world);
    bus_init(&bus);
    ioapic_init(&ioapic, &world.host, &backend);
    cr_assert_eq(ioapic_attach(&ioapic, &bus, PC_IOAPIC_BASE), BUS_OK);
    sends = route_changes = 0;
    is_taken = true;
}

static uint32_t get(uint8_t reg) {
    bus_mmio_write(&bus, PC_IOAPIC_BASE, 4, reg);
    return (uint32_t)bus_mmio_read(&bus, PC_IOAPIC_BASE + 0x10, 4);
}

static void put(uint8_t reg, uint32_t value) {
    bus_mmio_write(&bus, PC_IOAPIC_BASE, 4, reg);
    bus_mmio_write(&bus, PC_IOAPIC_BASE + 0x10, 4, value);
}

static void route(uint32_t input, uint32_t dest, uint32_t low) {
    put((uint8_t)(0x11 + 2 * input), dest << 24);
    put((uint8_t)(0x10 + 2 * input), low);
}

TestSuite(dev_ioapic, .init = ioapic_setup);

Test(dev_ioapic, identity_and_power_on) {
    cr_assert_eq(get(1), 0x00170011);
    put(1, 0);
    cr_assert_eq(get(1), 0x00170011);
    put(0, 0xffffffff);
    cr_assert_eq(get(0), 0x0f000000);
    cr_assert_eq(get(2), 0x0f000000);
    for (uint8_t i = 0; i < 24; i++)
        cr_assert_eq(get(0x10 + 2 * i), 0x10000);
    cr_assert_eq(get(0x40), 0xffffffff);
    cr_assert_eq(get(0x03), 0xffffffff);
    cr_assert_eq(bus_mmio_read(&bus, PC_IOAPIC_BASE + 0x40, 4), 0xffffffff);
}

Test(dev_ioapic, only_whole_registers_are_written) {
    put(0x10, 0xffffffff);
    cr_assert_eq(get(0x10), 0x0001afff);
    put(0x11, 0xffffffff);
    cr_assert_eq(get(0x11), 0xff000000);
    bus_mmio_write(&bus, PC_IOAPIC_BASE + 0x10, 1, 0);
    bus_mmio_write(&bus, PC_IOAPIC_BASE + 0x12, 2, 0);
    cr_assert_eq(get(0x11), 0xff000000);
    cr_assert_eq(bus_mmio_read(&bus, PC_IOAPIC_BASE + 0x13, 1), 0xff);
    cr_assert_eq(bus_mmio_read(&bus, PC_IOAPIC_BASE, 1), 0x11);
}

Test(dev_ioapic, edge_becomes_an_msi) {
    route(4, 3, 0x31);
    ioapic_set(&ioapic, 4, true);
    cr_assert_eq(sends, 1);
    cr_assert_eq(last_address, 0xfee03000);
    cr_assert_eq(last_data, 0x31);
    ioapic_set(&ioapic, 4, true);
    cr_assert_eq(sends, 1);
    ioapic_set(&ioapic, 4, false);
    ioapic_set(&ioapic, 4, true);
    cr_assert_eq(sends, 2);
    ioapic_eoi(&ioapic, 0x31);
    cr_assert_eq(sends, 2);
    cr_assert_not(ioapic_handles_vector(&ioapic, 0x31));
    ioapic_set(&ioapic, 24, true);
    ioapic_set(&ioapic, 1000, true);
}

Test(dev_ioapic, modes_stand_in_the_msi) {
    route(1, 0x0f, 0x00000940); // lowest priority, logical
    ioapic_set(&ioapic, 1, true);
    cr_assert_eq(last_address, 0xfee0f00c);
    cr_assert_eq(last_data, 0x140);
    route(2, 0, 0x400); // NMI
    ioapic_set(&ioapic, 2, true);
    cr_assert_eq(last_data, 0x400);
    route(0, 0, 0x8700); // ExtINT: an edge whatever the trigger bit says
    ioapic_set(&ioapic, 0, true);
    cr_assert_eq(last_data, 0x700);
    cr_assert_eq(get(0x10) & 0x4000, 0);
    sends = 0;
    route(3, 0, 0x300); // reserved
    ioapic_set(&ioapic, 3, true);
    cr_assert_eq(sends, 0);
}

Test(dev_ioapic, masked_edge_is_lost) {
    route(4, 0, 0x10031);
    ioapic_set(&ioapic, 4, true);
    route(4, 0, 0x31);
    cr_assert_eq(sends, 0);
}

Test(dev_ioapic, level_waits_for_its_eoi) {
    route(16, 1, 0xa0b1); // level, active low
    ioapic_set(&ioapic, 16, true);
    cr_assert_eq(sends, 1);
    cr_assert_eq(last_data, 0xc0b1);
    cr_assert_eq(get(0x30), 0xe0b1, "remote IRR");
    ioapic_set(&ioapic, 16, false);
    ioapic_set(&ioapic, 16, true);
    cr_assert_eq(sends, 1);
    ioapic_eoi(&ioapic, 0xb0);
    cr_assert_eq(sends, 1, "another vector");
    ioapic_eoi(&ioapic, 0xb1);
    cr_assert_eq(sends, 2, "still asserted");
    ioapic_set(&ioapic, 16, false);
    ioapic_eoi(&ioapic, 0xb1);
    cr_assert_eq(sends, 2);
    cr_assert_eq(get(0x30), 0xa0b1);
}

Test(dev_ioapic, level_that_nobody_takes_waits_for_no_eoi) {
    is_taken = false;
    route(16, 9, 0xa0b1);
    ioapic_set(&ioapic, 16, true);
    cr_assert_eq(sends, 1);
    cr_assert_eq(get(0x30), 0xa0b1, "no remote IRR");
    ioapic_eoi(&ioapic, 0xb1); // somebody else's
    cr_assert_eq(sends, 1);
    is_taken = true;
    route(16, 1, 0xa0b1); // both halves: the first reaches somebody
    cr_assert_eq(sends, 2);
    cr_assert_eq(get(0x30), 0xe0b1);
    ioapic_set(&ioapic, 16, false);
    ioapic_eoi(&ioapic, 0xb1);
    is_taken = false;
    ioapic_set(&ioapic, 16, true);
    ioapic_set(&ioapic, 16, false);
    is_taken = true;
    ioapic_set(&ioapic, 16, true);
    cr_assert_eq(sends, 4);
    cr_assert_eq(get(0x30), 0xe0b1);
}

Test(dev_ioapic, masked_level_is_kept) {
    route(16, 0, 0x180b1);
    ioapic_set(&ioapic, 16, true);
    cr_assert_eq(sends, 0);
    cr_assert_not(ioapic_handles_vector(&ioapic, 0xb1));
    route(16, 0, 0x80b1);
    cr_assert_eq(sends, 1);
    cr_assert(ioapic_handles_vector(&ioapic, 0xb1));
    put(0x30, 0x180b1); // mask it while it is in service
    cr_assert(ioapic_handles_vector(&ioapic, 0xb1), "its EOI still matters");
    ioapic_eoi(&ioapic, 0xb1);
    cr_assert_eq(sends, 1);
    cr_assert_not(ioapic_handles_vector(&ioapic, 0xb1));
}

// __eoi_ioapic_pin() of Linux for an IOAPIC without EOI register.
Test(dev_ioapic, turning_to_edge_clears_remote_irr) {
    route(17, 0, 0x80b2);
    ioapic_set(&ioapic, 17, true);
    put(0x32, 0x100b2);
    cr_assert_eq(get(0x32), 0x100b2);
    put(0x32, 0x80b2);
    cr_assert_eq(sends, 2);
}

Test(dev_ioapic, route_changes_are_told) {
    route_changes = 0;
    route(5, 0, 0x10000);
    cr_assert_eq(route_changes, 0, "as it was");
    route(5, 0, 0x35);
    cr_assert_eq(route_changes, 1);
    ioapic.device.ops->reset(&ioapic.device);
    cr_assert_eq(route_changes, 2);
    cr_assert_eq(get(0x1a), 0x10000);
}

Test(dev_ioapic, record_round_trips) {
    struct ioapic other;

    route(16, 1, 0x80b1);
    route(4, 2, 0x31);
    ioapic_set(&ioapic, 16, true);
    ioapic_set(&ioapic, 4, true);
    ioapic_init(&other, &world.host, &backend);
    dev_check_records(&ioapic.device, &other.device);
    sends = 0;
    ioapic_set(&other, 4, true);
    cr_assert_eq(sends, 0, "the line was high");
    ioapic_eoi(&other, 0xb1);
    cr_assert_eq(sends, 1);
    dev_check_bad_value(&ioapic.device, 0, 8, 0x1000);     // delivery status
    dev_check_bad_value(&ioapic.device, 0, 8, 0x20000);    // reserved
    dev_check_bad_value(&ioapic.device, 0, 8, 0x4000);     // remote IRR of an edge
    dev_check_bad_value(&ioapic.device, 192, 4, 1u << 24); // lines
    dev_check_bad_value(&ioapic.device, 197, 1, 0x10);     // id
}

// --- the wiring ----------------------------------------------------------------------------------

Test(dev_ioapic, router_wires_both_controllers) {
    struct dev_line intr;
    struct pic pic;
    struct irq_router router;
    struct irq_line line;

    pic_init(&pic, &world.host, dev_line(&intr));
    irq_router_init(&router, &world.host, &pic, &ioapic);
    for (uint32_t irq = 0; irq < 16; irq++) {
        uint32_t pin = irq == 0 ? 2 : irq;

        line = irq_router_isa(&router, irq);
        if (irq == 2) {
            cr_assert_null(line.set);
            continue;
        }
        irq_line_set(&line, true);
        cr_assert_eq(ioapic.lines, 1u << pin);
        cr_assert_eq(pic.chip[irq / 8].lines, 1u << irq % 8);
        irq_line_set(&line, false);
        cr_assert_eq(ioapic.lines, 0);
    }
    cr_assert_null(irq_router_isa(&router, 16).set);
    cr_assert_null(irq_router_pirq(&router, 4).set);
}

Test(dev_ioapic, router_shares_pci_lines) {
    struct dev_line intr;
    struct pic pic;
    struct irq_router router, other;
    struct irq_line a, c;

    pic_init(&pic, &world.host, dev_line(&intr));
    irq_router_init(&router, &world.host, &pic, &ioapic);
    a = irq_router_pirq(&router, 0);
    c = irq_router_pirq(&router, 2);
    irq_line_set(&a, true);
    irq_line_set(&c, true);
    cr_assert_eq(ioapic.lines, 5u << 16);
    irq_line_set(&a, false);
    cr_assert_eq(pic.chip[1].lines, 1u << 2, "C still holds input 10");
    irq_router_init(&other, &world.host, &pic, &ioapic);
    dev_check_records(&router.device, &other.device);
    irq_line_set(&c, false);
    cr_assert_eq(pic.chip[1].lines, 0);
    dev_check_bad_value(&router.device, 0, 2, 4);
    dev_check_bad_value(&router.device, 2, 1, 0x10);
}
