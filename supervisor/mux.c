// SPDX-License-Identifier: Apache-2.0
// The terminal's owner. `focus` is NULL for the shell. A VM that ends while it has the focus hands
// it on to the next one that runs, and the last one to the shell.
#include "supervisor/mux.h"

#include "include/console.h"
#include "supervisor/charge.h"
#include "supervisor/console.h"
#include "supervisor/keys.h"
#include "supervisor/main.h"
#include "supervisor/shell.h"

#include <stddef.h>

static struct vm *focus;
static struct keys keys;

// ---- output -------------------------------------------------------------------------------------

static void print_lines(struct vm *vm, const uint8_t *bytes, uint32_t count) {
    bool is_whole;
    for (uint32_t taken; count > 0; bytes += taken, count -= taken) {
        taken = line_take(&vm->line, bytes, count, &is_whole);
        if (is_whole) {
            console_guest_line(vm->line.text, vm->line.length);
            line_clear(&vm->line);
        }
    }
}

bool mux_is_on_console(const struct vm *vm) {
    return console_is_batch() || vm == focus;
}

void mux_vm_output(struct vm *vm, const uint8_t *bytes, uint32_t count) {
    if (console_is_batch()) {
        print_lines(vm, bytes, count);
    } else if (vm == focus) {
        console_guest_raw((const char *)bytes, count);
    } else if (vm->backlog != NULL) {
        backlog_add(vm->backlog, (const char *)bytes, count);
    }
}

static void replay(struct vm *vm) {
    size_t count;
    const char *bytes;
    while (vm->backlog != NULL && (bytes = backlog_peek(vm->backlog, 0, &count)) != NULL) {
        console_guest_raw(bytes, count);
        backlog_drop(vm->backlog, count);
    }
}

// ---- focus --------------------------------------------------------------------------------------

void mux_focus_vm(struct vm *vm) {
    if (vm == focus) {
        return;
    }
    focus = vm;
    console_reset_terminal();
    console_say("the terminal is now vm %s's (Ctrl-A h: help)", vm->config->name);
    replay(vm);
}

bool mux_is_shell(void) {
    return focus == NULL;
}

void mux_focus_shell(void) {
    console_reset_terminal();
    if (focus != NULL) {
        console_say("the terminal is now the hypervisor's (help: commands)");
    }
    focus = NULL;
    shell_open();
}

// The next VM in `step`'s direction that runs, after the focused one; NULL: none.
static struct vm *next_running(uint32_t step) {
    uint32_t count = vm_count();
    uint32_t at = focus != NULL ? focus->index : count - 1;
    for (uint32_t i = 0; i < count; i++) {
        at = (at + step) % count;
        if (vm_at(at)->state == VM_RUNNING) {
            return vm_at(at);
        }
    }
    return NULL;
}

static void focus_next(bool is_forward) {
    struct vm *vm = next_running(is_forward ? 1 : vm_count() - 1);
    if (vm != NULL) {
        mux_focus_vm(vm);
    } else {
        console_say("no VM is running");
    }
}

void mux_vm_started(struct vm *vm) {
    static bool has_started_one;
    if (!console_is_batch() && !has_started_one) {
        mux_focus_vm(vm);
    }
    has_started_one = true;
}

void mux_vm_ends(const struct vm *vm) {
    if (vm == focus) {
        console_reset_terminal();
    }
}

void mux_vm_ended(struct vm *vm) {
    if (console_is_batch() || vm != focus) {
        return;
    }
    struct vm *next = next_running(1);
    if (next != NULL) {
        mux_focus_vm(next);
    } else {
        focus = NULL; // main opens the shell, or powers off
    }
}

// ---- input --------------------------------------------------------------------------------------

void mux_print_help(void) {
    console_print("\nCtrl-A, then:\n"
                  "  h      this help\n"
                  "  n, p   next VM, previous VM\n"
                  "  1..9   VM by number\n"
                  "  c      the hypervisor's own console\n"
                  "  x      end all VMs and power off\n"
                  "  Ctrl-A one Ctrl-A for the VM\n");
}

static void take_byte(uint8_t byte) {
    if (focus == NULL) {
        shell_input(byte);
    } else if (vm_input(focus, &byte, 1) == 0) {
        console_raw("\a", 1);
    }
}

static void take_number(uint32_t number) {
    if (number <= vm_count()) {
        mux_focus_vm(vm_at(number - 1));
    } else {
        console_say("there is no VM number %u", number);
    }
}

static void take_key(struct key key) {
    switch (key.action) {
    case KEY_NONE:
        break;
    case KEY_BYTE:
        take_byte(key.value);
        break;
    case KEY_HELP:
        mux_print_help();
        break;
    case KEY_NEXT:
    case KEY_PREVIOUS:
        focus_next(key.action == KEY_NEXT);
        break;
    case KEY_NUMBER:
        take_number(key.value);
        break;
    case KEY_SHELL:
        mux_focus_shell();
        break;
    case KEY_QUIT:
        main_power(ABI_POWER_OFF);
        break;
    case KEY_UNKNOWN:
        console_say("Ctrl-A and that key mean nothing (Ctrl-A h: help)");
        break;
    }
}

// A ring's worth: what comes meanwhile is signalled anew.
static void take_input(void) {
    uint8_t bytes[64];
    size_t count;
    for (size_t left = CONSOLE_IN_SIZE; left > 0; left -= count) {
        count = console_read(bytes, left < sizeof(bytes) ? left : sizeof(bytes));
        if (count == 0) {
            return;
        }
        for (size_t i = 0; i < count && !console_is_batch(); i++) {
            take_key(keys_add(&keys, bytes[i]));
        }
    }
}

void mux_input(void) {
    struct vm *vm = focus; // a guest can make the terminal type: it asks where the cursor is
    charge_begin();
    take_input();
    if (vm != NULL && !console_is_batch()) {
        charge_end(vm);
    }
}

void mux_refresh(void) {
    if (console_has_said() && focus == NULL && !console_is_batch()) {
        shell_redraw();
    }
}
