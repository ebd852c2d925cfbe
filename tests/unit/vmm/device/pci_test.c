// SPDX-License-Identifier: Apache-2.0
// PCI: mechanism #1, configuration space, BARs on the bus, interrupt pins, reset control.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/bus.h"
#include "vmm/device/pci.h"

struct card {
    struct device device;
    struct pci_function function;
    uint32_t writes;
    uint8_t last_offset;
};

static struct dev_world world;
static struct bus bus;
static struct pci pci;
static struct dev_line pirq[4];
static struct card card, card2;
static uint32_t resets;

static uint32_t card_port_read(struct device *device, uint16_t offset, uint8_t size) {
    (void)device;
    (void)size;
    return offset;
}

static void card_port_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    (void)device;
    (void)offset;
    (void)size;
    (void)value;
}

static uint64_t card_mmio_read(struct device *device, uint64_t offset, uint8_t size) {
    (void)device;
    (void)size;
    return offset;
}

static void card_mmio_write(struct device *device, uint64_t offset, uint8_t size, uint64_t value) {
    (void)device;
    (void)offset;
    (void)size;
    (void)value;
}

static const struct device_ops card_ops = {.name = "card",
                                           .port_read = card_port_read,
                                           .port_write = card_port_write,
                                           .mmio_read = card_mmio_read,
                                           .mmio_write = card_mmio_write};

static void card_config_written(struct pci_function *function, uint8_t offset, uint8_t size) {
    struct card *c = function->opaque;

    (void)size;
    c->writes++;
    c->last_offset = offset;
}

static const struct pci_function_ops card_function_ops = {.config_written = card_config_written};

static void on_reset(void *opaque) {
    (void)opaque;
    resets++;
}

static void card_init(struct card *c, uint8_t devfn) {
    static const struct pci_ids ids = {.vendor = 0x1af4,
                                       .device = 0x1041,
                                       .subsystem_vendor = 0x1af4,
                                       .subsystem = 1,
                                       .class_code = 0x020000,
                                       .revision = 1,
                                       .interrupt_pin = 1};
    struct pci_bar ports = {
        .kind = PCI_BAR_PORTS, .size = 32, .device = &c->device, .first_offset = 0x100, .width = 4};
    struct pci_bar memory = {
        .kind = PCI_BAR_MMIO64, .size = 0x4000, .device = &c->device, .width = 8};
    struct pci_bar memory32 = {
        .kind = PCI_BAR_MMIO32, .size = 0x1000, .device = &c->device, .width = 4};

    *c = (struct card){.device = {.ops = &card_ops, .host = &world.host}};
    pci_function_init(&c->function, &ids, &card_function_ops, c);
    cr_assert(pci_function_set_bar(&c->function, 0, &ports));
    cr_assert(pci_function_set_bar(&c->function, 1, &memory32));
    cr_assert(pci_function_set_bar(&c->function, 4, &memory));
    cr_assert_not(pci_function_set_bar(&c->function, 5, &memory), "no room for the upper half");
    memory.size = 0x3000;
    cr_assert_not(pci_function_set_bar(&c->function, 2, &memory), "no power of two");
    ports.size = 512;
    cr_assert_not(pci_function_set_bar(&c->function, 2, &ports));
    cr_assert(pci_add_function(&pci, &c->function, devfn));
}

static void pci_setup(void) {
    struct pci_backend backend = {.reset = on_reset};

    dev_world_init(&world);
    bus_init(&bus);
    for (uint32_t i = 0; i < 4; i++)
        backend.pirq[i] = dev_line(&pirq[i]);
    pci_init(&pci, &world.host, &backend, &bus);
    cr_assert_eq(pci_attach(&pci), BUS_OK);
    card_init(&card, 3 << 3);
    card_init(&card2, 7 << 3);
    resets = 0;
}

static void address(uint8_t devfn, uint8_t offset) {
    bus_port_write(&bus, 0xcf8, 4, 0x80000000u | (uint32_t)devfn << 8 | (offset & 0xfcu));
}

static uint32_t get(uint8_t devfn, uint8_t offset, uint8_t size) {
    address(devfn, offset);
    return bus_port_read(&bus, (uint16_t)(0xcfc + offset % 4), size);
}

static void put(uint8_t devfn, uint8_t offset, uint8_t size, uint32_t value) {
    address(devfn, offset);
    bus_port_write(&bus, (uint16_t)(0xcfc + offset % 4), size, value);
}

TestSuite(dev_pci, .init = pci_setup);

// pci_check_type1() and pci_sanity_check() of Linux.
Test(dev_pci, linux_finds_mechanism_1) {
    bus_port_write(&bus, 0xcfb, 1, 0x01);
    bus_port_write(&bus, 0xcf8, 4, 0x80000000);
    cr_assert_eq(bus_port_read(&bus, 0xcf8, 4), 0x80000000);
    cr_assert_eq(get(0, 0, 4), 0x12378086);
    cr_assert_eq(get(0, 0x0a, 2), 0x0600);
    cr_assert_eq(get(0, 4, 2), 0x0006);
    cr_assert_eq(get(8, 0, 4), 0xffffffff, "nobody there");
    cr_assert_eq(get(1, 0, 2), 0xffff);
}

Test(dev_pci, address_register_is_a_double_word) {
    bus_port_write(&bus, 0xcf8, 4, 0xffffffff);
    cr_assert_eq(bus_port_read(&bus, 0xcf8, 4), 0x80fffffc);
    bus_port_write(&bus, 0xcf8, 2, 0);
    cr_assert_eq(bus_port_read(&bus, 0xcf8, 4), 0x80fffffc);
    cr_assert_eq(bus_port_read(&bus, 0xcf8, 2), 0xffff);
    cr_assert_eq(bus_port_read(&bus, 0xcfc, 4), 0xffffffff, "bus 255");
    bus_port_write(&bus, 0xcf8, 4, 0);
    cr_assert_eq(bus_port_read(&bus, 0xcfc, 4), 0xffffffff, "not enabled");
    address(0, 0);
    cr_assert_eq(bus_port_read(&bus, 0xcfd, 1), 0x80);
    cr_assert_eq(bus_port_read(&bus, 0xcfd, 2), 0x3780);
    cr_assert_eq(bus_port_read(&bus, 0xcfb, 2), 0x86ff, "across the two registers");
    cr_assert_eq(bus_port_read(&bus, 0xcfe, 4), 0xffff1237, "beyond the end");
}

Test(dev_pci, reset_control_resets) {
    bus_port_write(&bus, 0xcf9, 1, 0x02);
    cr_assert_eq(resets, 0);
    bus_port_write(&bus, 0xcf9, 1, 0x06);
    cr_assert_eq(resets, 1);
    bus_port_write(&bus, 0xcf9, 1, 0x06);
    cr_assert_eq(resets, 1, "the change counts");
    cr_assert_eq(bus_port_read(&bus, 0xcf9, 1), 0x06);
    bus_port_write(&bus, 0xcf8, 4, 0x00000400);
    cr_assert_eq(resets, 1, "that was an address");
}

Test(dev_pci, bars_are_sized_and_mapped) {
    put(0x18, 0x10, 4, 0xffffffff);
    cr_assert_eq(get(0x18, 0x10, 4), 0x0000ffe1);
    put(0x18, 0x14, 4, 0xffffffff);
    cr_assert_eq(get(0x18, 0x14, 4), 0xfffff000);
    put(0x18, 0x20, 4, 0xffffffff);
    put(0x18, 0x24, 4, 0xffffffff);
    cr_assert_eq(get(0x18, 0x20, 4), 0xffffc004);
    cr_assert_eq(get(0x18, 0x24, 4), 0xffffffff);
    put(0x18, 0x10, 4, 0xc000);
    put(0x18, 0x14, 4, 0xd0000000);
    put(0x18, 0x20, 4, 0x00004000);
    put(0x18, 0x24, 4, 0x80);
    cr_assert_not(bus_port_is_claimed(&bus, 0xc000));
    put(0x18, 4, 2, 0x0007);
    cr_assert_eq(bus_port_read(&bus, 0xc004, 4), 0x104);
    cr_assert_eq(bus_mmio_read(&bus, 0xd0000010, 4), 0x10);
    cr_assert_eq(bus_mmio_read(&bus, 0x8000004020, 8), 0x20);
    put(0x18, 0x10, 4, 0xd000);
    cr_assert_not(bus_port_is_claimed(&bus, 0xc000));
    cr_assert(bus_port_is_claimed(&bus, 0xd01f));
    put(0x18, 4, 2, 0x0002);
    cr_assert_not(bus_port_is_claimed(&bus, 0xd000));
    cr_assert(bus_mmio_is_claimed(&bus, 0xd0000000));
    pci_function_reset(&card.function);
    cr_assert_eq(bus.mmio_count, 0);
    cr_assert_eq(bus.port_count, 1);
}

Test(dev_pci, overlapping_bar_waits_for_its_place) {
    put(0x18, 4, 2, 0x0001);
    put(0x38, 4, 2, 0x0001);
    put(0x18, 0x10, 4, 0xcf8 & ~31u);
    cr_assert_eq(bus_port_read(&bus, 0xcf8, 4), 0x80001810, "the bus keeps its own");
    put(0x18, 0x10, 4, 0xc000);
    put(0x38, 0x10, 4, 0xc000);
    cr_assert(card.function.bar[0].mapped);
    cr_assert_not(card2.function.bar[0].mapped);
    put(0x18, 0x10, 4, 0xd000);
    cr_assert(card2.function.bar[0].mapped);
}

Test(dev_pci, only_writable_bits_change) {
    put(0x18, 0, 4, 0);
    cr_assert_eq(get(0x18, 0, 4), 0x10411af4);
    put(0x18, 0x3c, 1, 11);
    cr_assert_eq(get(0x18, 0x3c, 2), 0x010b);
    cr_assert_eq(card.writes, 2);
    cr_assert_eq(card.last_offset, 0x3c);
    card.function.config[7] = 0x90; // error bits, as a device would set them
    put(0x18, 6, 2, 0x8000);
    cr_assert_eq(get(0x18, 6, 2), 0x1000);
    put(0, 4, 2, 0);
    cr_assert_eq(get(0, 4, 2), 0x0006);
    put(0, 0x59, 1, 0xff);
    cr_assert_eq(get(0, 0x59, 1), 0x33);
    cr_assert_not(pci_add_function(&pci, &card2.function, 0x18), "taken");
}

Test(dev_pci, interrupt_pins_share_lines) {
    pci_function_set_intx(&card.function, true); // devices 3 and 7, pin A: line D
    cr_assert(pirq[3].level);
    cr_assert_eq(get(0x18, 6, 2) & 8, 8);
    pci_function_set_intx(&card2.function, true);
    pci_function_set_intx(&card.function, false);
    cr_assert(pirq[3].level);
    put(0x38, 4, 2, 0x0400);
    cr_assert_not(pirq[3].level, "disabled by the command register");
    cr_assert_eq(get(0x38, 6, 2) & 8, 8, "but it still wants to");
    put(0x38, 4, 2, 0);
    cr_assert(pirq[3].level);
    pci_function_reset(&card2.function);
    cr_assert_not(pirq[3].level);
    cr_assert_eq(pirq[3].rises, 2);
}

Test(dev_pci, record_round_trips) {
    struct bus other_bus;
    struct pci other;
    struct pci_backend backend = {.reset = on_reset};

    bus_init(&other_bus);
    put(0, 0x5a, 1, 0x11);
    bus_port_write(&bus, 0xcf9, 1, 0x0a);
    pci_init(&other, &world.host, &backend, &other_bus);
    dev_check_records(&pci.device, &other.device);
    cr_assert_eq(other.config_address, pci.config_address);
    dev_check_bad_value(&pci.device, 0, 4, 1);       // config_address
    dev_check_bad_value(&pci.device, 4, 1, 1);       // reset_control
    dev_check_bad_value(&pci.device, 5, 2, 0x1234);  // vendor
    dev_check_bad_value(&pci.device, 5 + 256, 1, 1); // intx without status
    dev_check_bad_value(&pci.device, 5 + 263, 1, 1); // padding
}

Test(dev_pci, function_record_maps_bars) {
    uint8_t record[PCI_FUNCTION_RECORD_BYTES];

    put(0x18, 0x10, 4, 0xc000);
    put(0x18, 4, 2, 0x0001);
    pci_function_set_intx(&card.function, true);
    pci_function_save(&card.function, record);
    pci_function_reset(&card.function);
    cr_assert_not(bus_port_is_claimed(&bus, 0xc000));
    cr_assert(pci_function_check(&card.function, record));
    pirq[3] = (struct dev_line){0};
    pci_function_restore(&card.function, record);
    cr_assert(bus_port_is_claimed(&bus, 0xc000));
    cr_assert_eq(pirq[3].rises, 0, "silent");
    pirq[3].level = true; // the listener's own record says so
    pci_function_set_intx(&card.function, false);
    cr_assert_not(pirq[3].level);
    record[0] ^= 1;
    cr_assert_not(pci_function_check(&card.function, record));
}
