// SPDX-License-Identifier: Apache-2.0
// kernel/machine.power.c and kernel/uart.c on simulated ports: which writes arrive, in which order.
#include "arch/x86.h"
#define x86_inb           prt_test_inb
#define x86_inw           prt_test_inw
#define x86_outb          prt_test_outb
#define x86_outw          prt_test_outw
#define log_drain         prt_test_log_drain
#define power_off         prt_test_power_off
#define power_reset       prt_test_power_reset
#define uart_init         prt_test_uart_init
#define uart_reset        prt_test_uart_reset
#define kspace_map_device prt_test_map_device
#define uart_send_room    prt_test_uart_send_room
#define uart_send         prt_test_uart_send
#define uart_wait         prt_test_uart_wait

void *prt_test_map_device(hpa_t base, uint64_t size);
static uint8_t prt_test_inb(uint16_t port);
static uint16_t prt_test_inw(uint16_t port);
static void prt_test_outb(uint16_t port, uint8_t value);
static void prt_test_outw(uint16_t port, uint16_t value);

#include "kernel/power.c"
#include "kernel/uart.c"

#include <criterion/criterion.h>
#include <setjmp.h>
#include <string.h>

#define COM1     0x3f8u
#define IER_ROOM BIT(1)

static const struct boot_uart com1 = {.base = COM1, .stride = 1, .width = 1, .divisor = 1};

static struct {
    struct {
        uint16_t port, value;
    } write[32];
    uint32_t write_count;
    uint16_t pm1[2]; // at 0x604 and 0x704
    uint8_t uart[8], divisor[2];
    bool has_uart, lacks_loopback, is_drained, is_leaving;
} ports;
static jmp_buf left; // by the first write, when ports.is_leaving

static void record(uint16_t port, uint16_t value) {
    if (ports.write_count < ARRAY_COUNT(ports.write)) {
        ports.write[ports.write_count].port = port;
        ports.write[ports.write_count++].value = value;
    }
}
static uint8_t prt_test_inb(uint16_t port) {
    if (port < COM1 || port >= COM1 + 8)
        return 0;
    if (!ports.has_uart)
        return 0xff;
    uint8_t mcr = ports.uart[UART_MCR];
    if (port == COM1 + UART_MSR && (mcr & MCR_LOOPBACK) != 0 && !ports.lacks_loopback)
        return (uint8_t)((mcr & 2) << 3 | (mcr & 1) << 5 | (mcr & 4) << 4 | (mcr & 8) << 4);
    return ports.uart[port - COM1];
}
static uint16_t prt_test_inw(uint16_t port) {
    return ports.pm1[port == 0x704];
}
static void prt_test_outb(uint16_t port, uint8_t value) {
    record(port, value);
    if (ports.is_leaving)
        longjmp(left, 1);
    if (port < COM1 || port >= COM1 + 8)
        return;
    bool is_divisor = (ports.uart[UART_LCR] & LCR_DLAB) != 0 && port < COM1 + 2;
    if (is_divisor)
        ports.divisor[port - COM1] = value;
    else if (port == COM1 + UART_FCR)
        ports.uart[UART_IIR] = (value & FCR_ENABLE) != 0 ? IIR_FIFO_MASK | 1 : 1;
    else
        ports.uart[port - COM1] = value;
}
static void prt_test_outw(uint16_t port, uint16_t value) {
    record(port, value);
    ports.pm1[port == 0x704] = value;
}
void log_drain(void) {
    cr_assert_eq(ports.write_count, 0);
    ports.is_drained = true;
}

static void prt_test_setup(void) {
    memset(&ports, 0, sizeof(ports));
    memset(&machine.power, 0, sizeof(machine.power));
    machine.power.has_s5 = true;
    machine.power.s5_type[0] = 5 << 10;
    machine.power.s5_type[1] = 3 << 10;
    machine.power.pm1_control[0] = 0x604;
    ports.pm1[0] = 0x4001 | PM1_SLP;
    ports.has_uart = true;
    ports.uart[UART_LSR] = LSR_ROOM | LSR_IDLE;
}

static void expect_write(uint32_t index, uint16_t port, uint16_t value) {
    cr_assert_lt(index, ports.write_count);
    cr_assert_eq(ports.write[index].port, port);
    cr_assert_eq(ports.write[index].value, value);
}

TestSuite(kernel_uart, .init = prt_test_setup);

Test(kernel_uart, power_off_writes_type_then_enable) {
    power_off();
    cr_assert(ports.is_drained);
    cr_assert_eq(ports.write_count, 2);
    expect_write(0, 0x604, 0x4001 | 5 << 10);
    expect_write(1, 0x604, 0x4001 | 5 << 10 | 1 << 13);
}

Test(kernel_uart, power_off_writes_both_registers) {
    machine.power.pm1_control[1] = 0x704;
    power_off();
    expect_write(0, 0x604, 0x4001 | 5 << 10);
    expect_write(1, 0x704, 3 << 10);
    expect_write(2, 0x604, 0x4001 | 5 << 10 | 1 << 13);
    expect_write(3, 0x704, 3 << 10 | 1 << 13);
}

Test(kernel_uart, power_off_without_tables_does_nothing) {
    machine.power.has_s5 = false;
    power_off();
    cr_assert_eq(ports.write_count, 0);
    cr_assert_not(ports.is_drained); // the console's driver still has it
    machine.power.has_s5 = true;
    machine.power.pm1_control[0] = 0;
    machine.power.pm1_control[1] = 0x704;
    power_off();
    cr_assert_eq(ports.write_count, 0);
}

// What reset writes first. It never comes back.
static void expect_reset(uint16_t port, uint8_t value) {
    ports.write_count = 0;
    ports.is_leaving = true;
    if (setjmp(left) == 0)
        power_reset();
    expect_write(0, port, value);
    cr_assert(ports.is_drained);
}

Test(kernel_uart, reset_uses_the_register_where_there_is_one) {
    machine.power.reset_port = 0x480;
    machine.power.reset_value = 0xfe;
    expect_reset(0x480, 0xfe);
    machine.power.reset_port = 0;
    expect_reset(RESET_CONTROL, RESET_CONTROL_ARM);
}

Test(kernel_uart, uart_sends_in_order) {
    cr_assert(uart_init(&com1));
    ports.write_count = 0;
    uart_send('a');
    uart_send('b');
    cr_assert_eq(ports.write_count, 2);
    expect_write(0, COM1 + UART_DATA, 'a');
    expect_write(1, COM1 + UART_DATA, 'b');
}

Test(kernel_uart, uart_is_found_and_set_up) {
    cr_assert(uart_init(&com1));
    cr_assert_eq(ports.divisor[0], 1);
    cr_assert_eq(ports.divisor[1], 0);
    cr_assert_eq(ports.uart[UART_LCR], LCR_8N1);
    cr_assert_eq(ports.uart[UART_IER], 0);
    cr_assert_eq(ports.uart[UART_MCR], MCR_DTR_RTS | MCR_OUT2);
    cr_assert_eq(uart_send_room(), FIFO_DEPTH);
    cr_assert(uart_wait(true));
}

Test(kernel_uart, uart_absent_is_told) {
    ports.has_uart = false;
    cr_assert_not(uart_init(&com1));
}

Test(kernel_uart, uart_that_fails_its_test_is_not_left_in_loopback) {
    ports.lacks_loopback = true;
    cr_assert_not(uart_init(&com1));
    cr_assert_eq(ports.uart[UART_MCR], MCR_DTR_RTS | MCR_OUT2);
}

Test(kernel_uart, uart_of_none_is_not_touched) {
    const struct boot_uart none = {.base = 0};
    cr_assert_not(uart_init(&none));
    cr_assert_eq(ports.write_count, 0);
}

// The driver that had it may have left anything.
Test(kernel_uart, uart_is_set_up_again) {
    cr_assert(uart_init(&com1));
    ports.uart[UART_IER] = IER_ROOM;
    ports.uart[UART_LCR] = LCR_DLAB;
    ports.divisor[0] = 9;
    cr_assert(uart_reset());
    cr_assert_eq(ports.uart[UART_IER], 0);
    cr_assert_eq(ports.uart[UART_LCR], LCR_8N1);
    cr_assert_eq(ports.divisor[0], 1);
}

Test(kernel_uart, rate_of_the_firmware_stays) {
    struct boot_uart other = com1;
    other.divisor = 0;
    ports.divisor[0] = 3;
    cr_assert(uart_init(&other));
    cr_assert_eq(ports.divisor[0], 3);
}

// ---- the same in memory -------------------------------------------------------------------------

static uint32_t memory_of_uart[16];

void *prt_test_map_device(hpa_t base, uint64_t size) {
    cr_assert(base.v == 0xfe032000 && size == 32);
    return memory_of_uart;
}

Test(kernel_uart, uart_in_memory_has_wide_registers_apart) {
    const struct boot_uart wide = {
        .base = 0xfe032000, .is_memory = 1, .stride = 4, .width = 4, .divisor = 0};
    memset(memory_of_uart, 0, sizeof(memory_of_uart));
    memory_of_uart[UART_MSR] = MSR_PATTERN; // as if in loopback
    memory_of_uart[UART_LSR] = LSR_ROOM | 0x100;
    cr_assert(uart_init(&wide));
    cr_assert_eq(ports.write_count, 0, "no port");
    cr_assert_eq(memory_of_uart[UART_LCR], LCR_8N1);
    uart_send('x');
    cr_assert_eq(memory_of_uart[UART_DATA], 'x');
    cr_assert_gt(uart_send_room(), 0);
    memory_of_uart[UART_LSR] = 0x100;
    cr_assert_eq(uart_send_room(), 0, "of a register the lowest byte");
}

Test(kernel_uart, uart_stuck_ends_the_wait) {
    cr_assert(uart_init(&com1));
    ports.uart[UART_LSR] = 0;
    cr_assert_not(uart_wait(false));
    cr_assert_eq(uart_send_room(), 0);
}
