// SPDX-License-Identifier: Apache-2.0
// boot/boot_acpi_button: where the power button is, how its interrupt comes, and why there is none.
#include "include/abi.h"
#include "tests/unit/boot/acpi_support.h"

#define MADT_AT 0x800u
#define FADT_AT 0x1000u

#define FADT_SCI_INT     46u
#define FADT_PM1A_EVT    56u
#define FADT_PM1B_EVT    60u
#define FADT_PM1_EVT_LEN 88u
#define FADT_FLAGS       112u
#define FADT_X_PM1A_EVT  148u
#define PWR_BUTTON       (1u << 4)
#define HW_REDUCED       (1u << 20)

#define ADD_OVERRIDE(bus, irq, gsi, flags) APPEND(MADT_AT, 2, 10, bus, irq, gsi, 0, 0, 0, flags, 0)

static const uint32_t tables[] = {MADT_AT, FADT_AT};

static void setup(void) {
    memset(memory, 0, sizeof(memory));
    put_root(tables, ARRAY_COUNT(tables));
    put_table(MADT_AT, "APIC", 44);
    put(FADT_AT + FADT_SCI_INT, 9, 2);
    put(FADT_AT + FADT_PM1A_EVT, 0x600, 4);
    put(FADT_AT + FADT_PM1_EVT_LEN, 4, 1);
    put_table(FADT_AT, "FACP", 276);
}

TestSuite(boot_button, .init = setup);

static void run(void) {
    refresh(FADT_AT);
    cr_assert(run_parser(RSDP_AT));
}

static void expect_input(uint32_t input, uint32_t trigger) {
    run();
    cr_assert_null(found.no_button);
    cr_assert_eq(platform.start.button.input, input);
    cr_assert_eq(platform.start.button.trigger, trigger);
}

static void expect_none(const char *why) {
    run();
    cr_assert_str_eq(found.no_button, why);
    cr_assert_eq(platform.start.button.pm1a_event, 0);
    cr_assert_eq(platform.start.button.pm1b_event, 0);
}

Test(boot_button, is_in_the_pm1_blocks) {
    put(FADT_AT + FADT_PM1B_EVT, 0x620, 4);
    put(FADT_AT + FADT_PM1_EVT_LEN, 8, 1);
    run();
    cr_assert_null(found.no_button);
    cr_assert_eq(platform.start.button.pm1a_event, 0x600);
    cr_assert_eq(platform.start.button.pm1b_event, 0x620);
    cr_assert_eq(platform.start.button.size, 8);
    put(FADT_AT + FADT_X_PM1A_EVT, BOOT_SPACE_IO, 1);
    put(FADT_AT + FADT_X_PM1A_EVT + 4, 0x1800, 8);
    run();
    cr_assert_eq(platform.start.button.pm1a_event, 0x1800, "the generic address goes first");
}

// ACPI 6.5 5.2.9, 5.2.12.5: the SCI is level and active low, whatever the ISA bus is.
Test(boot_button, sci_is_level_and_low_where_nothing_says_otherwise) {
    expect_input(9, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    ADD_OVERRIDE(0, 9, 9, 0); // conforms to the bus
    expect_input(9, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    ADD_OVERRIDE(0, 5, 21, 5); // another one's
    ADD_OVERRIDE(1, 9, 22, 5); // another bus's
    expect_input(9, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
    put(FADT_AT + FADT_SCI_INT, 20, 2); // no ISA interrupt
    expect_input(20, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
}

Test(boot_button, override_says_where_and_how_the_sci_arrives) {
    static const struct {
        uint8_t flags;
        uint32_t trigger;
    } cases[] = {
        {0x0d, ABI_TRIGGER_LEVEL},                   // level, high: as on QEMU
        {0x0f, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW}, // level, low
        {0x01, ABI_TRIGGER_LEVEL},                   // high
        {0x03, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW}, // low
        {0x05, 0},                                   // edge, high
        {0x07, ABI_TRIGGER_LOW},                     // edge, low
        {0x04, ABI_TRIGGER_LOW},                     // edge
        {0x0c, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW}, // level
        {0x0a, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW}, // reserved values
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        setup();
        ADD_OVERRIDE(0, 9, 21, cases[i].flags);
        expect_input(21, cases[i].trigger);
    }
    put(FADT_AT + FADT_SCI_INT, 30, 2); // beyond the ISA interrupts, too
    ADD_OVERRIDE(0, 30, 40, 0x0d);
    expect_input(40, ABI_TRIGGER_LEVEL);
}

Test(boot_button, override_that_is_cut_off_does_not_count) {
    APPEND(MADT_AT, 2, 8, 0, 9, 21, 0, 0, 0);
    expect_input(9, ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW);
}

Test(boot_button, control_method_device_is_none) {
    put(FADT_AT + FADT_FLAGS, PWR_BUTTON, 4);
    expect_none("it is a control-method device, or missing");
}

Test(boot_button, hardware_reduced_machine_has_none) {
    put(FADT_AT + FADT_FLAGS, HW_REDUCED | PWR_BUTTON, 4);
    expect_none("the machine is hardware-reduced (ACPI)");
}

Test(boot_button, registers_that_cannot_be_are_none) {
    static const struct {
        uint32_t port;
        uint8_t size;
    } cases[] = {{0, 4}, {0x600, 0}, {0x600, 3}, {0x10600, 4}, {0xfffe, 4}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        put(FADT_AT + FADT_PM1A_EVT, cases[i].port, 4);
        put(FADT_AT + FADT_PM1_EVT_LEN, cases[i].size, 1);
        expect_none("the FADT has no PM1 event registers");
    }
    put(FADT_AT + FADT_PM1A_EVT, 0xfffc, 4);
    put(FADT_AT + FADT_PM1B_EVT, 0xfffe, 4);
    put(FADT_AT + FADT_PM1_EVT_LEN, 5, 1);
    run();
    cr_assert_null(found.no_button);
    cr_assert_eq(platform.start.button.size, 4, "two registers of the same size");
    cr_assert_eq(platform.start.button.pm1b_event, 0, "it would end behind the last port");
}

Test(boot_button, without_tables_there_is_none) {
    memory[FADT_AT] = 'X';
    cr_assert(run_parser(RSDP_AT));
    cr_assert_str_eq(found.no_button, "there is no FADT");
    cr_assert_not(run_parser(0));
    cr_assert_str_eq(found.no_button, "there are no ACPI tables");
    cr_assert_eq(platform.start.button.pm1a_event, 0);
}
