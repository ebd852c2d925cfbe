// SPDX-License-Identifier: Apache-2.0
// The supervisor: the first process, and the only one that the kernel starts. It owns the machine's
// memory, modules and console, makes one VMM process a VM out of them, and stays to serve their
// consoles and to say how they ended.
//
// Reading order: main.c, manifest.c, vm.c, launch.c, placement.c, node.c, partition.c, process.c;
// what happens when a VM ends: restart.c, reports.c, audit.c; how much is done for a VM, and who
// pays: rate.c, charge.c; then the terminal: console.c, line.c, mux.c, keys.c, shell.c, command.c,
// top.c; and the machine's power button and machine checks: button.c, banks.c. machine.c is what
// they all stand on.
//
// One thread, one event, no locks: main_loop sleeps until a bit of the event says that a VM or the
// console has something, serves that, and never waits for a VM. How much it does for each is
// bounded (rate.c).
#include "supervisor/main.h"

#include "lib/syscall.h"
#include "supervisor/banks.h"
#include "supervisor/button.h"
#include "supervisor/console.h"
#include "supervisor/driver.h"
#include "supervisor/machine.h"
#include "supervisor/manifest.h"
#include "supervisor/mux.h"
#include "supervisor/process.h"
#include "supervisor/rate.h"
#include "supervisor/shell.h"
#include "supervisor/stat.h"
#include "supervisor/vm.h"

#include <stdbool.h>

#define STATUS_NO_MACHINE 1
#define STATUS_NO_CONSOLE 2

static struct manifest manifest;

static struct {
    bool is_ending; // power off or reset when the last VM has ended
    enum abi_power power;
    bool has_manifest;
    bool has_said_ended;
} goal;

void main_power_when_ended(enum abi_power power) {
    goal.is_ending = true;
    goal.power = power;
}

void main_power(enum abi_power power) {
    main_power_when_ended(power);
    for (uint32_t i = 0; i < vm_count(); i++) {
        vm_end(vm_at(i));
    }
}

// ---- start --------------------------------------------------------------------------------------

static const char *read_manifest(void) {
    const struct abi_start_module *module = machine_module(MANIFEST_MODULE_MANIFEST);
    if (module == NULL || module->size == 0 || module->size > PROCESS_FILE_MAX) {
        return "it was not loaded at boot";
    }
    const void *tree =
        process_map_own(module->memory, PROCESS_OWN_MANIFEST, module->size, ABI_RIGHT_READ);
    return tree != NULL ? manifest_parse(&manifest, tree, module->size) : "it cannot be mapped";
}

static void start_vms(void) {
    const char *wrong = read_manifest();
    if (wrong == NULL && !vm_open(&manifest)) {
        wrong = "it names more VMs than this machine has memory for";
    }
    if (wrong != NULL) {
        console_say("the manifest (%s) cannot be used: %s; make the image again",
                    MANIFEST_MODULE_MANIFEST, wrong);
        return;
    }
    goal.has_manifest = true;
    if (manifest.is_test_image) {
        console_say("test image: programs of its manifest run in the VMM's place; not for use");
    }
    vm_autostart();
}

// ---- end ----------------------------------------------------------------------------------------

static void end_machine(void) {
    console_reset_terminal();
    console_drain();
    int64_t result = machine_power(goal.power);
    console_say("this machine cannot be switched off by software (%s); do it by hand",
                machine_error_text(result));
    goal.is_ending = false;
    button_release();
    mux_focus_shell();
}

// No VM is running. Says so once, and does what the manifest, or a command, wants then.
static void all_ended(void) {
    if (!goal.has_said_ended && goal.has_manifest) {
        if (console_is_batch()) {
            stat_say();
        }
        console_say("all VMs ended");
    }
    bool stays = manifest.host.when_all_ended == HOST_STAY || !goal.has_manifest;
    if (!goal.has_said_ended && (console_is_batch() || !stays)) {
        goal.is_ending = true;
    }
    if (goal.is_ending) {
        goal.has_said_ended = true;
        end_machine();
    } else if (!goal.has_said_ended) {
        goal.has_said_ended = true;
        mux_focus_shell();
    }
}

// ---- the loop -----------------------------------------------------------------------------------

static void serve(uint64_t bits) {
    if ((bits & MACHINE_EVENT_DRIVER) != 0) {
        driver_service();
    }
    if ((bits & MACHINE_EVENT_CONSOLE) != 0) {
        mux_input();
    }
    vm_service_mask(bits);
    button_service((bits & MACHINE_EVENT_BUTTON) != 0);
    vm_check_deadlines();
    banks_service();
}

static uint64_t next_deadline(void) {
    uint64_t vm = vm_next_deadline();
    uint64_t button = button_next_deadline();
    uint64_t banks = banks_next_deadline();
    uint64_t first = vm < button ? vm : button;
    return first < banks ? first : banks;
}

_Noreturn static void main_loop(void) {
    uint64_t bits = UINT64_MAX; // what came before we looked
    for (;;) {
        serve(bits);
        if (vm_running_count() > 0) {
            goal.has_said_ended = false;
        } else {
            all_ended();
        }
        mux_refresh();
        console_flush();
        bits = round_wait(next_deadline(), vm_has_work());
    }
}

int main(void *start) {
    if (!machine_open(start)) {
        return STATUS_NO_MACHINE;
    }
    char verdict[MACHINE_VERDICT_MAX + 1];
    machine_verdict(verdict);
    if (!console_open(machine_has_option("console=batch"), verdict)) {
        return STATUS_NO_MACHINE;
    }
    button_open();
    start_vms();
    driver_start();
    if (driver_is_gone()) {
        return STATUS_NO_CONSOLE;
    }
    main_loop();
}
