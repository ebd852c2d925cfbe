// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware, the debug-exit port, and the keyboard controller: what ends or resets a VM.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/debugexit.h"
#include "vmm/device/keyboard.h"
#include "vmm/device/pm.h"
#include "vmm/device/ticks.h"

static struct dev_world world;
static struct dev_line line;
static struct pm pm;
static struct keyboard keyboard;
static uint32_t power_offs, resets, exits, exit_code;

static void on_power_off(void *opaque) {
    (void)opaque;
    power_offs++;
}

static void on_reset(void *opaque) {
    (void)opaque;
    resets++;
}

static void on_exit_code(void *opaque, uint32_t code) {
    (void)opaque;
    exits++;
    exit_code = code;
}

static void pm_setup(void) {
    const struct pm_backend backend = {.power_off = on_power_off};

    dev_world_init(&world);
    pm_init(&pm, &world.host, &backend, dev_line(&line));
}

static uint32_t get(uint16_t offset, uint8_t size) {
    return pm.device.ops->port_read(&pm.device, offset, size);
}

static void put(uint16_t offset, uint8_t size, uint32_t value) {
    pm.device.ops->port_write(&pm.device, offset, size, value);
}

TestSuite(dev_pm, .init = pm_setup);

Test(dev_pm, timer_counts_exactly) {
    world.now = 1000 * NS_PER_SECOND;
    cr_assert_eq(get(8, 4), 3579545000u);
    world.now = 1200 * NS_PER_SECOND;
    cr_assert_eq(get(8, 4), (uint32_t)(1200ULL * PM_TIMER_HZ));
    cr_assert_eq(get(10, 2), (uint32_t)(1200ULL * PM_TIMER_HZ) >> 16);
    put(8, 4, 0);
    cr_assert_eq(get(8, 4), (uint32_t)(1200ULL * PM_TIMER_HZ), "read only");
}

Test(dev_pm, timer_carry_raises_the_sci) {
    uint64_t half = ns_from_ticks(1ULL << 31, PM_TIMER_HZ);

    cr_assert_eq(pm.device.ops->deadline(&pm.device), DEVICE_NO_DEADLINE);
    put(2, 2, 0x0001);
    cr_assert_eq(pm.device.ops->deadline(&pm.device), half);
    dev_run_until(&world, &pm.device, half);
    cr_assert(line.level);
    cr_assert_eq(get(0, 2), 0x0001);
    put(0, 2, 0x0001);
    cr_assert_not(line.level);
    cr_assert_eq(pm.device.ops->deadline(&pm.device), ns_from_ticks(2ULL << 31, PM_TIMER_HZ));
    put(2, 2, 0);
    world.now = 10 * half;
    cr_assert_eq(get(0, 2), 0x0001, "the status is there without being enabled");
    cr_assert_not(line.level);
}

Test(dev_pm, power_button_asks_the_guest) {
    pm_power_button(&pm);
    cr_assert_not(line.level);
    cr_assert_eq(get(0, 4), 0x00000100);
    put(2, 2, 0xffff);
    cr_assert(line.level);
    cr_assert_eq(get(2, 2), 0x0521);
    put(0, 2, 0x00ff);
    cr_assert(line.level);
    put(1, 1, 0x01);
    cr_assert_not(line.level);
}

Test(dev_pm, alarm_of_the_rtc_is_an_event) {
    struct irq_line alarm = pm_rtc_line(&pm);

    irq_line_set(&alarm, true);
    irq_line_set(&alarm, false);
    cr_assert_not(line.level);
    cr_assert_eq(get(0, 2), 0x0400, "it stays until it is cleared");
    put(2, 2, 0x0400);
    cr_assert(line.level);
    put(0, 2, 0x0400);
    cr_assert_not(line.level);
    irq_line_set(&alarm, true);
    cr_assert(line.level);
    put(0, 2, 0x0400);
    cr_assert_not(line.level, "the rise is the event, not the level");
}

Test(dev_pm, s5_powers_off) {
    cr_assert_eq(get(4, 2), 0x0001, "in ACPI mode");
    put(4, 2, 0x0000);
    cr_assert_eq(get(4, 2), 0x0001, "for good");
    put(4, 2, 5 << 10);
    cr_assert_eq(power_offs, 0);
    put(4, 2, 1 << 13 | 3 << 10);
    cr_assert_eq(power_offs, 0, "no such state");
    cr_assert_eq(get(4, 2), 3 << 10 | 1, "SLP_EN reads 0");
    put(4, 2, 1 << 13 | 5 << 10);
    cr_assert_eq(power_offs, 1);
    put(5, 1, 0x34);
    cr_assert_eq(power_offs, 2, "as a byte");
}

Test(dev_pm, record_round_trips) {
    struct dev_line other_line;
    struct pm other;
    const struct pm_backend backend = {.power_off = on_power_off};

    world.now = 700 * NS_PER_SECOND;
    put(2, 2, 0x0101);
    put(4, 2, 0x0c02);
    pm_power_button(&pm);
    pm_init(&other, &world.host, &backend, dev_line(&other_line));
    dev_check_records(&pm.device, &other.device);
    cr_assert_eq(other.sci_level, true);
    dev_check_bad_value(&pm.device, 0, 8, 100);     // half turns to come
    dev_check_bad_value(&pm.device, 8, 2, 0x0200);  // status
    dev_check_bad_value(&pm.device, 10, 2, 0x0200); // enable
    dev_check_bad_value(&pm.device, 12, 2, 0x2000); // SLP_EN is not kept
    pm.device.ops->reset(&pm.device);
    cr_assert_not(line.level);
    cr_assert_eq(get(2, 2), 0);
}

// --- debug exit ----------------------------------------------------------------------------------

Test(dev_debugexit, any_width_ends_the_vm) {
    const struct debugexit_backend backend = {.exit = on_exit_code};
    struct debugexit port, other;

    debugexit_init(&port, &world.host, &backend);
    debugexit_init(&other, &world.host, &backend);
    exits = 0;
    port.device.ops->port_write(&port.device, 0, 1, 0xffffff07);
    cr_assert_eq(exit_code, 7);
    port.device.ops->port_write(&port.device, 2, 2, 0xffff1234);
    cr_assert_eq(exit_code, 0x1234);
    port.device.ops->port_write(&port.device, 0, 4, 0x12345678);
    cr_assert_eq(exit_code, 0x12345678);
    cr_assert_eq(exits, 3);
    cr_assert_eq(port.device.ops->port_read(&port.device, 0, 2), 0xffff);
    dev_check_records(&port.device, &other.device);
}

// --- keyboard controller -------------------------------------------------------------------------

enum { KBD_DATA = 0, KBD_COMMAND = 4, CONTROL_A = 8 };

static uint8_t kbd_in(uint16_t offset) {
    return dev_in(&keyboard.device, offset);
}

static void kbd_out(uint16_t offset, uint8_t value) {
    dev_out(&keyboard.device, offset, value);
}

static void keyboard_setup(void) {
    const struct keyboard_backend backend = {.reset = on_reset};

    dev_world_init(&world);
    keyboard_init(&keyboard, &world.host, &backend, dev_line(&line));
    resets = 0;
}

TestSuite(dev_keyboard, .init = keyboard_setup);

Test(dev_keyboard, resets_the_machine) {
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x03, 0, "nothing to wait for");
    kbd_out(KBD_COMMAND, 0xfe);
    cr_assert_eq(resets, 1);
    kbd_out(KBD_COMMAND, 0xff);
    cr_assert_eq(resets, 1, "no line pulsed");
    kbd_out(KBD_COMMAND, 0xd1);
    kbd_out(KBD_DATA, 0xdf);
    cr_assert_eq(resets, 1);
    kbd_out(KBD_COMMAND, 0xd1);
    kbd_out(KBD_DATA, 0xde);
    cr_assert_eq(resets, 2);
    kbd_out(CONTROL_A, 0x01);
    cr_assert_eq(resets, 3);
    kbd_out(CONTROL_A, 0x01);
    cr_assert_eq(resets, 3, "only the change counts");
    cr_assert_eq(kbd_in(CONTROL_A), 0x03);
}

// i8042_controller_check(), _selftest(), _init(), i8042_check_aux() of Linux.
Test(dev_keyboard, linux_finds_a_controller_without_devices) {
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x01, 0);
    kbd_out(KBD_COMMAND, 0xaa);
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x01, 1);
    cr_assert_eq(kbd_in(KBD_DATA), 0x55);
    kbd_out(KBD_COMMAND, 0x20);
    cr_assert_eq(kbd_in(KBD_DATA), 0x34);
    kbd_out(KBD_COMMAND, 0xd3);
    kbd_out(KBD_DATA, 0x5a);
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x21, 0x01, "not from an auxiliary port");
    kbd_in(KBD_DATA);
    kbd_out(KBD_COMMAND, 0xa9);
    cr_assert_eq(kbd_in(KBD_DATA), 0x01);
    kbd_out(KBD_COMMAND, 0x60);
    kbd_out(KBD_DATA, 0x65);
    kbd_out(KBD_DATA, 0xf2); // identify yourself
    cr_assert(line.level);
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x41, 0x41);
    cr_assert_eq(kbd_in(KBD_DATA), 0xfe);
    cr_assert_not(line.level);
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x41, 0);
}

Test(dev_keyboard, interfaces_switch_on_and_off) {
    kbd_out(KBD_COMMAND, 0xa8);
    kbd_out(KBD_COMMAND, 0xae);
    kbd_out(KBD_COMMAND, 0x20);
    cr_assert_eq(kbd_in(KBD_DATA), 0x04);
    kbd_out(KBD_COMMAND, 0xa7);
    kbd_out(KBD_COMMAND, 0xad);
    kbd_out(KBD_COMMAND, 0x20);
    cr_assert_eq(kbd_in(KBD_DATA), 0x34);
    kbd_out(KBD_COMMAND, 0xd4);
    kbd_out(KBD_DATA, 0xff);
    cr_assert_eq(kbd_in(KBD_COMMAND) & 0x61, 0x61);
}

Test(dev_keyboard, record_round_trips) {
    struct dev_line other_line;
    struct keyboard other;
    const struct keyboard_backend backend = {.reset = on_reset};

    kbd_out(KBD_COMMAND, 0x60);
    kbd_out(KBD_DATA, 0x01);
    kbd_out(KBD_DATA, 0xed);
    kbd_out(KBD_COMMAND, 0xd1);
    keyboard_init(&other, &world.host, &backend, dev_line(&other_line));
    dev_check_records(&keyboard.device, &other.device);
    cr_assert_eq(other.irq_level, keyboard.irq_level);
    dev_out(&other.device, KBD_DATA, 0);
    cr_assert_eq(resets, 1, "the pending command went along");
    dev_check_bad_value(&keyboard.device, 1, 1, 0x00); // output port
    dev_check_bad_value(&keyboard.device, 2, 1, 0x02); // status
    dev_check_bad_value(&keyboard.device, 2, 1, 0x40); // a time-out of nothing
    dev_check_bad_value(&keyboard.device, 4, 1, 0xaa); // pending
    dev_check_bad_value(&keyboard.device, 5, 1, 0x00); // A20 closed
    keyboard.device.ops->reset(&keyboard.device);
    cr_assert_not(line.level);
}
