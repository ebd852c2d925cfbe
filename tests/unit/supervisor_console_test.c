// SPDX-License-Identifier: Apache-2.0
// The whole supervisor at a terminal.
#include "supervisor_support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool life_script_focus(unsigned int step) {
    switch (step) {
    case 0:
        life_print(0, "login: ");
        life_print(1, "unseen\r\n");
        return true;
    case 1:
        life_type("root\r\x01\x01");
        return true;
    case 2:
        life_type("\x01n");
        return true;
    case 3:
        life_type("\x01"
                  "cvm\rend demo\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, terminal_follows_the_focus) {
    life_prepare(life_two, "", "stay", life_script_focus);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    uint8_t bytes[64] = {0};
    cr_assert_eq(ring_read(&life.vmm[0].in, bytes, sizeof(bytes)), 6);
    cr_assert_str_eq((char *)bytes, "root\r\x01");
    life_expect("[bulkhead] the terminal is now vm demo's");
    life_expect(
        "login: \r\n[bulkhead] the terminal is now vm other's (Ctrl-A h: help)\r\nunseen\r\n");
    life_expect("the hypervisor's (help: commands)\r\nbulkhead> vm\r\n");
    life_expect("  1  demo              3 vCPU      8 MiB  starting\r\n");
    cr_assert_eq(life.last_sent, VMM_MESSAGE_END);
    // It does not answer: its patience being over, it is ended.
    life_expect("[bulkhead] vm demo: crashed: its VMM did not end it when asked to, and was ended");
}

static bool life_script_end_all(unsigned int step) {
    switch (step) {
    case 0:
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 1:
        life_type("\x01x");
        return true;
    case 2:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, quit_ends_all_and_powers_off) {
    life_prepare(life_two, "", "stay", life_script_end_all);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.power, ABI_POWER_OFF);
    life_expect("[bulkhead] all VMs ended\r\n");
}

static const struct life_config life_manual[] = {{.name = "demo", .mib = 8, .is_manual = true},
                                                 {.name = NULL}};

static bool life_script_start(unsigned int step) {
    switch (step) {
    case 0:
        life_type("start demo\r");
        return true;
    case 1:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 2:
        life_type("start demo\r");
        return true;
    case 3:
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, 3, "");
        return true;
    case 4:
        life_type("reset\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, vm_is_started_twice_by_hand) {
    life_prepare(life_manual, "", "stay", life_script_start);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.power, ABI_POWER_RESET);
    life_expect("[bulkhead] vm demo: powered off\r\n");
    life_expect("[bulkhead] vm demo: debug-exit 3\r\n");
    life_expect_no_line("[bulkhead] leak");
}

static bool life_script_end_one(unsigned int step) {
    life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
    return step == 0;
}

Test(supervisor_console, machine_powers_off_when_the_manifest_says_so) {
    life_prepare(life_one, "", "power-off", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: reset\r\n[bulkhead] all VMs ended\r\n");
}
