// SPDX-License-Identifier: Apache-2.0
// boot/boot_quiesce: a machine of paper that the firmware left working is quiet afterwards, in
// order.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "boot/boot_quiesce.h"
#include "boot/boot_quiesce_usb.h"
#include "boot/boot_report.h"

#define FUNCTION(bus, device, number) ((uint32_t)(bus) << 8 | (device) << 3 | (number))
#define MASTER                        4u
#define MEMORY                        2u
#define BRIDGE                        0x00010000u
#define MULTI                         0x00800000u
#define XHCI_BAR                      0x1000u
#define OHCI_BAR                      0x2000u
#define VTD_BASE                      0x4000u
#define AMD_BASE                      0x5000u
#define EHCI_BAR                      0x7000u

static struct {
    uint32_t function;
    uint32_t space[64];
} functions[8];
static uint32_t function_count;
static uint8_t memory[0x8000] __attribute__((aligned(8)));
static bool firmware_lets_go, iommu_obeys;
static uint32_t cleared[8], cleared_count; // functions, in the order in which mastering ended
static uint16_t ports[0x100];              // from 0x600
static uint32_t events[16], event_count;   // ports, in the order of writes
static uint32_t wait_count;
static uint32_t fixed = UINT32_MAX; // masters the bus for ever
static struct platform platform;
static struct boot_info info = {.platform = &platform};
static struct boot_acpi acpi;
static uint64_t hidden[2]; // from, to: not mapped

static uint32_t *space_of(uint32_t function) {
    for (uint32_t i = 0; i < function_count; i++)
        if (functions[i].function == function)
            return functions[i].space;
    return NULL;
}

static uint32_t paper_config_read(uint32_t function, uint32_t offset) {
    const uint32_t *space = space_of(function);
    cr_assert(offset % 4 == 0 && offset < 256);
    return space == NULL ? UINT32_MAX : space[offset / 4];
}

static void paper_config_write(uint32_t function, uint32_t offset, uint32_t value) {
    uint32_t *space = space_of(function);
    cr_assert_not_null(space);
    if (offset == 4 && (space[1] & ~value & MASTER) != 0)
        cleared[cleared_count++] = function;
    if (offset == 4)
        value |= space[1] & 0xffff0000; // ones clear, zeroes keep
    if (offset == 4 && function == fixed)
        value |= MASTER;
    space[offset / 4] = value;
}

static uint32_t *word(uint64_t address) {
    cr_assert(address % 4 == 0 && address < sizeof(memory));
    return (uint32_t *)(void *)(memory + address);
}

static bool paper_is_mapped(uint64_t base, uint64_t length) {
    return base + length <= hidden[0] || base >= hidden[1];
}

static uint32_t paper_memory_read(uint64_t address) {
    cr_assert(paper_is_mapped(address, 4), "a fault: 0x%lx", address);
    return *word(address);
}

static void paper_memory_write(uint64_t address, uint32_t value) {
    cr_assert(paper_is_mapped(address, 4), "a fault: 0x%lx", address);
    if (address == VTD_BASE + 0x18 && iommu_obeys)
        *word(VTD_BASE + 0x1c) = value;
    if (address == VTD_BASE + 0x64 && iommu_obeys)
        value = value >> 31 == 0 ? 0 : value;
    if (address == OHCI_BAR + 8 && (value & 8) != 0 && firmware_lets_go)
        *word(OHCI_BAR + 4) &= ~0x100u;
    *word(address) = value;
}

static uint16_t paper_port_read(uint16_t port) {
    return ports[port - 0x600];
}

static void paper_port_write(uint16_t port, uint16_t value) {
    events[event_count++] = port;
    if (port >= 0x600 && port < 0x700)
        ports[port - 0x600] = value;
}

static void paper_port_write8(uint16_t port, uint8_t value) {
    events[event_count++] = port;
    if (port == 0xb2 && value == 0xa0)
        ports[4] |= 1;
}

// The firmware works while somebody waits.
static void paper_wait(void) {
    wait_count++;
    uint32_t *legacy = word(XHCI_BAR + 0x400);
    if (firmware_lets_go && (*legacy & 1u << 24) != 0)
        *legacy &= ~(1u << 16);
}

static const struct boot_bus bus = {
    .config_read = paper_config_read,
    .config_write = paper_config_write,
    .is_mapped = paper_is_mapped,
    .memory_read = paper_memory_read,
    .memory_write = paper_memory_write,
    .port_read = paper_port_read,
    .port_write = paper_port_write,
    .port_write8 = paper_port_write8,
    .wait = paper_wait,
};

static uint32_t *add(uint32_t function, uint32_t class, uint32_t header) {
    uint32_t *space = functions[function_count].space;
    functions[function_count++].function = function;
    space[0] = 0x12348086;
    space[1] = 0xffff0000 | MASTER | MEMORY;
    space[2] = class << 8;
    space[3] = header;
    return space;
}

static bool masters(uint32_t function) {
    return (space_of(function)[1] & MASTER) != 0;
}

static bool says(const char *text) {
    bool is_said = false;
    for (const char *line = info.report; *line != '\0'; line += strlen(line) + 1)
        is_said |= strstr(line, text) != NULL;
    return is_said;
}

// A NIC behind a bridge, a disk beside a USB controller.
static void make_machine(void) {
    add(FUNCTION(0, 1, 0), 0x060400, BRIDGE)[6] = 0x00030200; // buses 2 and 3 are behind it
    add(FUNCTION(0, 2, 0), 0x010601, MULTI);
    uint32_t *usb = add(FUNCTION(0, 2, 3), 0x0c0330, 0);
    usb[4] = XHCI_BAR | 4;
    add(FUNCTION(3, 0, 0), 0x020000, 0);
    memory[XHCI_BAR] = 0x20;
    *word(XHCI_BAR + 0x10) = 0x400 / 4 << 16;
    *word(XHCI_BAR + 0x20) = 1;
    *word(XHCI_BAR + 0x400) = 1 | 1u << 16;
    *word(XHCI_BAR + 0x404) = 0xe011;
    firmware_lets_go = true;
    iommu_obeys = true;
}

TestSuite(boot_quiesce, .init = make_machine);

Test(boot_quiesce, endpoints_end_before_bridges_and_status_is_kept) {
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_eq(cleared_count, 4);
    cr_assert_eq(cleared[3], FUNCTION(0, 1, 0), "the bridge comes last");
    for (uint32_t i = 0; i < function_count; i++)
        cr_assert_eq(functions[i].space[1], 0xffff0000 | MEMORY);
    cr_assert(says("4 of 4 functions mastered the bus, now off at 4"));
}

Test(boot_quiesce, every_bus_of_the_windows_is_looked_at) {
    add(FUNCTION(0x80, 0, 0), 0x020000, 0); // behind no bridge: a root of its own
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(masters(FUNCTION(0x80, 0, 0)), "nothing tells of it");
    info.platform->ecam_count = 1;
    info.platform->ecam[0] =
        (struct boot_ecam){.base = 0xe0000000, .first_bus = 0, .last_bus = 255};
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_not(masters(FUNCTION(0x80, 0, 0)));
}

Test(boot_quiesce, named_function_keeps_its_way) {
    strcpy(platform.start.cmdline, "quiet keep-dma=03:00.0 x=1");
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(masters(FUNCTION(3, 0, 0)));
    cr_assert(masters(FUNCTION(0, 1, 0)), "it leads there");
    cr_assert_not(masters(FUNCTION(0, 2, 0)));
    cr_assert(says("03:00.0 is left"));
}

Test(boot_quiesce, function_that_can_not_is_told) {
    fixed = FUNCTION(0, 1, 0);
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(says("1 of them have no way"));
    cr_assert(says("4 of 4 functions mastered the bus, now off at 3"));
}

Test(boot_quiesce, interrupts_that_are_writes_go_on) {
    static const uint32_t classes[] = {0x080010, 0x080020, 0x080600};
    for (uint32_t i = 0; i < 3; i++)
        add(FUNCTION(2, i, 0), classes[i], 0);
    add(FUNCTION(2, 3, 0), 0x080000, 0); // an 8259 is no I/O APIC
    boot_quiesce_pci(&bus, &acpi, &info);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(masters(FUNCTION(2, i, 0)), "0x%x", classes[i]);
    cr_assert(masters(FUNCTION(0, 1, 0)), "their way");
    cr_assert_not(masters(FUNCTION(2, 3, 0)));
    cr_assert(says("3 I/O APICs and IOMMUs are left"));
}

Test(boot_quiesce, window_that_is_not_mapped_is_named) {
    add(0x00010000 | FUNCTION(4, 0, 0), 0x020000, 0);
    info.platform->ecam_count = 2;
    info.platform->ecam[0] = (struct boot_ecam){.base = 0xe0000000, .last_bus = 3};
    info.platform->ecam[1] =
        (struct boot_ecam){.base = 0xf0000000, .segment = 1, .first_bus = 4, .last_bus = 5};
    hidden[0] = 0xf0000000;
    hidden[1] = 0xf0500000; // bus 4, not 5
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(masters(0x00010000 | FUNCTION(4, 0, 0)));
    cr_assert(says("PCI: 1 buses of segment 1 (0xf0000000) are not mapped: left as"));
    hidden[0] = 0xe0000000;
    space_of(FUNCTION(3, 0, 0))[1] |= MASTER;
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_not(masters(FUNCTION(3, 0, 0)), "there are ports");
    cr_assert(says("PCI: 4 buses of segment 0 (0xe0000000) are not mapped: reached by ports"));
}

Test(boot_quiesce, ranges_that_did_not_fit_are_told) {
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_not(says("ranges of buses"));
    acpi.ecams_left = 2;
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(says("PCI: 2 ranges of buses beyond 64"));
}

Test(boot_quiesce, other_names_keep_nothing) {
    static const char *const words[] = {"keep-dma=03:00.01", "keep-dma=0003:00:00.0",
                                        "xkeep-dma=03:00.0", "keep-dma=03:00", "keep-dma="};
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        strcpy(platform.start.cmdline, words[i]);
        space_of(FUNCTION(3, 0, 0))[1] |= MASTER;
        boot_quiesce_pci(&bus, &acpi, &info);
        cr_assert_not(masters(FUNCTION(3, 0, 0)), "%s", words[i]);
    }
    cr_assert(says("keep-dma=03:00.01: no such device"));
    cr_assert(says("keep-dma=03:00: no such device"));
}

Test(boot_quiesce, name_of_nothing_is_told) {
    strcpy(platform.start.cmdline, "keep-dma=05:00.0 keep-dma=03:00.0 x keep-dma=0001:03:00.0");
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert(masters(FUNCTION(3, 0, 0)));
    cr_assert(says("keep-dma=05:00.0: no such device"));
    cr_assert(says("keep-dma=0001:03:00.0: no such device"));
    cr_assert_not(says("keep-dma=03:00.0: no such device"));
}

Test(boot_quiesce, usb_is_taken_and_stopped) {
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_eq(*word(XHCI_BAR + 0x400), 1 | 1u << 24);
    cr_assert_eq(*word(XHCI_BAR + 0x404), 0xe0000000, "no SMI is on, events are cleared");
    cr_assert_eq(*word(XHCI_BAR + 0x20) & 1, 0);
    cr_assert(says("USB: 1 controllers taken"));
}

Test(boot_quiesce, usb_is_taken_by_force_in_bounded_time) {
    firmware_lets_go = false;
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_eq(*word(XHCI_BAR + 0x400), 1 | 1u << 24);
    cr_assert_eq(wait_count, 1000);
    cr_assert(says("does not let go of 00:02.3"));
}

Test(boot_quiesce, capabilities_in_a_circle_end) {
    *word(XHCI_BAR + 0x400) = 0x0102; // not ours, the next one is 4 bytes on
    for (uint32_t i = 1; i < 100; i++)
        *word(XHCI_BAR + 0x400 + 4 * i) = 0x0102;
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 2, 3), 0x30), BOOT_USB_FREE);
}

Test(boot_quiesce, ohci_is_asked_for) {
    uint32_t *usb = add(FUNCTION(0, 3, 0), 0x0c0310, 0);
    usb[4] = OHCI_BAR;
    *word(OHCI_BAR + 4) = 0x180;
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 3, 0), 0x10), BOOT_USB_TAKEN);
    cr_assert_eq(*word(OHCI_BAR + 4), 0);
    cr_assert_eq(*word(OHCI_BAR + 0x14), UINT32_MAX);
}

Test(boot_quiesce, controller_without_memory_is_not_touched) {
    space_of(FUNCTION(0, 2, 3))[1] &= ~MEMORY;
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_eq(*word(XHCI_BAR + 0x400), 1 | 1u << 16);
}

static void make_ehci(void) {
    uint32_t *usb = add(FUNCTION(0, 4, 0), 0x0c0320, 0);
    usb[4] = EHCI_BAR;
    memory[EHCI_BAR] = 0x20;
    *word(EHCI_BAR + 8) = 0x6800;
    *word(EHCI_BAR + 0x20) = 1;
    usb[0x68 / 4] = 1;
    usb[0x6c / 4] = 0x3f;
}

Test(boot_quiesce, ehci_is_stopped_without_smi) {
    make_ehci();
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 4, 0), 0x20), BOOT_USB_FREE);
    cr_assert_eq(*word(EHCI_BAR + 0x20), 0);
    cr_assert_eq(space_of(FUNCTION(0, 4, 0))[0x6c / 4], 0xe0000000);
}

// Bits that tell of an interrupt's route are no trap.
Test(boot_quiesce, uhci_is_the_firmwares_by_its_traps) {
    uint32_t *usb = add(FUNCTION(0, 5, 0), 0x0c0300, 0);
    usb[0xc0 / 4] = 0x2000;
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 5, 0), 0x00), BOOT_USB_FREE);
    usb[0xc0 / 4] = 0x2010;
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 5, 0), 0x00), BOOT_USB_TAKEN);
}

// Three controllers: xHCI, EHCI and OHCI.
static void expect_untouched(const char *line) {
    static uint8_t before[sizeof(memory)];
    make_ehci();
    add(FUNCTION(0, 3, 0), 0x0c0310, 0)[4] = OHCI_BAR;
    if (hidden[1] == 0) {
        memset(memory + XHCI_BAR, 0xff, 0x1000);
        memset(memory + OHCI_BAR, 0xff, 0x1000);
        memset(memory + EHCI_BAR, 0xff, 0x1000);
    }
    memcpy(before, memory, sizeof(memory));
    boot_quiesce_pci(&bus, &acpi, &info);
    cr_assert_arr_eq(memory, before, sizeof(memory));
    cr_assert_eq(wait_count, 0);
    cr_assert_eq(space_of(FUNCTION(0, 4, 0))[0x6c / 4], 0x3f);
    static const char *const names[] = {"00:02.3", "00:04.0", "00:03.0"};
    for (uint32_t i = 0; i < 3; i++) {
        char text[80];
        snprintf(text, sizeof(text), "USB: %s %s", names[i], line);
        cr_assert(says(text), "%s", text);
    }
    cr_assert_not(masters(FUNCTION(0, 2, 3)));
    cr_assert_not(says("taken from the firmware") && says("USB: 3"));
}

Test(boot_quiesce, controllers_of_ones_are_left_alone) {
    expect_untouched("does not answer");
}

Test(boot_quiesce, controllers_that_are_not_mapped_are_left_alone) {
    hidden[1] = sizeof(memory);
    expect_untouched("is not mapped");
}

Test(boot_quiesce, list_that_leaves_what_is_mapped_ends) {
    hidden[0] = XHCI_BAR + 0x400;
    hidden[1] = OHCI_BAR;
    cr_assert_eq(boot_usb_take(&bus, FUNCTION(0, 2, 3), 0x30), BOOT_USB_FREE);
    cr_assert_eq(*word(XHCI_BAR + 0x20) & 1, 0, "stopped all the same");
}

static uint8_t dmar[96], ivrs[144];

static void put_dmar(bool is_claimed) {
    dmar[37] = is_claimed ? 4 : 0;
    dmar[50] = 16; // a DRHD
    memcpy(dmar + 56, &(uint64_t){VTD_BASE}, 8);
}

Test(boot_quiesce, vtd_is_turned_off_in_order) {
    put_dmar(true);
    *word(VTD_BASE + 0x1c) = 1u << 31 | 1u << 26 | 1u << 25;
    *word(VTD_BASE + 0x64) = 1u << 31 | 1;
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), NULL, 0, &info);
    cr_assert_eq(*word(VTD_BASE + 0x1c), 0);
    cr_assert_eq(*word(VTD_BASE + 0x64), 0);
    cr_assert(says("the firmware claims it, and 1 of 1 IOMMUs were on"));
    cr_assert_not(says("can not"));
}

Test(boot_quiesce, false_claim_and_stuck_unit_are_said) {
    put_dmar(true);
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), NULL, 0, &info);
    cr_assert(says("that was not true"));
    iommu_obeys = false;
    *word(VTD_BASE + 0x1c) = 1u << 31;
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), NULL, 0, &info);
    cr_assert(says("1 IOMMUs can not be turned off"));
}

Test(boot_quiesce, amd_iommu_is_turned_off) {
    ivrs[48] = 0x10;
    ivrs[50] = 24;
    memcpy(ivrs + 56, &(uint64_t){AMD_BASE}, 8);
    *word(AMD_BASE + 0x18) = 1 | 1 << 2 | 1 << 12 | 1 << 20;
    boot_quiesce_iommu(&bus, NULL, 0, ivrs, sizeof(ivrs), &info);
    cr_assert_eq(*word(AMD_BASE + 0x18), 1 << 20);
    cr_assert(says("does not claim it, and 1 of 1"));
}

// A block of each type for one unit; another unit in between.
Test(boot_quiesce, iommus_are_counted_once) {
    static const uint8_t types[] = {0x10, 0x10, 0x11, 0x40};
    for (uint32_t i = 0; i < 4; i++) {
        ivrs[48 + 24 * i] = types[i];
        ivrs[50 + 24 * i] = 24;
        memcpy(ivrs + 56 + 24 * i, &(uint64_t){i == 1 ? AMD_BASE + 0x1000 : AMD_BASE}, 8);
    }
    put_dmar(false);
    memcpy(dmar + 64, dmar + 48, 16);
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), ivrs, sizeof(ivrs), &info);
    cr_assert(says("none of 3 IOMMUs was on"));
}

Test(boot_quiesce, iommus_that_do_not_answer_are_named_and_not_waited_for) {
    put_dmar(true);
    memset(memory + VTD_BASE, 0xff, 0x1000);
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), NULL, 0, &info);
    cr_assert_eq(wait_count, 0);
    cr_assert_eq(*word(VTD_BASE + 0x18), UINT32_MAX);
    cr_assert(says("the IOMMU at 0x4000 does not answer"));
    cr_assert_not(says("that was not true") || says("can not be turned off"));
    hidden[0] = VTD_BASE;
    hidden[1] = VTD_BASE + 4;
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), NULL, 0, &info);
    cr_assert(says("the IOMMU at 0x4000 is not mapped"));
}

Test(boot_quiesce, damaged_tables_end) {
    dmar[50] = 0; // a structure of no size
    boot_quiesce_iommu(&bus, dmar, sizeof(dmar), ivrs, sizeof(ivrs), &info);
    cr_assert_str_eq(info.report, "");
}

Test(boot_quiesce, events_are_off_before_acpi_mode) {
    acpi = (struct boot_acpi){.smi_command = 0xb2,
                              .acpi_enable = 0xa0,
                              .event = {{0x600, 4}, {0, 4}, {0x620, 4}, {0, 0}}};
    info.power.pm1_control[0] = 0x604;
    ports[2] = 0x121;
    boot_quiesce_events(&bus, &acpi, &info);
    const uint32_t expected[] = {0x602, 0x600, 0x622, 0x623, 0x620, 0x621, 0xb2};
    cr_assert_eq(event_count, sizeof(expected) / sizeof(expected[0]));
    cr_assert_arr_eq(events, expected, sizeof(expected));
    cr_assert(ports[2] == 0 && ports[0] == 0xffff && ports[4] == 1);
    event_count = 0;
    boot_quiesce_events(&bus, &acpi, &info);
    cr_assert_neq(events[event_count - 1], 0xb2, "once is enough");
}

Test(boot_quiesce, firmware_that_stays_in_legacy_mode_is_named) {
    acpi = (struct boot_acpi){.smi_command = 0xb2, .acpi_enable = 1};
    info.power.pm1_control[0] = 0x604;
    platform.start.button.pm1a_event = 0x600;
    boot_quiesce_events(&bus, &acpi, &info);
    cr_assert(
        says("does not change to ACPI mode: no power-off, and the power button does nothing"));
    cr_assert_eq(platform.start.button.pm1a_event, 0);
}

Test(boot_quiesce, missing_power_button_is_named) {
    acpi = (struct boot_acpi){.smi_command = 0xb2, .acpi_enable = 0xa0};
    info.power.pm1_control[0] = 0x604;
    platform.start.button.pm1a_event = 0x600;
    boot_quiesce_events(&bus, &acpi, &info);
    cr_assert_not(says("power button"));
    cr_assert_eq(platform.start.button.pm1a_event, 0x600);
    acpi.no_button = "it is away";
    boot_quiesce_events(&bus, &acpi, &info);
    cr_assert(says("power button: it is away: it does nothing"));
}

Test(boot_quiesce, lines_that_do_not_fit_are_left_out_whole) {
    for (uint32_t i = 0; i < BOOT_REPORT_MAX / 10; i++)
        boot_report(&info, "line %015u", i);
    uint32_t count = 0;
    for (const char *line = info.report; *line != '\0'; line += strlen(line) + 1, count++)
        cr_assert_eq(strlen(line), 20);
    cr_assert_eq(count, (BOOT_REPORT_MAX - 1) / 21);
    cr_assert(info.report[BOOT_REPORT_MAX - 2] == '\0' && info.report[BOOT_REPORT_MAX - 1] == '\0');
}
