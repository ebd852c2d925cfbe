// SPDX-License-Identifier: Apache-2.0
// The interface is told in button.h. ACPI 6.5 4.8.3.1.1 "PM1 Status Registers", 4.8.3.1.2 "PM1
// Enable Registers": a bit of both blocks is the sum of the two, and ones clear a status.
#include "supervisor/button.h"

#include "include/abi.h"
#include "lib/syscall.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"
#include "supervisor/main.h"
#include "supervisor/vm.h"

#define NS_PER_SECOND 1000000000ULL
#define PM1_TMR       (1u << 0)
#define PM1_GBL       (1u << 5)
#define PM1_PWRBTN    (1u << 8)
#define PM1_SLPBTN    (1u << 9)
#define PM1_RTC       (1u << 10)
#define PM1_EVENTS    (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC)
#define REGISTER_SIZE 2u
#define BLOCKS        2u

static struct {
    uint32_t ports[BLOCKS]; // handles; 0: there is no such block
    uint32_t interrupt;     // handle; 0: nobody listens
    bool is_down;           // the status bit did not clear
    bool is_pressed;        // the VMs have been told
    uint64_t deaf_until;    // TSC: until then it is the press before
    uint64_t deadline;      // TSC: the VMs end; ABI_FOREVER: they were not told, or are being ended
    uint64_t nothing_since; // TSC
    uint32_t nothing_count; // since then
} button;

// ---- the registers ------------------------------------------------------------------------------

static uint32_t read_status(void) {
    uint32_t status = 0;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        int64_t value =
            button.ports[i] != 0 ? sys_ports_read(button.ports[i], 0, REGISTER_SIZE) : 0;
        status |= value > 0 ? (uint32_t)value : 0;
    }
    return status;
}

static void write_all(uint16_t offset, uint32_t value) {
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (button.ports[i] != 0) {
            (void)sys_ports_write(button.ports[i], offset, REGISTER_SIZE, value);
        }
    }
}

// Somebody else may have turned other events on, whose interrupts would not end.
static void enable(uint32_t events) {
    write_all(machine.start->button.size / 2, events);
}

// True: the button was pressed since the last look, and clear before.
static bool take_press(void) {
    bool is_set = (read_status() & PM1_PWRBTN) != 0;
    bool is_press = is_set && !button.is_down;
    write_all(0, PM1_EVENTS);
    enable(PM1_PWRBTN);
    button.is_down = is_set && (read_status() & PM1_PWRBTN) != 0;
    return is_press;
}

// ---- listening ----------------------------------------------------------------------------------

static void let_go(void) {
    enable(0);
    (void)sys_handle_close(button.interrupt);
    button.interrupt = 0;
}

static int64_t open_block(uint32_t *ports, uint16_t first) {
    if (first == 0) {
        return 0;
    }
    int64_t made = sys_ports_create(machine.start->system, machine.start->quota, first,
                                    machine.start->button.size);
    *ports = made > 0 ? (uint32_t)made : 0;
    return made;
}

static int64_t open_all(void) {
    const struct boot_button *found = &machine.start->button;
    int64_t made = open_block(&button.ports[0], found->pm1a_event);
    if (made >= 0) {
        made = open_block(&button.ports[1], found->pm1b_event);
    }
    if (made >= 0) {
        enable(0);
        write_all(0, PM1_EVENTS);
        made = sys_interrupt_create(machine.start->system, machine.start->quota, found->input,
                                    (enum abi_trigger)found->trigger, machine.event,
                                    MACHINE_EVENT_BUTTON);
    }
    button.interrupt = made > 0 ? (uint32_t)made : 0;
    return made;
}

void button_open(void) {
    const struct boot_button *found = &machine.start->button;
    const struct boot_interrupt *uart = &machine.start->uart_interrupt;
    button.deadline = ABI_FOREVER;
    if (found->pm1a_event == 0) {
        return; // the preflight report says why
    }
    bool is_uarts = uart->is_there != 0 && uart->input == found->input;
    int64_t made = is_uarts ? -ABI_ERROR_EXISTS : open_all(); // the console goes first
    if (made < 0) {
        console_say("power button: it does nothing: its registers or interrupt %u: %s",
                    found->input, machine_error_text(made));
    } else if ((read_status() & PM1_PWRBTN) != 0) {
        console_say("power button: it does nothing: its status does not clear");
        let_go();
    } else {
        enable(PM1_PWRBTN);
    }
}

// An interrupt that is not the button's. Those of a device that shares the input would not end.
static void count_nothing(void) {
    uint64_t now = machine_tsc();
    if (now - button.nothing_since >= machine_ticks(BUTTON_NOTHING_NS)) {
        button.nothing_since = now;
        button.nothing_count = 0;
    }
    if (++button.nothing_count == BUTTON_NOTHING_MAX) {
        let_go();
        console_say("power button: its interrupt %u comes without end, and is off: the button does "
                    "nothing any more",
                    machine.start->button.input);
    }
}

// ---- what a press does --------------------------------------------------------------------------

// Those that wait for their restart get none.
static void stop_restarts(void) {
    for (uint32_t i = 0; i < vm_count(); i++) {
        if (vm_at(i)->state == VM_WAITING) {
            vm_end(vm_at(i));
        }
    }
}

static void end_all(void) {
    button.deadline = ABI_FOREVER;
    main_power(ABI_POWER_OFF);
}

static void ask_all(void) {
    button.is_pressed = true;
    button.deadline = machine_tsc() + machine_ticks(BUTTON_DEADLINE_NS);
    main_power_when_ended(ABI_POWER_OFF);
    for (uint32_t i = 0; i < vm_count(); i++) {
        (void)vm_press_power_button(vm_at(i));
    }
}

// False: it is the press before, still.
static bool press(void) {
    uint64_t now = machine_tsc();
    if (now < button.deaf_until) {
        return false;
    }
    button.deaf_until = now + machine_ticks(BUTTON_PRESS_NS);
    if (button.is_pressed) {
        console_say("power button: pressed again: all VMs are ended");
        end_all();
    } else if (vm_running_count() == 0) {
        console_say("power button: pressed, and no VM runs: the machine is switched off");
        end_all();
    } else {
        console_say("power button: pressed: all VMs are told, and have %llu s to power off",
                    BUTTON_DEADLINE_NS / NS_PER_SECOND);
        ask_all();
    }
    return true;
}

void button_service(bool has_interrupt) {
    if (has_interrupt && button.interrupt != 0) {
        (void)sys_interrupt_acknowledge(button.interrupt);
        if (!take_press() || !press()) {
            count_nothing();
        }
    }
    if (button.is_pressed) {
        stop_restarts();
    }
    if (machine_tsc() >= button.deadline) {
        console_say("power button: %u VMs did not power off in time, and are ended",
                    vm_running_count());
        end_all();
    }
}

void button_release(void) {
    button.is_pressed = false;
    button.deadline = ABI_FOREVER;
}

uint64_t button_next_deadline(void) {
    return button.deadline;
}
