// SPDX-License-Identifier: Apache-2.0
// See kernel/power.h. ACPI 6.5 4.8.3.2 "PM1 Control Registers", 7.4.2.6 "System \_S5 State",
// 4.8.3.6 "Reset Register".
#include "kernel/power.h"

#include "arch/x86.h"
#include "kernel/log.h"
#include "kernel/machine.h"

#define PM1_SLP    0x3c00u // type and end
#define PM1_SLP_EN 0x2000u

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

// The type in both registers, then the end in both.
void power_off(void) {
    const struct boot_power *power = &machine.power;
    if (!power->has_s5 || power->pm1_control[0] == 0)
        return;
    log_drain();
    for (unsigned i = 0; i < 4; i++) {
        uint16_t port = power->pm1_control[i % 2], end = i < 2 ? 0 : PM1_SLP_EN;
        if (port != 0)
            x86_outw(port, (uint16_t)((x86_inw(port) & ~PM1_SLP) | power->s5_type[i % 2] | end));
    }
    wait();
}

void power_reset(void) {
    static const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) no_idt = {0, 0};

    log_drain();
    if (machine.power.reset_port != 0) {
        x86_outb(machine.power.reset_port, machine.power.reset_value);
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
}
