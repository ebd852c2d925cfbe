// SPDX-License-Identifier: Apache-2.0
// See kernel/power.h. ACPI 6.5 4.8.3.2 "PM1 Control Registers", 7.4.2.6 "System \_S5 State",
// 4.8.3.6 "Reset Register".
#include "kernel/power.h"

#include "arch/x86.h"
#include "kernel/log.h"
#include "kernel/machine.h"

#define PM1_SLP_TYP_SHIFT 10
#define PM1_SLP_TYP_MASK  (7u << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN        BIT(13)

#define RESET_CONTROL      0xcf9u // of Intel's chipsets since PIIX3, and AMD's
#define RESET_CONTROL_ARM  0x02u
#define RESET_CONTROL_FULL 0x06u
#define KEYBOARD_COMMAND   0x64u
#define KEYBOARD_BUSY      BIT(1)
#define KEYBOARD_RESET     0xfeu
#define PORT_DELAY         0x80u // a read of it takes about 1 us on hardware

#define WAIT_READS 100000u

static void wait(void) {
    for (uint32_t i = 0; i < WAIT_READS; i++)
        (void)x86_inb(PORT_DELAY);
}

static uint16_t sleep_value(uint16_t port, uint8_t type) {
    uint32_t keep = x86_inw(port) & ~(PM1_SLP_TYP_MASK | (uint32_t)PM1_SLP_EN);
    return (uint16_t)(keep | (uint32_t)type << PM1_SLP_TYP_SHIFT);
}

bool power_off(void) {
    const struct boot_power *registers = &machine.power;
    uint16_t a = registers->pm1a_control, b = registers->pm1b_control;
    if (!registers->has_s5 || a == 0)
        return false;
    log_drain();
    uint16_t value_a = sleep_value(a, registers->s5_type_a);
    uint16_t value_b = b != 0 ? sleep_value(b, registers->s5_type_b) : 0;
    x86_outw(a, value_a);
    if (b != 0)
        x86_outw(b, value_b);
    x86_outw(a, (uint16_t)(value_a | PM1_SLP_EN));
    if (b != 0)
        x86_outw(b, (uint16_t)(value_b | PM1_SLP_EN));
    wait();
    return false;
}

bool power_reset(void) {
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) no_idt = {0, 0};

    const struct boot_power *registers = &machine.power;
    log_drain();
    if (registers->reset.space == BOOT_SPACE_IO && registers->reset.address != 0) {
        x86_outb((uint16_t)registers->reset.address, registers->reset_value);
        wait();
    }
    x86_outb(RESET_CONTROL, RESET_CONTROL_ARM);
    x86_outb(RESET_CONTROL, RESET_CONTROL_FULL);
    wait();
    for (uint32_t i = 0; i < WAIT_READS && (x86_inb(KEYBOARD_COMMAND) & KEYBOARD_BUSY) != 0; i++)
        x86_pause();
    x86_outb(KEYBOARD_COMMAND, KEYBOARD_RESET);
    wait();
    __asm__ volatile("lidt %0; ud2" ::"m"(no_idt));
    return false;
}
