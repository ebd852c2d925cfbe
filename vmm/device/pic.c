// SPDX-License-Identifier: Apache-2.0
// The 8259A pair. One chip's priority logic and registers first, then the pair: the slave's output
// is the master's input 2, treated as level triggered, so that no request behind it can be lost.
// Every function that changes a chip ends in pair_update().
//
// An edge is remembered only while its line stays high ("IR inputs must remain high until after the
// falling edge of the first INTA"): a request that went away before is spurious.
#include "vmm/device/pic.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"

enum {
    // Offsets as pic_attach() registers them.
    MASTER_COMMAND = 0,
    SLAVE_DATA = 3,
    ELCR_MASTER = 4,
    ELCR_SLAVE = 5,

    ICW1_IC4 = 0x01,
    ICW1_SINGLE = 0x02,
    ICW1_SELECT = 0x10,
    ICW2_BASE = 0xf8,
    ICW4_AEOI = 0x02,
    ICW4_SPECIAL_NESTED = 0x10,

    OCW2_LEVEL = 0x07,
    OCW2_EOI = 0x20,
    OCW2_SPECIFIC = 0x40,
    OCW2_ROTATE = 0x80,

    OCW3_SELECT = 0x08,
    OCW3_READ_ISR = 0x01,
    OCW3_READ = 0x02,
    OCW3_POLL = 0x04,
    OCW3_SPECIAL_MASK = 0x20,
    OCW3_SET_SPECIAL_MASK = 0x40,

    POLL_PENDING = 0x80,
    SPURIOUS_INPUT = 7,
    NO_INPUT = 8,
    INPUT2 = 1 << PIC_CASCADE,
    ELCR_MASK_MASTER = 0xf8, // not the timer, the keyboard and the cascade
    ELCR_MASK_SLAVE = 0xde,  // not the RTC and the coprocessor
};

// --- one chip ------------------------------------------------------------------------------------

// The input of highest priority among `set`, or NO_INPUT.
static uint8_t chip_highest(const struct pic_chip *chip, uint8_t set) {
    for (uint8_t i = 1; i <= 8; i++) {
        uint8_t input = (chip->lowest + i) & 7;

        if (set & (1u << input))
            return input;
    }
    return NO_INPUT;
}

// 0 for the highest priority; 8 for NO_INPUT.
static uint8_t chip_rank(const struct pic_chip *chip, uint8_t input) {
    return input == NO_INPUT ? 8 : (uint8_t)(input - chip->lowest - 1) & 7;
}

// The request that the chip's INT output stands for, or NO_INPUT.
static uint8_t chip_request(const struct pic_chip *chip, bool master) {
    uint8_t request = chip_highest(chip, chip->irr & (uint8_t)~chip->imr);
    uint8_t blocking = chip->isr;

    if (chip->step != 0)
        return NO_INPUT; // being initialised
    if (chip->special_mask)
        blocking &= (uint8_t)~chip->imr;
    if (master && (chip->icw4 & ICW4_SPECIAL_NESTED))
        blocking &= (uint8_t)~INPUT2;
    if (chip_rank(chip, request) < chip_rank(chip, chip_highest(chip, blocking)))
        return request;
    return NO_INPUT;
}

static uint8_t chip_level_inputs(const struct pic_chip *chip, bool master) {
    return chip->elcr | (master ? INPUT2 : 0);
}

static void chip_set(struct pic_chip *chip, uint8_t bit, bool level, bool master) {
    bool was = chip->lines & bit;

    if (!level)
        chip->irr &= (uint8_t)~bit;
    else if (!was || (chip_level_inputs(chip, master) & bit))
        chip->irr |= bit;
    chip->lines = level ? chip->lines | bit : chip->lines & (uint8_t)~bit;
}

static void chip_acknowledge(struct pic_chip *chip, uint8_t input, bool master) {
    uint8_t bit = (uint8_t)(1u << input);

    if (!(chip_level_inputs(chip, master) & bit))
        chip->irr &= (uint8_t)~bit;
    if (!(chip->icw4 & ICW4_AEOI))
        chip->isr |= bit;
    else if (chip->rotate_on_aeoi)
        chip->lowest = input;
}

// "Rotate", "specific" and "EOI" bits of OCW2 in all their combinations.
static void chip_ocw2(struct pic_chip *chip, uint8_t value) {
    uint8_t level = value & OCW2_LEVEL;

    switch (value & (OCW2_ROTATE | OCW2_SPECIFIC | OCW2_EOI)) {
    case OCW2_ROTATE:
        chip->rotate_on_aeoi = true;
        return;
    case 0:
        chip->rotate_on_aeoi = false;
        return;
    case OCW2_ROTATE | OCW2_SPECIFIC:
        chip->lowest = level;
        return;
    case OCW2_SPECIFIC:
        return; // no operation
    default:
        break;
    }
    if (!(value & OCW2_SPECIFIC)) {
        level =
            chip_highest(chip, chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr);
        if (level == NO_INPUT)
            return;
    }
    chip->isr &= (uint8_t) ~(1u << level);
    if (value & OCW2_ROTATE)
        chip->lowest = level;
}

static void chip_icw1(struct pic_chip *chip, uint8_t value, bool master) {
    chip->icw1 = value;
    chip->icw4 = 0;
    chip->irr &= chip_level_inputs(chip, master); // the edge sense circuits are reset
    chip->isr = chip->imr = 0;
    chip->lowest = 7;
    chip->read_isr = chip->poll = chip->special_mask = chip->rotate_on_aeoi = false;
    chip->step = 2;
}

static void chip_command(struct pic_chip *chip, uint8_t value, bool master) {
    if (value & ICW1_SELECT) {
        chip_icw1(chip, value, master);
    } else if (value & OCW3_SELECT) {
        chip->poll = value & OCW3_POLL;
        if (value & OCW3_READ)
            chip->read_isr = value & OCW3_READ_ISR;
        if (value & OCW3_SET_SPECIAL_MASK)
            chip->special_mask = value & OCW3_SPECIAL_MASK;
    } else {
        chip_ocw2(chip, value);
    }
}

static void chip_data(struct pic_chip *chip, uint8_t value) {
    uint8_t last = chip->icw1 & ICW1_IC4 ? 4 : 0;

    switch (chip->step) {
    case 2:
        chip->icw2 = value & ICW2_BASE;
        chip->step = chip->icw1 & ICW1_SINGLE ? last : 3;
        break;
    case 3:
        chip->icw3 = value;
        chip->step = last;
        break;
    case 4:
        chip->icw4 = value;
        chip->step = 0;
        break;
    default:
        chip->imr = value;
        break;
    }
}

static uint8_t chip_read(struct pic_chip *chip, bool data, bool master) {
    uint8_t input;

    if (!chip->poll)
        return data ? chip->imr : chip->read_isr ? chip->isr : chip->irr;
    chip->poll = false; // the read is the acknowledge cycle
    input = chip_request(chip, master);
    if (input == NO_INPUT)
        return 0;
    chip_acknowledge(chip, input, master);
    return POLL_PENDING | input;
}

static void chip_write_elcr(struct pic_chip *chip, uint8_t value) {
    uint8_t changed = chip->elcr ^ value;

    chip->elcr = value;
    chip->irr &= (uint8_t)~changed;
    chip->irr |= chip->lines & changed & value;
}

// --- the pair ------------------------------------------------------------------------------------

static void pair_cascade(struct pic *pic) {
    chip_set(&pic->chip[0], INPUT2, chip_request(&pic->chip[1], false) != NO_INPUT, true);
}

static void pair_update(struct pic *pic) {
    bool level;

    pair_cascade(pic);
    level = chip_request(&pic->chip[0], true) != NO_INPUT;
    if (level == pic->intr_level)
        return;
    pic->intr_level = level;
    irq_line_set(&pic->intr, level);
}

void pic_set(struct pic *pic, uint32_t input, bool level) {
    if (input >= PIC_INPUTS || input == PIC_CASCADE)
        return;
    chip_set(&pic->chip[input / 8], (uint8_t)(1u << input % 8), level, input < 8);
    pair_update(pic);
}

bool pic_is_unmasked(const struct pic *pic, uint32_t input) {
    return input < PIC_INPUTS && !(pic->chip[input / 8].imr & 1u << input % 8);
}

bool pic_intr(const struct pic *pic) {
    return pic->intr_level;
}

uint8_t pic_acknowledge(struct pic *pic) {
    struct pic_chip *chip = &pic->chip[0];
    uint8_t input = chip_request(chip, true);

    if (input != NO_INPUT)
        chip_acknowledge(chip, input, true);
    if (input == PIC_CASCADE) {
        chip = &pic->chip[1];
        input = chip_request(chip, false);
        if (input != NO_INPUT)
            chip_acknowledge(chip, input, false);
    }
    pair_update(pic);
    return chip->icw2 | (input == NO_INPUT ? SPURIOUS_INPUT : input);
}

static uint32_t pic_read(struct device *device, uint16_t offset, uint8_t size) {
    struct pic *pic = (struct pic *)device;
    uint32_t value;

    (void)size;
    if (offset >= ELCR_MASTER)
        return pic->chip[offset - ELCR_MASTER].elcr;
    value = chip_read(&pic->chip[offset / 2], offset % 2, offset < 2);
    pair_update(pic);
    return value;
}

static void pic_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct pic *pic = (struct pic *)device;
    uint8_t byte = (uint8_t)value;
    uint8_t masked[2] = {pic->chip[0].imr, pic->chip[1].imr};

    (void)size;
    if (offset == ELCR_MASTER)
        chip_write_elcr(&pic->chip[0], byte & ELCR_MASK_MASTER);
    else if (offset == ELCR_SLAVE)
        chip_write_elcr(&pic->chip[1], byte & ELCR_MASK_SLAVE);
    else if (offset % 2)
        chip_data(&pic->chip[offset / 2], byte);
    else
        chip_command(&pic->chip[offset / 2], byte, offset == MASTER_COMMAND);
    pair_update(pic);
    if ((masked[0] & ~pic->chip[0].imr) | (masked[1] & ~pic->chip[1].imr))
        device_deadline_changed(device);
}

// --- reset, save, restore ------------------------------------------------------------------------

// All masked, as firmware leaves it; what others drive stays.
static void chip_reset(struct pic_chip *chip) {
    uint8_t lines = chip->lines;

    *chip = (struct pic_chip){.lines = lines, .imr = 0xff, .lowest = 7};
}

static void pic_reset(struct device *device) {
    struct pic *pic = (struct pic *)device;

    chip_reset(&pic->chip[0]);
    chip_reset(&pic->chip[1]);
    pair_update(pic);
}

struct pic_chip_record {
    uint8_t irr, isr, imr, lines, elcr, icw1, icw2, icw3, icw4, lowest, step;
    uint8_t read_isr, poll, special_mask, rotate_on_aeoi;
} __attribute__((packed));

struct pic_record {
    struct pic_chip_record chip[2];
} __attribute__((packed));

static_assert(sizeof(struct pic_record) == 30, "format of a saved 8259 pair, version 1");

static void pic_save(const struct device *device, void *record) {
    const struct pic *pic = (const struct pic *)device;
    struct pic_record r;

    for (int i = 0; i < 2; i++) {
        const struct pic_chip *chip = &pic->chip[i];

        r.chip[i] = (struct pic_chip_record){
            .irr = chip->irr,
            .isr = chip->isr,
            .imr = chip->imr,
            .lines = chip->lines,
            .elcr = chip->elcr,
            .icw1 = chip->icw1,
            .icw2 = chip->icw2,
            .icw3 = chip->icw3,
            .icw4 = chip->icw4,
            .lowest = chip->lowest,
            .step = chip->step,
            .read_isr = chip->read_isr,
            .poll = chip->poll,
            .special_mask = chip->special_mask,
            .rotate_on_aeoi = chip->rotate_on_aeoi,
        };
    }
    memcpy(record, &r, sizeof(r));
}

static bool chip_record_is_valid(const struct pic_chip_record *r, bool master) {
    uint8_t level_inputs = r->elcr | (master ? INPUT2 : 0);

    if (r->elcr & ~(master ? ELCR_MASK_MASTER : ELCR_MASK_SLAVE))
        return false;
    if ((r->irr & ~r->lines) || ((r->irr ^ r->lines) & level_inputs))
        return false;
    if ((r->icw2 & ~ICW2_BASE) || r->lowest > 7 || r->step == 1 || r->step > 4)
        return false;
    return r->read_isr <= 1 && r->poll <= 1 && r->special_mask <= 1 && r->rotate_on_aeoi <= 1;
}

static void chip_restore(struct pic_chip *chip, const struct pic_chip_record *r) {
    *chip = (struct pic_chip){
        .irr = r->irr,
        .isr = r->isr,
        .imr = r->imr,
        .lines = r->lines,
        .elcr = r->elcr,
        .icw1 = r->icw1,
        .icw2 = r->icw2,
        .icw3 = r->icw3,
        .icw4 = r->icw4,
        .lowest = r->lowest,
        .step = r->step,
        .read_isr = r->read_isr,
        .poll = r->poll,
        .special_mask = r->special_mask,
        .rotate_on_aeoi = r->rotate_on_aeoi,
    };
}

static enum device_error pic_restore(struct device *device, const void *record, uint32_t version,
                                     uint32_t size) {
    struct pic *pic = (struct pic *)device;
    enum device_error error = device_check_record(device, version, size);
    struct pic_chip slave;
    struct pic_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if (!chip_record_is_valid(&r.chip[0], true) || !chip_record_is_valid(&r.chip[1], false))
        return DEVICE_RECORD_VALUE;
    chip_restore(&slave, &r.chip[1]);
    if ((chip_request(&slave, false) != NO_INPUT) != ((r.chip[0].lines & INPUT2) != 0))
        return DEVICE_RECORD_VALUE;
    chip_restore(&pic->chip[0], &r.chip[0]);
    pic->chip[1] = slave;
    pic->intr_level = chip_request(&pic->chip[0], true) != NO_INPUT;
    return DEVICE_OK;
}

static const struct device_ops pic_ops = {
    .name = "pic",
    .version = 1,
    .record_size = sizeof(struct pic_record),
    .reset = pic_reset,
    .port_read = pic_read,
    .port_write = pic_write,
    .save = pic_save,
    .restore = pic_restore,
};

void pic_init(struct pic *pic, const struct device_host *host, struct irq_line intr) {
    *pic = (struct pic){.device = {.ops = &pic_ops, .host = host}, .intr = intr};
    chip_reset(&pic->chip[0]);
    chip_reset(&pic->chip[1]);
}

enum bus_error pic_attach(struct pic *pic, struct bus *bus) {
    enum bus_error error = bus_add_ports(bus, PC_PORT_PIC1, 2, &pic->device, MASTER_COMMAND, 1);

    if (!error)
        error = bus_add_ports(bus, PC_PORT_PIC2, 2, &pic->device, SLAVE_DATA - 1, 1);
    if (!error)
        error = bus_add_ports(bus, PC_PORT_ELCR, 2, &pic->device, ELCR_MASTER, 1);
    return error;
}
