// SPDX-License-Identifier: Apache-2.0
// The i8042 without a keyboard: the output buffer and its interrupt, commands, data, port 0x92,
// save and restore. Line A20 and the reset line are the output port's bits 1 and 0.
#include "vmm/device/keyboard.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"

enum {
    // Offsets as keyboard_attach() registers them.
    PORT_DATA = 0,
    PORT_COMMAND = 4,
    PORT_CONTROL_A = 8,
    IO_COMMAND = 0x64,

    STATUS_OUTPUT_FULL = 0x01,
    STATUS_SELF_TESTED = 0x04,
    STATUS_COMMAND = 0x08, // the last write went to 0x64
    STATUS_UNLOCKED = 0x10,
    STATUS_AUX = 0x20,
    STATUS_TIMEOUT = 0x40,
    STATUS_RESET = STATUS_SELF_TESTED | STATUS_UNLOCKED, // as firmware leaves it
    STATUS_MASK = 0x7d,

    CONFIG_INTERRUPT = 0x01,
    CONFIG_KEYBOARD_OFF = 0x10,
    CONFIG_AUX_OFF = 0x20,
    CONFIG_RESET = 0x34, // self-tested, both interfaces off

    OUTPUT_PORT_FIXED = 0x03, // not in reset, A20 open

    COMMAND_READ_CONFIG = 0x20,
    COMMAND_WRITE_CONFIG = 0x60,
    COMMAND_AUX_OFF = 0xa7,
    COMMAND_AUX_ON = 0xa8,
    COMMAND_AUX_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_OFF = 0xad,
    COMMAND_KEYBOARD_ON = 0xae,
    COMMAND_READ_INPUT_PORT = 0xc0,
    COMMAND_READ_OUTPUT_PORT = 0xd0,
    COMMAND_WRITE_OUTPUT_PORT = 0xd1,
    COMMAND_WRITE_KEYBOARD_BUFFER = 0xd2,
    COMMAND_WRITE_AUX_BUFFER = 0xd3,
    COMMAND_WRITE_AUX = 0xd4,
    COMMAND_PULSE = 0xf0, // bits 0..3 low: those output lines are pulsed

    SELF_TEST_PASSED = 0x55,
    AUX_CLOCK_STUCK = 0x01, // there is no such connector
    KEYBOARD_PASSED = 0x00,
    INPUT_PORT = 0x80, // keyboard lock open
    RESEND = 0xfe,     // what the controller says for a device that does not answer

    CONTROL_A_RESET = 0x01,
    CONTROL_A_A20 = 0x02,
};

static void reset_machine(struct keyboard *keyboard) {
    keyboard->backend.reset(keyboard->backend.opaque);
}

// --- the output buffer ---------------------------------------------------------------------------

static bool irq_wanted(const struct keyboard *keyboard) {
    return (keyboard->command_byte & CONFIG_INTERRUPT) &&
           (keyboard->status & (STATUS_OUTPUT_FULL | STATUS_AUX)) == STATUS_OUTPUT_FULL;
}

static void irq_update(struct keyboard *keyboard) {
    bool level = irq_wanted(keyboard);

    if (level == keyboard->irq_level)
        return;
    keyboard->irq_level = level;
    irq_line_set(&keyboard->irq, level);
}

// A new byte takes the place of one that was not read.
static void put(struct keyboard *keyboard, uint8_t byte, uint8_t flags) {
    keyboard->status &= (uint8_t) ~(STATUS_AUX | STATUS_TIMEOUT);
    keyboard->status |= STATUS_OUTPUT_FULL | flags;
    keyboard->output = byte;
}

static uint8_t take(struct keyboard *keyboard) {
    keyboard->status &= (uint8_t) ~(STATUS_OUTPUT_FULL | STATUS_AUX | STATUS_TIMEOUT);
    irq_update(keyboard);
    return keyboard->output;
}

// --- registers -----------------------------------------------------------------------------------

static void command_answer(struct keyboard *keyboard, uint8_t command) {
    switch (command) {
    case COMMAND_READ_CONFIG:
        put(keyboard, keyboard->command_byte, 0);
        break;
    case COMMAND_AUX_TEST:
        put(keyboard, AUX_CLOCK_STUCK, 0);
        break;
    case COMMAND_SELF_TEST:
        keyboard->status |= STATUS_SELF_TESTED;
        put(keyboard, SELF_TEST_PASSED, 0);
        break;
    case COMMAND_KEYBOARD_TEST:
        put(keyboard, KEYBOARD_PASSED, 0);
        break;
    case COMMAND_READ_INPUT_PORT:
        put(keyboard, INPUT_PORT, 0);
        break;
    case COMMAND_READ_OUTPUT_PORT:
        put(keyboard, keyboard->output_port, 0);
        break;
    default: // unknown: ignored
        break;
    }
}

static void write_command(struct keyboard *keyboard, uint8_t command) {
    keyboard->status |= STATUS_COMMAND;
    keyboard->pending = 0;
    switch (command) {
    case COMMAND_WRITE_CONFIG:
    case COMMAND_WRITE_OUTPUT_PORT:
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_AUX_BUFFER:
    case COMMAND_WRITE_AUX:
        keyboard->pending = command;
        break;
    case COMMAND_AUX_OFF:
        keyboard->command_byte |= CONFIG_AUX_OFF;
        break;
    case COMMAND_AUX_ON:
        keyboard->command_byte &= (uint8_t)~CONFIG_AUX_OFF;
        break;
    case COMMAND_KEYBOARD_OFF:
        keyboard->command_byte |= CONFIG_KEYBOARD_OFF;
        break;
    case COMMAND_KEYBOARD_ON:
        keyboard->command_byte &= (uint8_t)~CONFIG_KEYBOARD_OFF;
        break;
    default:
        if (command >= COMMAND_PULSE && !(command & 1))
            reset_machine(keyboard);
        command_answer(keyboard, command);
        break;
    }
}

static void write_data(struct keyboard *keyboard, uint8_t byte) {
    uint8_t command = keyboard->pending;

    keyboard->status &= (uint8_t)~STATUS_COMMAND;
    keyboard->pending = 0;
    switch (command) {
    case COMMAND_WRITE_CONFIG:
        keyboard->command_byte = byte;
        break;
    case COMMAND_WRITE_OUTPUT_PORT:
        keyboard->output_port = byte | OUTPUT_PORT_FIXED;
        if (!(byte & 1))
            reset_machine(keyboard);
        break;
    case COMMAND_WRITE_KEYBOARD_BUFFER:
    case COMMAND_WRITE_AUX_BUFFER: // no auxiliary connector: the keyboard's it is
        put(keyboard, byte, 0);
        break;
    case COMMAND_WRITE_AUX:
        put(keyboard, RESEND, STATUS_AUX | STATUS_TIMEOUT);
        break;
    default:
        put(keyboard, RESEND, STATUS_TIMEOUT);
        break;
    }
}

static void write_control_a(struct keyboard *keyboard, uint8_t byte) {
    bool was = keyboard->control_a & CONTROL_A_RESET;

    keyboard->control_a = byte | CONTROL_A_A20;
    if ((byte & CONTROL_A_RESET) && !was)
        reset_machine(keyboard);
}

static uint32_t keyboard_read(struct device *device, uint16_t offset, uint8_t size) {
    struct keyboard *keyboard = (struct keyboard *)device;

    (void)size;
    switch (offset) {
    case PORT_DATA:
        return take(keyboard);
    case PORT_COMMAND:
        return keyboard->status;
    case PORT_CONTROL_A:
        return keyboard->control_a;
    default:
        return 0xff;
    }
}

static void keyboard_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct keyboard *keyboard = (struct keyboard *)device;
    uint8_t byte = (uint8_t)value;

    (void)size;
    if (offset == PORT_DATA)
        write_data(keyboard, byte);
    else if (offset == PORT_COMMAND)
        write_command(keyboard, byte);
    else if (offset == PORT_CONTROL_A)
        write_control_a(keyboard, byte);
    irq_update(keyboard);
}

// --- reset, save, restore ------------------------------------------------------------------------

static void registers_reset(struct keyboard *keyboard) {
    keyboard->command_byte = CONFIG_RESET;
    keyboard->output_port = OUTPUT_PORT_FIXED;
    keyboard->status = STATUS_RESET;
    keyboard->output = 0;
    keyboard->pending = 0;
    keyboard->control_a = CONTROL_A_A20;
}

static void keyboard_reset(struct device *device) {
    struct keyboard *keyboard = (struct keyboard *)device;

    registers_reset(keyboard);
    irq_update(keyboard);
}

struct keyboard_record {
    uint8_t command_byte, output_port, status, output, pending, control_a;
} __attribute__((packed));

static_assert(sizeof(struct keyboard_record) == 6, "format of a saved i8042, version 1");

static void keyboard_save(const struct device *device, void *record) {
    const struct keyboard *keyboard = (const struct keyboard *)device;
    struct keyboard_record r = {.command_byte = keyboard->command_byte,
                                .output_port = keyboard->output_port,
                                .status = keyboard->status,
                                .output = keyboard->output,
                                .pending = keyboard->pending,
                                .control_a = keyboard->control_a};

    memcpy(record, &r, sizeof(r));
}

static bool pending_is_valid(uint8_t command) {
    return command == 0 || command == COMMAND_WRITE_CONFIG ||
           (command >= COMMAND_WRITE_OUTPUT_PORT && command <= COMMAND_WRITE_AUX);
}

static enum device_error keyboard_restore(struct device *device, const void *record,
                                          uint32_t version, uint32_t size) {
    struct keyboard *keyboard = (struct keyboard *)device;
    enum device_error error = device_check_record(device, version, size);
    struct keyboard_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if ((r.status & ~STATUS_MASK) || !pending_is_valid(r.pending) ||
        (r.output_port & OUTPUT_PORT_FIXED) != OUTPUT_PORT_FIXED || !(r.control_a & CONTROL_A_A20))
        return DEVICE_RECORD_VALUE;
    if ((r.status & (STATUS_AUX | STATUS_TIMEOUT)) && !(r.status & STATUS_OUTPUT_FULL))
        return DEVICE_RECORD_VALUE;
    keyboard->command_byte = r.command_byte;
    keyboard->output_port = r.output_port;
    keyboard->status = r.status;
    keyboard->output = r.output;
    keyboard->pending = r.pending;
    keyboard->control_a = r.control_a;
    keyboard->irq_level = irq_wanted(keyboard);
    return DEVICE_OK;
}

static const struct device_ops keyboard_ops = {
    .name = "keyboard",
    .version = 1,
    .record_size = sizeof(struct keyboard_record),
    .reset = keyboard_reset,
    .port_read = keyboard_read,
    .port_write = keyboard_write,
    .save = keyboard_save,
    .restore = keyboard_restore,
};

void keyboard_init(struct keyboard *keyboard, const struct device_host *host,
                   const struct keyboard_backend *backend, struct irq_line irq) {
    *keyboard = (struct keyboard){
        .device = {.ops = &keyboard_ops, .host = host}, .backend = *backend, .irq = irq};
    registers_reset(keyboard);
}

enum bus_error keyboard_attach(struct keyboard *keyboard, struct bus *bus) {
    struct device *device = &keyboard->device;
    enum bus_error error = bus_add_ports(bus, PC_PORT_KEYBOARD, 1, device, PORT_DATA, 1);

    if (!error)
        error = bus_add_ports(bus, IO_COMMAND, 1, device, PORT_COMMAND, 1);
    if (!error)
        error = bus_add_ports(bus, PC_PORT_CONTROL_A, 1, device, PORT_CONTROL_A, 1);
    return error;
}
