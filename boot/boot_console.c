// SPDX-License-Identifier: Apache-2.0
// See boot/boot_console.h. Microsoft's "Debug Port Table 2": subtypes of serial ports.
#include "boot/boot_console.h"

#include "include/abi.h"
#include "lib/string.h"
#include "lib/words.h"

#define WORD           "console="
#define BATCH          "batch" // boot_words_read's
#define WORD_MMIO      "mmio:"
#define COM_COUNT      4u
#define COM_ODD_IRQ    4u // COM1, COM3
#define COM_EVEN_IRQ   3u
#define DIVISOR_115200 1u

// Subtypes that are 16550s: fully so; a subset; by its address structure.
#define TYPE_16550         0u
#define TYPE_16550_SUBSET  1u
#define TYPE_16550_ADDRESS 18u

struct line {
    struct boot_uart uart;
    struct boot_interrupt interrupt;
};

static const uint16_t com_ports[COM_COUNT] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};

static uint32_t trigger_of(const struct boot_isa_irq *irq) {
    return (irq->is_active_low != 0 ? (uint32_t)ABI_TRIGGER_LOW : 0) |
           (irq->is_level != 0 ? (uint32_t)ABI_TRIGGER_LEVEL : 0);
}

static struct line com(const struct boot_info *info, uint32_t number) {
    const struct boot_isa_irq *irq =
        &info->platform->isa_irq[number % 2 == 0 ? COM_ODD_IRQ : COM_EVEN_IRQ];
    return (struct line){
        {.base = com_ports[number], .stride = 1, .width = 1, .divisor = DIVISOR_115200},
        {.is_there = true, .input = irq->gsi, .trigger = trigger_of(irq)},
    };
}

// An input that is an ISA interrupt's has its trigger; others are PCI's, as the specifications of
// both tables leave it open.
static uint32_t trigger_of_input(const struct boot_info *info, uint32_t gsi) {
    for (uint32_t i = 0; i < BOOT_ISA_IRQS; i++)
        if (info->platform->isa_irq[i].gsi == gsi)
            return trigger_of(&info->platform->isa_irq[i]);
    return ABI_TRIGGER_LEVEL | ABI_TRIGGER_LOW;
}

// Firmwares describe its registers less well than they are known; its interrupt they know better.
static struct line com_of_table(const struct boot_info *info, uint32_t number,
                                const struct line *described) {
    struct line line = com(info, number);
    if (described->interrupt.is_there)
        line.interrupt = described->interrupt;
    return line;
}

static bool from_table(const struct boot_info *info, const struct boot_console *console,
                       struct line *line) {
    const struct boot_register *base = &console->base;
    bool is_port = base->space == BOOT_SPACE_IO && base->address < 0x10000;
    bool is_16550 = console->type == TYPE_16550 || console->type == TYPE_16550_SUBSET ||
                    console->type == TYPE_16550_ADDRESS;
    if (!is_16550 || (!is_port && base->space != BOOT_SPACE_MEMORY))
        return false;
    *line = (struct line){
        .uart = {.base = base->address,
                 .is_memory = !is_port,
                 .stride = base->bits == 32 ? 4 : 1,
                 .width = base->access_size == 3 ? 4 : 1},
        .interrupt = {.is_there = console->has_interrupt != 0,
                      .input = console->gsi,
                      .trigger = trigger_of_input(info, console->gsi)},
    };
    for (uint32_t i = 0; i < COM_COUNT; i++)
        if (is_port && base->address == com_ports[i])
            *line = com_of_table(info, i, line);
    return true;
}

static uint32_t digit_of(char c) {
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0');
    return c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
}

// 0x and up to 16 digits; then nothing, or a comma and the distance of registers, 1 or 4.
static bool from_address(const char *text, uint32_t length, struct line *line) {
    uint64_t address = 0;
    uint32_t i = 2, stride = 1;
    if (length < 3 || memcmp(text, "0x", 2) != 0)
        return false;
    for (; i < length && digit_of(text[i]) < 16 && i < 18; i++)
        address = address << 4 | digit_of(text[i]);
    if (i + 2 == length && text[i] == ',') {
        stride = digit_of(text[i + 1]);
        i += 2;
    }
    if (i != length || address == 0 || (stride != 1 && stride != 4))
        return false;
    *line = (struct line){.uart = {.base = address,
                                   .is_memory = true,
                                   .stride = (uint8_t)stride,
                                   .width = (uint8_t)stride}};
    return true;
}

// What stands behind `console=`. False: that means no UART.
static bool from_word(const struct boot_info *info, const char *text, uint32_t length,
                      struct line *line) {
    const uint32_t skip = sizeof(WORD_MMIO) - 1;
    if (length == 4 && memcmp(text, "none", length) == 0) {
        *line = (struct line){.uart = {.base = 0}};
        return true;
    }
    if (length == 4 && memcmp(text, "com", 3) == 0 && text[3] >= '1' && text[3] <= '4') {
        *line = com(info, (uint32_t)(text[3] - '1'));
        return true;
    }
    return length > skip && memcmp(text, WORD_MMIO, skip) == 0 &&
           from_address(text + skip, length - skip, line);
}

const char *boot_console_choose(struct boot_info *info, uint32_t *length) {
    const char *unknown = NULL;
    struct line line = com(info, 0);
    for (uint32_t i = info->platform->console_count; i > 0; i--) // SPCR is the first
        (void)from_table(info, &info->platform->console[i - 1], &line);
    size_t size = 0;
    const char *text = words_find(info->platform->start.cmdline, WORD, &size);
    for (; text != NULL; text = words_find(text + size, WORD, &size)) {
        bool is_batch = size == sizeof(BATCH) - 1 && memcmp(text, BATCH, size) == 0;
        if (is_batch || from_word(info, text, (uint32_t)size, &line))
            continue;
        unknown = text - (sizeof(WORD) - 1);
        *length = (uint32_t)(sizeof(WORD) - 1 + size);
    }
    info->uart = line.uart;
    info->platform->start.uart_interrupt = line.interrupt;
    return unknown;
}
