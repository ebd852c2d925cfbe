// SPDX-License-Identifier: Apache-2.0
// The whole supervisor at a terminal.
#include "tests/unit/supervisor/support.h"

#include <criterion/criterion.h>
#include <libfdt.h>
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
    life_expect("login: \x18");
    life_expect("\r\n[bulkhead] the terminal is now vm other's (Ctrl-A h: help)\r\nunseen\r\n");
    life_expect("the hypervisor's (help: commands)\r\nbulkhead> vm\r\n");
    life_expect("  1  demo              3 vCPU      8 MiB  starting\r\n");
    cr_assert_neq(life.wanted & VMM_WAKEUP_END, 0);
    // It does not answer: its patience being over, it is ended.
    life_expect("[bulkhead] vm demo: crashed: its VMM did not end it when asked to, and was ended");
}

// ---- what a VM leaves at the terminal -----------------------------------------------------------

#define LIFE_RESET "\x18\x1b\\\x1b[!p\x1b[0m"

static bool life_script_rude(unsigned int step) {
    switch (step) {
    case 0:
        life_print(0, "\x1b[8m\x1b]0;open");
        return true;
    case 1:
        life_type("\x01n");
        return true;
    case 2:
        life_type("\x01"
                  "c");
        return true;
    case 3:
        life_type("\x01"
                  "2");
        return true;
    case 4:
        life_print(1, "\x1b[1;5r");
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    case 5:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, terminal_is_reset_for_its_next_owner_and_at_the_end) {
    life_prepare(life_two, "", "power-off", life_script_rude);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life.console[life.console_length] = '\0';
    const char *open = strstr(life.console, "\x1b]0;open" LIFE_RESET);
    cr_assert_not_null(open);
    cr_assert_not_null(strstr(open, "the terminal is now vm other's"));
    cr_assert_not_null(strstr(open, "\x1b[1;5r" LIFE_RESET));
    cr_assert_eq(life_count(LIFE_RESET), 2, "only behind who may have changed it");
}

static bool life_script_log_is_clean(unsigned int step) {
    if (step == 0) {
        life_print(0, "\x1b[8m");
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step == 0;
}

Test(supervisor_console, log_of_a_batch_run_has_no_control_sequence) {
    life_prepare(life_one, "console=batch", "stay", life_script_log_is_clean);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_null(memchr(life.console, 0x1b, life.console_length));
}

static bool life_script_hostile_words(unsigned int step) {
    switch (step) {
    case 0:
        life_report(0, VMM_MESSAGE_LOG, 0, 0, "\x1b[2J\n[bulkhead] panic: forged");
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0,
                    "\x1b]0;x\x07\r\n[bulkhead] all VMs ended\r\n\x9b");
        return true;
    case 1:
        life_type("\x01"
                  "cvm\rdump demo\rlog\rfocus \x7f\x7fx\x9b\r");
        return true;
    default:
        return false;
    }
}

static bool is_expected(const char *at) {
    return *at == '\r' || *at == '\n' || *at == '\b' || *at == '\a' || (*at >= ' ' && *at <= '~');
}

Test(supervisor_console, words_of_a_hostile_vmm_are_printable_wherever_they_stand) {
    life_prepare(life_one, "", "stay", life_script_hostile_words);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life.console[life.console_length] = '\0';
    life_expect(
        "  1  demo              3 vCPU      8 MiB  crashed: \\x1b]0;x\\x07\\x0d\\x0a[bulkhead] "
        "all VMs ended\\x0d\\x0a\\x9b\r\n");
    life_expect_no_line("[bulkhead] panic");
    for (const char *at = life.console; *at != '\0'; at++) {
        cr_assert(is_expected(at), "\\x%02x behind \"%.*s\"", (uint8_t)*at, 40,
                  at - life.console > 40 ? at - 40 : life.console);
    }
}

static bool life_script_late_answers(unsigned int step) {
    switch (step) {
    case 0:
        life_type("\x01"
                  "c\x1b[?64;1;2c\x1bP1$r0m\rpoweroff\r\x1b\\\x1b]lreset\r\x07\x1bOP\x1b[200~");
        return true;
    case 1:
        life_type("vm\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, answers_to_another_are_no_commands) {
    life_prepare(life_one, "", "stay", life_script_late_answers);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("bulkhead> vm\r\n  1  demo");
}

static bool life_script_info(unsigned int step) {
    if (step == 0) {
        life_type("\x01"
                  "cinfo\r");
    }
    return step == 0;
}

Test(supervisor_console, key_of_the_verdicts_is_on_our_lines_and_nowhere_else) {
    life_prepare(life_one, "a verdict=sekrit42 b", "stay", life_script_info);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("sekrit42 [bulkhead] the terminal is now vm demo's");
    life_expect("command line     a verdict=******** b\r\n");
    cr_assert_eq(life_count("sekrit42"), life_count("sekrit42 [bulkhead] "));
    cr_assert_eq(life_count("[bulkhead] "), life_count("sekrit42 [bulkhead] "));
}

Test(supervisor_console, longest_command_line_is_printed_whole) {
    char line[512];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\0';
    life_prepare(life_one, line, "stay", life_script_info);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    char wanted[600];
    snprintf(wanted, sizeof(wanted), "command line     %s\r\n", line);
    life_expect(wanted);
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
    if (step == 0) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
    }
    return step == 0;
}

Test(supervisor_console, machine_powers_off_when_the_manifest_says_so) {
    life_prepare(life_one, "", "power-off", life_script_end_one);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo: reset\r\n[bulkhead] all VMs ended\r\n");
}

// ---- who uses the CPUs --------------------------------------------------------------------------

static bool top_script(unsigned int step) {
    switch (step) {
    case 0:
        life.now = 10000; // 10 s
        life.usage.run = 5000;
        life.usage.wait = 123;
        life.usage.exits = 70000;
        life.usage.exit[10] = 20000;
        life.usage.exit[48] = 50000;
        life.cpu[1] = (struct abi_cpu_info){
            .core = 1, .idle = 5000, .run = 5000, .switches = 30000, .timers = 10};
        life_type("\x01"
                  "cvm top\r");
        return true;
    case 1:
        life.now = 12000;
        life.usage.run = 7000;
        life.usage.exits = 70100;
        life.usage.exit[10] = 20100;
        life.cpu[1].run = 7000;
        life_type("vm exits other\rvm top\rvm exits demo\rvm exits off\rvm exits nobody\r");
        return true;
    default:
        return false;
    }
}

static void top_dedicated(void *tree) {
    fdt_property_string(tree, "schedule", "dedicated");
}

static const struct life_config top_vms[] = {
    {.name = "demo", .mib = 8},
    {.name = "other", .mib = 8, .vcpus = 1, .more = top_dedicated},
    {.name = "off", .mib = 8, .is_manual = true},
    {.name = NULL}};

Test(supervisor_console, top_tells_who_uses_the_cpus) {
    life_prepare(top_vms, "", "stay", top_script);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("VM               vCPU   run %  wait %  exits/s  most of them\r\n");
    life_expect("demo                3    50.0     1.2     7000  EPT violation\r\n");
    life_expect("  0  shared       0.0     0.0        0        0      0.0\r\n");
    life_expect("  1  dedicated   50.0    50.0     3000        1    100.0\r\n");
    life_expect("         100       50/s  CPUID\r\n         100       50/s  in all\r\n");
    life_expect("demo                3   100.0     0.0       50  CPUID\r\n");
    life_expect("  1  dedicated  100.0     0.0        0        0    100.0\r\n");
    life_expect("           0        0/s  in all\r\n"); // since the table before
    life_expect("off is not running\r\n");
    life_expect("there is no VM \"nobody\"");
}

static bool share_script_change(unsigned int step) {
    switch (step) {
    case 0:
        life_type("\x01"
                  "cweight demo 300\rcap demo 50\rweight off 7\rweight demo 0\rweight demo 10001\r"
                  "cap demo x\rweight demo\rcap nobody 1\raudit\r");
        return true;
    case 1:
        life_type("start off\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_console, weight_and_cap_change) {
    life_prepare(top_vms, "", "stay", share_script_change);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    const struct abi_group *group = &life.object[life.last_group].group;
    cr_assert_eq(group->weight, 300);
    cr_assert_eq(group->cap, 50);
    cr_assert_eq(group->cpus[0], 1, "the rest is as before, CPU 1 is dedicated");
    cr_assert_eq(life_group(2)->weight, 7, "kept until it starts");
    cr_assert_eq(life_count("a weight is a number from 1 to 10000\r\n"), 2);
    life_expect("a cap is a number of percent from 1 to 102400, or 0 for none\r\n");
    life_expect("it wants NAME N; \"vm\" lists the VMs\r\n");
    life_expect("audit: 0 frames, 0 mappings, 0 tables: no error\r\n");
}

// ---- its driver ---------------------------------------------------------------------------------

static bool life_script_dead_driver(unsigned int step) {
    if (step == 0) {
        life_print(0, "before\n");
        return true;
    }
    if (step == 1) {
        life_end_process(life.driver, (struct abi_process_status){ABI_PROCESS_FAULTED, 0, 14, 4,
                                                                  0x401234, 0x10});
        life_print(0, "meanwhile\n");
        return true;
    }
    if (step == 2) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    }
    return false;
}

// It is started again, and all that it had not printed is.
Test(supervisor_console, driver_that_ends_is_started_again) {
    life_prepare(life_one, "console=batch", "stay", life_script_dead_driver);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.driver_starts, 2);
    life_expect("[demo] before\n");
    life_expect("[demo] meanwhile\n");
    life_expect(
        "[bulkhead] the console's driver faulted (vector 14 at rip 0x401234, address 0x10): "
        "started again\n");
    life_expect("[bulkhead] all VMs ended\n");
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT);
}

static bool life_script_mortal_driver(unsigned int step) {
    life_end_process(life.driver, (struct abi_process_status){ABI_PROCESS_EXITED, 2, 0, 0, 0, 0});
    if (step == 300) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step < 400;
}

// One that never lives is given up: the machine goes on without it.
Test(supervisor_console, driver_that_always_ends_is_given_up) {
    life_prepare(life_one, "console=batch", "stay", life_script_mortal_driver);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.driver_starts, 100);
}

static bool life_script_restart(unsigned int step) {
    if (step == 0) {
        life_type("\x01"
                  "crestart-console\r");
        return true;
    }
    return false;
}

Test(supervisor_console, driver_is_restarted_at_the_prompt) {
    life_prepare(life_one, "", "stay", life_script_restart);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    cr_assert_eq(life.driver_starts, 2);
    life_expect("bulkhead> restart-console\r\n");
    life_expect("[bulkhead] the console's driver ended (status 0): started again\r\n");
}

// The kernel has the UART and the log then, and says that the supervisor ended.
Test(supervisor_console, without_a_driver_the_supervisor_ends) {
    life_prepare(life_one, "", "stay", life_script_restart);
    life.lacks_ports = true;
    cr_assert_eq(life_run(), LIFE_NEVER);
    cr_assert_eq(life.status, 2);
    cr_assert(life.log_takes == 0 && life.driver_starts == 0);
}

static bool life_script_long_lives(unsigned int step) {
    life.now += 60 * 1000;
    return life_script_mortal_driver(step);
}

Test(supervisor_console, driver_that_lived_a_minute_is_always_started_again) {
    life_prepare(life_one, "console=batch", "stay", life_script_long_lives);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_gt(life.driver_starts, 250);
    life_expect("[bulkhead] all VMs ended\n");
}

static bool life_script_restarts(unsigned int step) {
    if (step < 200) {
        life_type(step == 0 ? "\x01"
                              "crestart-console\r"
                            : "restart-console\r");
    }
    return step < 200;
}

Test(supervisor_console, restarts_at_the_prompt_are_no_faults) {
    life_prepare(life_one, "", "stay", life_script_restarts);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    cr_assert_gt(life.driver_starts, 150);
}

static bool life_script_stuck_driver(unsigned int step) {
    if (step == 0) {
        life.stuck_driver = 1;
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step == 0;
}

// Whoever waits for it does not for ever.
Test(supervisor_console, driver_that_does_not_print_is_started_again) {
    life_prepare(life_one, "console=batch", "stay", life_script_stuck_driver);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.driver_starts, 2);
    cr_assert(life.now >= 5000 && life.now < 6000);
    life_expect("[bulkhead] all VMs ended\n");
}

static bool life_script_flood(unsigned int step) {
    static char typed[8 * CONSOLE_IN_SIZE];
    if (step == 0) {
        memset(typed, 'k', sizeof(typed) - 1);
        life_type(typed);
    }
    return step == 0;
}

// Whoever types as fast as it is read does not keep the supervisor from the VMs.
Test(supervisor_console, a_turn_reads_a_ring_of_input) {
    life_prepare(life_one, "console=batch", "stay", life_script_flood);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    cr_assert_eq(*life.typed, '\0');
    cr_assert_geq(life.sleeps, 8);
}
