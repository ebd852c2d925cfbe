// SPDX-License-Identifier: Apache-2.0
// boot/boot_console.c: which UART is the console.
#include "boot/boot_console.h"
#include "include/abi.h"

#include <criterion/criterion.h>
#include <string.h>

static struct platform platform;
static struct boot_info info = {.platform = &platform};
static const struct boot_interrupt *interrupt = &platform.start.uart_interrupt;
static const char *unknown;
static uint32_t length;

static void set_up(void) {
    for (uint32_t i = 0; i < BOOT_ISA_IRQS; i++)
        info.platform->isa_irq[i].gsi = i;
    info.platform->isa_irq[3] = (struct boot_isa_irq){.gsi = 19, .is_active_low = 1, .is_level = 1};
}

TestSuite(boot_console, .init = set_up);

static const struct boot_uart *choose(const char *cmdline) {
    strcpy(platform.start.cmdline, cmdline);
    unknown = boot_console_choose(&info, &length);
    return &info.uart;
}

static void add(uint64_t address, uint8_t space, uint8_t bits, uint8_t access, uint32_t type) {
    info.platform->console[info.platform->console_count++] = (struct boot_console){
        .base = {.address = address, .space = space, .bits = bits, .access_size = access},
        .type = type,
        .gsi = 21,
        .has_interrupt = 1,
    };
}

Test(boot_console, com1_where_nothing_is_said) {
    const struct boot_uart *uart = choose("loglevel=1 console=batch");
    cr_expect(uart->base == 0x3f8 && !uart->is_memory && uart->stride == 1 && uart->width == 1);
    cr_expect(interrupt->is_there && interrupt->input == 4 && interrupt->trigger == 0);
    cr_expect_eq(uart->divisor, 1);
    cr_expect_null(unknown);
}

Test(boot_console, com_ports_have_their_interrupts) {
    const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    for (uint32_t i = 0; i < 4; i++) {
        char word[] = "console=com1";
        word[11] = (char)('1' + i);
        const struct boot_uart *uart = choose(word);
        cr_expect_eq(uart->base, ports[i]);
        cr_expect_eq(interrupt->input, i % 2 == 0 ? 4 : 19);
        cr_expect_eq(interrupt->trigger, i % 2 == 0 ? 0 : ABI_TRIGGER_LOW | ABI_TRIGGER_LEVEL);
    }
}

Test(boot_console, spcr_comes_before_dbg2_and_the_command_line_before_both) {
    add(0x2f8, BOOT_SPACE_IO, 8, 1, 0);
    add(0x3e8, BOOT_SPACE_IO, 8, 1, 0);
    cr_expect_eq(choose("")->base, 0x2f8);
    cr_expect(info.uart.divisor == 1 && info.uart.stride == 1, "known better than described");
    cr_expect_eq(interrupt->input, 21, "but for its interrupt");
    info.platform->console[0].has_interrupt = 0;
    choose("");
    cr_expect_eq(interrupt->input, 19);
    cr_expect_eq(choose("console=com4 console=batch")->base, 0x2e8);
    cr_expect_eq(choose("console=com4 console=com3")->base, 0x3e8, "the last word");
    cr_expect(choose("console=none")->base == 0 && !interrupt->is_there);
}

Test(boot_console, uart_of_a_table_is_as_it_says) {
    add(0xfe032000, BOOT_SPACE_MEMORY, 32, 3, 18);
    const struct boot_uart *uart = choose("");
    cr_expect(uart->base == 0xfe032000 && uart->is_memory && uart->stride == 4 && uart->width == 4);
    cr_expect(interrupt->is_there && interrupt->input == 21 &&
              interrupt->trigger == (ABI_TRIGGER_LOW | ABI_TRIGGER_LEVEL));
    cr_expect_eq(uart->divisor, 0, "its clock is not known");
}

Test(boot_console, others_than_16550s_are_passed_over) {
    add(0x9000000, BOOT_SPACE_MEMORY, 32, 3, 3); // a PL011
    add(0x80, BOOT_SPACE_PCI, 8, 1, 0);
    add(0x10000, BOOT_SPACE_IO, 8, 1, 0);
    cr_expect_eq(choose("")->base, 0x3f8);
}

Test(boot_console, address_is_read) {
    const struct boot_uart *uart = choose("console=mmio:0xfedc1000");
    cr_expect(uart->base == 0xfedc1000 && uart->is_memory && uart->stride == 1 &&
              uart->width == 1 && !interrupt->is_there);
    uart = choose("console=mmio:0xfedc1000,4");
    cr_expect(uart->base == 0xfedc1000 && uart->stride == 4 && uart->width == 4);
    cr_expect_eq(choose("console=mmio:0xffffffffffffffff")->base, UINT64_MAX);
}

Test(boot_console, nonsense_is_told_and_changes_nothing) {
    const char *const bad[] = {
        "console=",          "console=com0",
        "console=com5",      "console=com12",
        "console=mmio:",     "console=mmio:0x",
        "console=mmio:1000", "console=mmio:0x0",
        "console=mmio:0x1,", "console=mmio:0x10,2",
        "console=mmio:0x1g", "console=mmio:0x10,44",
        "console=nonex",     "console=batchx",
        "console=ttyS0",     "console=mmio:0x12345678123456789",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[80] = "a ";
        strcat(strcat(line, bad[i]), " b");
        cr_expect_eq(choose(line)->base, 0x3f8, "%s", bad[i]);
        cr_assert_not_null(unknown, "%s", bad[i]);
        cr_expect_eq(length, strlen(bad[i]), "%s", bad[i]);
    }
    cr_expect_eq(choose("xconsole=com2")->base, 0x3f8);
    cr_expect_null(unknown);
}
