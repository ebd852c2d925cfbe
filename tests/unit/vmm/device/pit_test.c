// SPDX-License-Identifier: Apache-2.0
// The 8254: modes, reading back, exactness over long times, and what Linux does with it.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/pit.h"
#include "vmm/device/ticks.h"

enum { COUNTER0, COUNTER1, COUNTER2, CONTROL, PORT61 };

static struct dev_world world;
static struct dev_line line;
static struct pit pit;

static void pit_setup(void) {
    dev_world_init(&world);
    pit_init(&pit, &world.host, dev_line(&line));
    world.now = 123456789;
}

static uint8_t in(uint16_t offset) {
    return dev_in(&pit.device, offset);
}

static void out(uint16_t offset, uint8_t value) {
    dev_out(&pit.device, offset, value);
}

static void program(uint16_t counter, uint8_t mode, uint16_t count) {
    out(CONTROL, (uint8_t)(counter << 6 | 0x30 | mode << 1));
    out(counter, (uint8_t)count);
    out(counter, (uint8_t)(count >> 8));
}

static uint16_t latched(uint16_t counter) {
    uint16_t low;

    out(CONTROL, (uint8_t)(counter << 6));
    low = in(counter);
    return (uint16_t)(low | in(counter) << 8);
}

// To the time at which exactly `ticks` more have passed.
static void pass_ticks(uint64_t ticks) {
    uint64_t at = ticks_from_ns(world.now, PIT_HZ) + ticks;

    dev_run_until(&world, &pit.device, ns_from_ticks(at, PIT_HZ));
}

TestSuite(dev_pit, .init = pit_setup);

Test(dev_pit, tick_conversion_is_exact) {
    uint64_t seed = 3;

    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t t = dev_random(&seed) >> (12 + i % 40);
        uint64_t ns = ns_from_ticks(t, PIT_HZ);

        cr_assert_eq(ticks_from_ns(ns, PIT_HZ), t);
        if (ns)
            cr_assert_lt(ticks_from_ns(ns - 1, PIT_HZ), t ? t : 1);
    }
    cr_assert_eq(ticks_from_ns(1000000000ULL * 3600, PIT_HZ), 3600ULL * PIT_HZ);
}

Test(dev_pit, mode0_rises_once) {
    program(0, 0, 1000);
    cr_assert_not(line.level);
    pass_ticks(999);
    cr_assert_not(line.level);
    pass_ticks(1);
    cr_assert(line.level);
    cr_assert_eq(pit.device.ops->deadline(&pit.device), DEVICE_NO_DEADLINE);
    pass_ticks(1000000);
    cr_assert_eq(line.rises, 1);
    out(COUNTER0, 10); // the first byte of a new count lowers the output
    cr_assert_not(line.level);
    out(COUNTER0, 0);
    pass_ticks(10);
    cr_assert_eq(line.rises, 2);
}

Test(dev_pit, mode2_never_drifts) {
    uint64_t begin, end;

    program(0, 2, 4773); // HZ=250
    line.rises = 0;
    begin = world.now;
    end = begin + 3600 * NS_PER_SECOND;
    dev_run_until(&world, &pit.device, end);
    cr_assert_eq(line.rises, (ticks_from_ns(end, PIT_HZ) - ticks_from_ns(begin, PIT_HZ)) / 4773);
    // Served late by an arbitrary time, the next edge is where it belongs.
    world.now += 777777777;
    pit.device.ops->run(&pit.device, world.now);
    uint64_t start = ticks_from_ns(begin, PIT_HZ);
    uint64_t passed = ticks_from_ns(world.now, PIT_HZ) - start;
    cr_assert_eq(pit.device.ops->deadline(&pit.device),
                 ns_from_ticks(start + (passed / 4773 + 1) * 4773, PIT_HZ));
}

Test(dev_pit, mode2_takes_a_new_count_after_the_period) {
    program(0, 2, 1000);
    line.rises = 0;
    pass_ticks(500);
    out(COUNTER0, 100);
    out(COUNTER0, 0);
    cr_assert_eq(latched(0), 500);
    pass_ticks(500);
    cr_assert_eq(line.rises, 1);
    pass_ticks(250);
    cr_assert_eq(line.rises, 3);
    cr_assert_eq(latched(0), 50);
}

Test(dev_pit, mode3_is_a_square_wave) {
    out(PORT61, 1);
    program(2, 3, 101);
    cr_assert(in(PORT61)&0x20);
    pass_ticks(50);
    cr_assert(in(PORT61)&0x20);
    pass_ticks(1);
    cr_assert_not(in(PORT61)&0x20);
    pass_ticks(50);
    cr_assert(in(PORT61)&0x20);
    out(PORT61, 0);
    pass_ticks(51);
    cr_assert(in(PORT61)&0x20, "without gate the output is high");
}

// The one-shot mode of Linux's clock event device, then its shutdown.
Test(dev_pit, mode4_strobes_once) {
    program(0, 4, 5000);
    line.rises = 0;
    pass_ticks(5000);
    cr_assert_eq(line.rises, 0);
    pass_ticks(1);
    cr_assert_eq(line.rises, 1);
    pass_ticks(200000);
    cr_assert_eq(line.rises, 1);
    out(COUNTER0, 0x10);
    out(COUNTER0, 0x00);
    pass_ticks(17);
    cr_assert_eq(line.rises, 2);
    out(CONTROL, 0x30);
    cr_assert_not(line.level);
    cr_assert_eq(pit.device.ops->deadline(&pit.device), DEVICE_NO_DEADLINE);
}

Test(dev_pit, mode1_and_5_wait_for_the_gate) {
    program(2, 1, 100);
    pass_ticks(500);
    cr_assert(in(PORT61)&0x20);
    out(PORT61, 1);
    cr_assert_not(in(PORT61)&0x20);
    out(PORT61, 0);
    pass_ticks(99);
    cr_assert_not(in(PORT61)&0x20, "the gate's fall does not stop it");
    pass_ticks(1);
    cr_assert(in(PORT61)&0x20);
    program(2, 5, 100);
    out(PORT61, 1);
    pass_ticks(100);
    cr_assert_not(in(PORT61)&0x20);
    pass_ticks(1);
    cr_assert(in(PORT61)&0x20);
}

// pit_calibrate_tsc() and quick_pit_calibrate() of Linux.
Test(dev_pit, linux_calibrates_against_counter2) {
    uint64_t begin;

    out(PORT61, (uint8_t)((in(PORT61) & ~2) | 1));
    program(2, 0, 59659);
    begin = world.now;
    while (!(in(PORT61)&0x20))
        world.now += 1000;
    cr_assert_leq(world.now - begin, 50000000 + 3000);
    cr_assert_geq(world.now - begin, 50000000 - 3000);
    program(2, 0, 0xffff);
    pass_ticks(0x0180);
    in(COUNTER2); // low byte, unlatched
    cr_assert_eq(in(COUNTER2), 0xfe);
}

Test(dev_pit, gate_pauses_mode0) {
    out(PORT61, 1);
    program(2, 0, 1000);
    pass_ticks(400);
    out(PORT61, 0);
    pass_ticks(5000);
    cr_assert_eq(latched(2), 600);
    out(PORT61, 1);
    pass_ticks(599);
    cr_assert_not(in(PORT61)&0x20);
    pass_ticks(1);
    cr_assert(in(PORT61)&0x20);
    cr_assert_eq(latched(2), 0);
    pass_ticks(1);
    cr_assert_eq(latched(2), 0xffff, "it goes on counting");
}

Test(dev_pit, latch_holds_until_read) {
    program(0, 2, 10000);
    pass_ticks(10);
    out(CONTROL, 0x00);
    pass_ticks(10);
    out(CONTROL, 0x00); // ignored: still latched
    cr_assert_eq(in(COUNTER0) | in(COUNTER0) << 8, 9990);
    cr_assert_eq(in(COUNTER0) | in(COUNTER0) << 8, 9980, "unlatched, both bytes of the present");
}

Test(dev_pit, read_back_shows_status_then_count) {
    program(0, 2, 10000);
    pass_ticks(100);
    out(CONTROL, 0xc2); // counter 0, both
    cr_assert_eq(in(COUNTER0), 0xb4);
    cr_assert_eq(in(COUNTER0) | in(COUNTER0) << 8, 9900);
    out(CONTROL, 0x18); // low byte only, mode 4
    out(CONTROL, 0xe2);
    cr_assert_eq(in(COUNTER0), 0xd8, "null count: none written yet");
    out(COUNTER0, 20);
    out(CONTROL, 0xe2);
    cr_assert_eq(in(COUNTER0), 0x98);
    cr_assert_eq(in(CONTROL), 0xff);
}

Test(dev_pit, bcd_counts_in_decimal) {
    out(CONTROL, 0x31);
    out(COUNTER0, 0x00);
    out(COUNTER0, 0x10);
    pass_ticks(1);
    cr_assert_eq(latched(0), 0x0999);
    out(COUNTER0, 0);
    out(COUNTER0, 0);
    cr_assert_eq(pit.counter[0].count, 10000);
    out(COUNTER0, 0xff);
    out(COUNTER0, 0xff); // no decimal number: something, but in range
    cr_assert_leq(pit.counter[0].count, 10000);
}

Test(dev_pit, zero_is_the_largest_count) {
    program(0, 0, 0);
    cr_assert_eq(pit.counter[0].count, 0x10000);
    cr_assert_eq(latched(0), 0);
    pass_ticks(0xffff);
    cr_assert_not(line.level);
    pass_ticks(1);
    cr_assert(line.level);
}

Test(dev_pit, refresh_toggles) {
    uint32_t toggles = 0;
    uint8_t last = in(PORT61)&0x10;

    for (uint32_t us = 0; us < 10000; us++) {
        world.now += 1000;
        toggles += (in(PORT61)&0x10) != last;
        last = in(PORT61)&0x10;
    }
    cr_assert_geq(toggles, 660);
    cr_assert_leq(toggles, 666);
}

Test(dev_pit, record_round_trips) {
    struct dev_line other_line;
    struct pit other;

    program(0, 2, 4773);
    out(PORT61, 1);
    program(2, 0, 5000);
    pass_ticks(1000);
    out(PORT61, 2);
    out(CONTROL, 0xc6);
    out(COUNTER0, 0x77);
    pit_init(&other, &world.host, dev_line(&other_line));
    dev_check_records(&pit.device, &other.device);
    cr_assert_eq(other.device.ops->deadline(&other.device), pit.device.ops->deadline(&pit.device));
    dev_check_bad_value(&pit.device, 0, 8, UINT64_MAX); // start in the future
    dev_check_bad_value(&pit.device, 8, 8, UINT64_MAX); // elapsed
    dev_check_bad_value(&pit.device, 16, 4, 0);         // count
    dev_check_bad_value(&pit.device, 20, 4, 0x10001);   // next_count
    dev_check_bad_value(&pit.device, 26, 1, 6);         // mode
    dev_check_bad_value(&pit.device, 27, 1, 0);         // access
    dev_check_bad_value(&pit.device, 28, 1, 3);         // phase
    dev_check_bad_value(&pit.device, 31, 1, 3);         // latched_bytes
    dev_check_bad_value(&pit.device, 33, 1, 0);         // gate of counter 0
    dev_check_bad_value(&pit.device, 3 * 39, 1, 0x10);  // port 0x61
    dev_check_bad_value(&pit.device, 3 * 39 + 1, 1, 2); // irq_level
}
