// SPDX-License-Identifier: Apache-2.0
// The 8259 pair, from the data sheet.
#include "tests/unit/vmm/device/harness.h"

#include "vmm/device/pic.h"

enum { M_CMD, M_DATA, S_CMD, S_DATA, ELCR1, ELCR2 };

static struct dev_world world;
static struct dev_line intr;
static struct pic pic;

static uint8_t in(uint16_t offset) {
    return dev_in(&pic.device, offset);
}

static void out(uint16_t offset, uint8_t value) {
    dev_out(&pic.device, offset, value);
}

// As Linux does it: vectors 0x30 and 0x38, cascade on 2, 8086 mode; all unmasked.
static void initialise(uint8_t icw4) {
    out(M_CMD, 0x11);
    out(M_DATA, 0x30);
    out(M_DATA, 0x04);
    out(M_DATA, icw4);
    out(S_CMD, 0x11);
    out(S_DATA, 0x38);
    out(S_DATA, 0x02);
    out(S_DATA, icw4);
    out(M_DATA, 0);
    out(S_DATA, 0);
}

static void pic_setup(void) {
    dev_world_init(&world);
    pic_init(&pic, &world.host, dev_line(&intr));
    initialise(0x01);
}

static void pulse(uint32_t input) {
    pic_set(&pic, input, false);
    pic_set(&pic, input, true);
}

TestSuite(dev_pic, .init = pic_setup);

Test(dev_pic, power_on_is_masked) {
    struct dev_line line;
    struct pic fresh;

    pic_init(&fresh, &world.host, dev_line(&line));
    pic_set(&fresh, 0, true);
    cr_assert_not(line.level);
    cr_assert_not(pic_intr(&fresh));
}

Test(dev_pic, edge_is_acknowledged_once) {
    pulse(4);
    cr_assert(intr.level);
    cr_assert_eq(in(M_CMD), 0x10);
    cr_assert_eq(pic_acknowledge(&pic), 0x34);
    cr_assert_not(intr.level);
    out(M_CMD, 0x0b);
    cr_assert_eq(in(M_CMD), 0x10, "in service");
    out(M_CMD, 0x20);
    cr_assert_eq(in(M_CMD), 0);
    cr_assert_not(intr.level, "the line is high, but there was no new edge");
    pulse(4);
    cr_assert(intr.level);
}

Test(dev_pic, higher_priority_nests) {
    pulse(4);
    pic_acknowledge(&pic);
    pulse(5);
    cr_assert_not(intr.level);
    pulse(1);
    cr_assert_eq(pic_acknowledge(&pic), 0x31);
    out(M_CMD, 0x20); // ends 1, the highest
    cr_assert_not(intr.level);
    out(M_CMD, 0x64); // specific: 4
    cr_assert_eq(pic_acknowledge(&pic), 0x35);
}

Test(dev_pic, slave_goes_through_the_cascade) {
    pulse(8);
    pulse(14);
    cr_assert_eq(pic_acknowledge(&pic), 0x38);
    cr_assert_not(intr.level);
    out(S_CMD, 0x20);
    cr_assert_not(intr.level, "the master's input 2 is still in service");
    out(M_CMD, 0x62);
    cr_assert_eq(pic_acknowledge(&pic), 0x3e);
    out(S_CMD, 0x66);
    out(M_CMD, 0x62);
    cr_assert_not(intr.level);
    pic_set(&pic, 2, true);
    cr_assert_not(intr.level, "nobody else drives the cascade");
    pic_set(&pic, 16, true);
}

Test(dev_pic, request_that_went_away_is_spurious) {
    pulse(3);
    pic_set(&pic, 3, false);
    cr_assert_not(intr.level);
    cr_assert_eq(pic_acknowledge(&pic), 0x37);
    out(M_CMD, 0x0b);
    cr_assert_eq(in(M_CMD), 0, "IRQ 7 is not in service");
    // The slave withdraws between the processor's two acknowledge pulses: not possible here, as
    // its output falls at once. So 15 comes only from a mask set in between.
    pulse(10);
    out(S_DATA, 0xff);
    cr_assert_eq(pic_acknowledge(&pic), 0x37);
}

Test(dev_pic, mask_holds_requests_back) {
    out(M_DATA, 0xff);
    pulse(6);
    cr_assert_not(intr.level);
    cr_assert_eq(in(M_DATA), 0xff);
    out(M_DATA, 0xbf);
    cr_assert_eq(pic_acknowledge(&pic), 0x36);
}

Test(dev_pic, level_input_asks_again) {
    out(ELCR2, 0xff);
    cr_assert_eq(in(ELCR2), 0xde);
    out(ELCR1, 0xff);
    cr_assert_eq(in(ELCR1), 0xf8);
    pic_set(&pic, 9, true);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pic_acknowledge(&pic), 0x39);
        out(S_CMD, 0x20);
        out(M_CMD, 0x20);
    }
    cr_assert(intr.level);
    pic_set(&pic, 9, false);
    cr_assert_not(intr.level);
}

Test(dev_pic, automatic_eoi_and_rotation) {
    initialise(0x03);
    pulse(3);
    pulse(4);
    cr_assert_eq(pic_acknowledge(&pic), 0x33);
    cr_assert_eq(pic_acknowledge(&pic), 0x34, "nothing stays in service");
    out(M_CMD, 0x80); // rotate in automatic EOI mode
    pulse(3);
    cr_assert_eq(pic_acknowledge(&pic), 0x33);
    pulse(3);
    pulse(4);
    cr_assert_eq(pic_acknowledge(&pic), 0x34, "3 was served last");
    out(M_CMD, 0x00);
    pulse(5);
    cr_assert_eq(pic_acknowledge(&pic), 0x35, "4 was served last: 5 is before 3");
    cr_assert_eq(pic_acknowledge(&pic), 0x33);
}

Test(dev_pic, rotation_on_eoi) {
    pulse(0);
    pic_acknowledge(&pic);
    out(M_CMD, 0xa0);
    pulse(0);
    pulse(7);
    cr_assert_eq(pic_acknowledge(&pic), 0x37);
    out(M_CMD, 0xe7); // rotate on specific EOI
    cr_assert_eq(pic_acknowledge(&pic), 0x30);
    out(M_CMD, 0x20);
    out(M_CMD, 0xc3); // set priority: 4 is highest now
    pulse(1);
    pulse(5);
    cr_assert_eq(pic_acknowledge(&pic), 0x35);
    out(M_CMD, 0x40); // no operation
}

Test(dev_pic, special_mask_lets_lower_ones_in) {
    pulse(1);
    pic_acknowledge(&pic);
    out(M_DATA, 0x02);
    pulse(6);
    cr_assert_not(intr.level);
    out(M_CMD, 0x68);
    cr_assert_eq(pic_acknowledge(&pic), 0x36);
    out(M_CMD, 0x20);
    out(M_CMD, 0x20);
    out(M_CMD, 0x0b);
    cr_assert_eq(in(M_CMD), 0x02, "the masked one is not ended by an unspecific EOI");
    out(M_CMD, 0x48);
    out(M_CMD, 0x20);
    cr_assert_eq(in(M_CMD), 0);
}

Test(dev_pic, special_fully_nested_serves_the_slave_twice) {
    initialise(0x11);
    pulse(12);
    cr_assert_eq(pic_acknowledge(&pic), 0x3c);
    pulse(9);
    cr_assert_eq(pic_acknowledge(&pic), 0x39);
    pulse(13);
    cr_assert_not(intr.level);
}

Test(dev_pic, poll_acknowledges) {
    out(M_CMD, 0x0c);
    cr_assert_eq(in(M_CMD), 0);
    pulse(5);
    out(M_CMD, 0x0c);
    cr_assert_eq(in(M_CMD), 0x85);
    cr_assert_not(intr.level);
    out(M_CMD, 0x0b);
    cr_assert_eq(in(M_CMD), 0x20);
    pulse(11);
    out(S_CMD, 0x0c);
    cr_assert_eq(in(S_DATA), 0x83, "either port will do");
}

Test(dev_pic, initialisation_words_are_counted) {
    out(M_CMD, 0x10); // no ICW4
    pulse(0);
    cr_assert_not(intr.level, "not before it is complete");
    out(M_DATA, 0x4f);
    out(M_DATA, 0x04);
    cr_assert_eq(pic_acknowledge(&pic), 0x48);
    out(M_CMD, 0x12); // single, no ICW4
    out(M_DATA, 0x50);
    out(M_DATA, 0xa5);
    cr_assert_eq(in(M_DATA), 0xa5, "that was a mask");
    out(M_CMD, 0x13);
    out(M_DATA, 0x50);
    out(M_DATA, 0x01);
    cr_assert_eq(in(M_DATA), 0);
}

Test(dev_pic, record_round_trips) {
    struct dev_line other_line;
    struct pic other;

    pulse(8);
    pulse(4);
    pulse(6);
    out(ELCR2, 0x02);
    pic_set(&pic, 9, true);
    pic_acknowledge(&pic);
    out(M_CMD, 0x0b);
    out(S_CMD, 0x68);
    out(S_CMD, 0xc2);
    pic_init(&other, &world.host, dev_line(&other_line));
    dev_check_records(&pic.device, &other.device);
    cr_assert_eq(pic_intr(&other), pic_intr(&pic));
    cr_assert_eq(other_line.rises, 0);
    for (int i = 0; i < 4; i++) {
        uint8_t vector = pic_acknowledge(&pic);

        cr_assert_eq(pic_acknowledge(&other), vector);
        out(M_CMD, 0x20);
        dev_out(&other.device, M_CMD, 0x20);
    }
    dev_check_bad_value(&pic.device, 0, 1, 0xff); // irr without lines
    dev_check_bad_value(&pic.device, 4, 1, 0x01); // elcr of the timer
    dev_check_bad_value(&pic.device, 6, 1, 0x31); // icw2
    dev_check_bad_value(&pic.device, 9, 1, 8);    // lowest
    dev_check_bad_value(&pic.device, 10, 1, 1);   // step
    dev_check_bad_value(&pic.device, 11, 1, 2);   // read_isr
}
