// SPDX-License-Identifier: Apache-2.0
// Failure and what follows: the restart policy, what a VMM says and a supervisor keeps, the
// auditor's word, and the account of a VM's life.
#include "tests/unit/supervisor/support.h"

#include "supervisor/reports.h"
#include "supervisor/restart.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <string.h>

#define RESTART_TEST_SECOND 1000000000ULL

// ---- the policy alone ---------------------------------------------------------------------------

static struct vm_config restart_config = {.restart_delay = RESTART_TEST_SECOND};
static uint32_t restart_count;

static void restart_expect(enum vmm_end end, uint64_t seconds, enum restart_action action,
                           uint64_t delay) {
    struct restart restart =
        restart_decide(&restart_config, &restart_count, end, seconds * RESTART_TEST_SECOND, false);
    cr_assert_eq(restart.action, action, "end %u: %u", end, restart.action);
    cr_assert_eq(restart.delay, delay * RESTART_TEST_SECOND, "%llu ns",
                 (unsigned long long)restart.delay);
}

Test(supervisor_restart, never_is_never) {
    for (int end = VMM_END_POWERED_OFF; end <= VMM_END_REFUSED; end++) {
        restart_expect((enum vmm_end)end, 100, RESTART_NOT, 0);
    }
}

Test(supervisor_restart, on_failure_is_after_crashes) {
    restart_config.restart = VM_RESTART_ON_FAILURE;
    restart_expect(VMM_END_POWERED_OFF, 5, RESTART_NOT, 0);
    restart_expect(VMM_END_DEBUG_EXIT, 5, RESTART_NOT, 0);
    restart_expect(VMM_END_REFUSED, 5, RESTART_NOT, 0);
    restart_expect(VMM_END_CRASHED, 5, RESTART_LATER, 1);
}

Test(supervisor_restart, always_is_after_all_but_refusal) {
    restart_config.restart = VM_RESTART_ALWAYS;
    restart_expect(VMM_END_REFUSED, 5, RESTART_NOT, 0);
    restart_expect(VMM_END_POWERED_OFF, 5, RESTART_LATER, 1);
    restart_expect(VMM_END_DEBUG_EXIT, 5, RESTART_LATER, 2);
    restart_expect(VMM_END_CRASHED, 5, RESTART_LATER, 4);
}

Test(supervisor_restart, delay_doubles_up_to_a_minute) {
    restart_config.restart = VM_RESTART_ON_FAILURE;
    static const uint64_t delays[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        restart_expect(VMM_END_CRASHED, 59, RESTART_LATER, delays[i]);
    }
    restart_expect(VMM_END_CRASHED, 60, RESTART_LATER, 1); // it was healthy
    restart_count = UINT32_MAX - 1;
    restart_expect(VMM_END_CRASHED, 1, RESTART_LATER, 60);
}

Test(supervisor_restart, limit_counts_in_a_row) {
    restart_config.restart = VM_RESTART_ON_FAILURE;
    restart_config.restart_limit = 2;
    restart_expect(VMM_END_CRASHED, 1, RESTART_LATER, 1);
    restart_expect(VMM_END_CRASHED, 1, RESTART_LATER, 2);
    restart_expect(VMM_END_CRASHED, 1, RESTART_EXHAUSTED, 0);
    restart_expect(VMM_END_CRASHED, 60, RESTART_LATER, 1);
}

Test(supervisor_restart, reset_is_a_reboot) {
    restart_config.restart = VM_RESTART_ON_FAILURE;
    restart_config.restart_limit = 1;
    for (unsigned int i = 0; i < 5; i++) {
        restart_expect(VMM_END_RESET, 1, RESTART_NOW, 0);
    }
    cr_assert_eq(restart_count, 0);
    restart_expect(VMM_END_RESET, 0, RESTART_LATER, 1); // a loop of resets is none
    restart_expect(VMM_END_RESET, 0, RESTART_EXHAUSTED, 0);
}

Test(supervisor_restart, what_was_wanted_stays) {
    restart_config.restart = VM_RESTART_ALWAYS;
    struct restart restart =
        restart_decide(&restart_config, &restart_count, VMM_END_CRASHED, 0, true);
    cr_assert_eq(restart.action, RESTART_NOT);
}

// ---- the supervisor with it ---------------------------------------------------------------------

static void restart_always(void *tree) {
    fdt_property_string(tree, "restart", "always");
    fdt_property_u64(tree, "restart-delay", 2 * RESTART_TEST_SECOND);
    fdt_property_u32(tree, "restart-limit", 2);
}

static const struct life_config restart_vms[] = {{.name = "web", .mib = 8, .more = restart_always},
                                                 {.name = NULL}};

// Each incarnation crashes, once it has waited for its turn.
static bool restart_script_crash(unsigned int step) {
    static unsigned int crashed;
    if (crashed < life.vmm_count) {
        life_report(crashed, VMM_MESSAGE_RUNNING, 0, 0, "");
        life_report(crashed++, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "triple fault");
        return true;
    }
    return step == UINT32_MAX;
}

Test(supervisor_restart, crashes_are_followed_by_restarts_up_to_the_limit) {
    life_prepare(restart_vms, "console=batch", "stay", restart_script_crash);
    unsigned int handles = life_open_handles();
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm web: crashed: triple fault; restart 1 in 2s\n"
                "[bulkhead] vm web: crashed: triple fault; restart 2 in 4s\n"
                "[bulkhead] vm web: crashed: triple fault\n"
                "[bulkhead] vm web: no restart: the limit of 2 in a row is reached\n"
                "[bulkhead] stat");
    cr_assert_eq(life_count("all VMs ended"), 1);
    cr_assert_eq(life.vmm_count, 3);
    cr_assert_geq(life.now, 6000, "in ticks");
    cr_assert_eq(life_open_handles(), handles + LIFE_KEPT);
}

static bool restart_script_reset(unsigned int step) {
    switch (step) {
    case 0:
        life.now += 2000; // it has run so long
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
        return true;
    case 1:
        cr_assert_eq(life.vmm_count, 2);
        life_type("\x01"
                  "cvm\rpower-button web\r");
        return true;
    case 2:
        cr_assert_eq(life.wanted, VMM_WAKEUP_POWER_BUTTON);
        life_report(1, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
        return true;
    default:
        return false;
    }
}

Test(supervisor_restart, a_reset_starts_again_and_a_power_button_ends) {
    life_prepare(restart_vms, "", "stay", restart_script_reset);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("[bulkhead] vm web: reset; starts again\r\n");
    cr_assert_eq(life_count("the terminal is now vm web's"), 1, "it keeps the terminal");
    life_expect("[bulkhead] vm web: powered off\r\n");
    cr_assert_eq(life.vmm_count, 2);
}

static bool restart_script_waiting(unsigned int step) {
    switch (step) {
    case 0:
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "x");
        life_type("\x01"
                  "c");
        return true;
    case 1:
        life_type("vm\rend web\rvm\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_restart, a_pending_restart_is_ended_by_hand) {
    life_prepare(restart_vms, "", "stay", restart_script_waiting);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("crashed: x; waits for its restart\r\n1 of 1 running");
    life_expect("[bulkhead] vm web: is not started again\r\n");
    life_expect("crashed: x\r\n0 of 1 running");
    cr_assert_eq(life.vmm_count, 1);
}

static bool restart_script_start(unsigned int step) {
    if (step == 0) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "x");
    } else if (step == 1) {
        life_type("\x01"
                  "cstart web\rvm\r");
    }
    return step < 2;
}

Test(supervisor_restart, a_pending_restart_is_hastened_by_hand) {
    life_prepare(restart_vms, "", "stay", restart_script_start);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("starting\r\n1 of 1 running");
    cr_assert_lt(life.now, 2000);
    cr_assert_eq(life.vmm_count, 2);
}

// ---- what a VMM says ----------------------------------------------------------------------------

static bool reports_script_flood(unsigned int step) {
    static uint32_t lines;
    (void)step;
    if (lines < 3000) {
        while (life_may_report(0)) {
            life_report(0, lines++ % 2 == 0 ? VMM_MESSAGE_LOG : VMM_MESSAGE_DUMP, 0, 0, "blah");
        }
        life.bits |= life.vmm[0].start.supervisor_mask;
        return true;
    }
    if (life_may_report(0) && lines < UINT32_MAX) {
        lines = UINT32_MAX;
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "triple fault");
        return true;
    }
    return false;
}

Test(supervisor_reports, a_flood_stays_off_the_console) {
    life_prepare(life_one, "console=batch", "stay", reports_script_flood);
    cr_assert_eq(life_run(), LIFE_POWERED);
    uint64_t seconds = life.now / 1000;
    cr_assert(seconds > 280 && seconds < 300, "3000 lines in %lu s", seconds);
    cr_assert_geq(life_count("vm demo says: blah"), 16 + 64);
    cr_assert_leq(life_count("vm demo says: blah"), 16 + 64 + seconds);
    cr_assert_eq(life_count("says too much"), 1);
    life_expect("[bulkhead] vm demo: says too much: its further lines are only kept, for \"dump "
                "demo\"\n");
    life_expect("[bulkhead] vm demo: crashed: triple fault\n");
}

static bool reports_script_twice(unsigned int step) {
    static uint32_t lines;
    (void)step;
    if (lines % 30 == 0) {
        life.now += 3600 * 1000; // an hour's rest
    }
    while (lines < 60 && life_may_report(0)) {
        life_report(0, VMM_MESSAGE_LOG, 0, 0, "blah");
        if (++lines % 30 == 0) {
            break;
        }
    }
    life.bits |= life.vmm[0].start.supervisor_mask;
    if (lines < 60 || !life_may_report(0)) {
        return true;
    }
    life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "triple fault");
    return false;
}

// However long it was quiet, it says no more at once; and who is cut off again is told so again.
Test(supervisor_reports, a_rest_is_worth_one_burst) {
    life_prepare(life_one, "console=batch", "stay", reports_script_twice);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_expect_eq(life_count("vm demo says: blah"), 2 * REPORTS_BURST);
    cr_expect_eq(life_count("says too much"), 2);
}

static bool reports_script_slow(unsigned int step) {
    life.now += 1000; // a line a second
    life_report(0, step < 40 ? VMM_MESSAGE_LOG : VMM_MESSAGE_ENDED, 0, 0, "blah");
    return step <= 40;
}

Test(supervisor_reports, a_line_a_second_is_said) {
    life_prepare(life_one, "console=batch", "stay", reports_script_slow);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life_count("vm demo says: blah"), 40);
}

static bool reports_script_dump(unsigned int step) {
    switch (step) {
    case 0:
        life_type("\x01"
                  "cdump demo\r");
        return true;
    case 1:
        life_report(0, VMM_MESSAGE_DUMP, 0, 0, "rip 1\n[bulkhead] x");
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_CRASHED, 0, "triple fault");
        return true;
    case 2:
        cr_assert_eq(life_count("rip 1"), 0, "one line tells it");
        life_type("dump demo\r");
        return true;
    default:
        return false;
    }
}

Test(supervisor_reports, dump_is_shown_on_request) {
    life_prepare(life_one, "", "stay", reports_script_dump);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("demo has left nothing\r\n");
    life_expect("[bulkhead] vm demo: crashed: triple fault\r\n");
    life_expect("dump demo\r\n| rip 1\\x0a[bulkhead] x\r\ncrashed: triple fault\r\n");
}

// What the supervisor says of a VM, and what it says of itself, in all the places where a VMM's
// text may stand.
static const char *const reports_forged[] = {
    "powered off",
    "crashed: triple fault; restart 1 in 1ms",
    "debug-exit 0",
    " says: powered off",
    "[bulkhead] vm demo: powered off",
    "\r\n[bulkhead] all VMs ended\r\n",
    "\x1b[1A\x1b[2K[bulkhead] panic: forged",
    "\b\b\b\b\b\b\b\b\b\b\b\b\b\b\b: powered off",
};
#define REPORTS_FORGED (sizeof(reports_forged) / sizeof(reports_forged[0]))

static bool reports_script_forger(unsigned int step) {
    life.now += 1000;
    if (step < 2 * REPORTS_FORGED) {
        uint32_t type = step % 2 == 0 ? VMM_MESSAGE_LOG : VMM_MESSAGE_DUMP;
        life_report(0, type, 0, 0, reports_forged[step / 2]);
        return true;
    }
    if (step == 2 * REPORTS_FORGED) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_DEBUG_EXIT, 3, "powered off");
    }
    return step == 2 * REPORTS_FORGED;
}

// Of the lines about the VM only one is the supervisor's own, and that is how it ended.
static void reports_expect_one_verdict(const char *head, const char *end) {
    life.console[life.console_length] = '\0';
    unsigned int said = 0;
    for (char *line = strtok(life.console, "\r\n"); line != NULL; line = strtok(NULL, "\r\n")) {
        bool is_end = strcmp(line, end) == 0;
        cr_assert(strncmp(line, head, strlen(head)) != 0 || is_end, "it says '%s'", line);
        cr_assert_neq(strncmp(line, "[bulkhead] panic", 16), 0, "it says '%s'", line);
        said += is_end;
    }
    cr_assert_eq(said, 1);
}

Test(supervisor_reports, a_vmm_can_not_speak_for_the_supervisor) {
    life_prepare(life_one, "console=batch", "stay", reports_script_forger);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm demo says: powered off\n");
    life_expect("[bulkhead] vm demo says: \\x0d\\x0a[bulkhead] all VMs ended\\x0d\\x0a\n");
    cr_assert_eq(life_count("vm demo says: "), 2 * REPORTS_FORGED);
    cr_assert_eq(life_count("\n[bulkhead] all VMs ended"), 1);
    reports_expect_one_verdict("[bulkhead] vm demo:", "[bulkhead] vm demo: debug-exit 3");
}

static bool reports_script_forger_asked(unsigned int step) {
    if (step == 2 * REPORTS_FORGED + 1) {
        life_type("\x01"
                  "cdump demo\r");
        return true;
    }
    return reports_script_forger(step);
}

Test(supervisor_reports, what_is_kept_of_a_vmm_is_not_the_supervisors) {
    life_prepare(life_one, "", "stay", reports_script_forger_asked);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("\r\n| powered off\r\n");
    cr_assert_eq(life_count("\r\npowered off"), 0);
    cr_assert_eq(life_count("\r\ncrashed"), 0);
    life_expect("\r\ndebug-exit 3\r\n");
    reports_expect_one_verdict("[bulkhead] vm demo:", "[bulkhead] vm demo: debug-exit 3");
}

// ---- the auditor, and the account of a life -----------------------------------------------------

static bool account_script(unsigned int step) {
    if (step < 2) {
        life_report(step, VMM_MESSAGE_ENDED, VMM_END_POWERED_OFF, 0, "");
    }
    return step < 2;
}

Test(supervisor_account, audit_follows_each_end) {
    life_prepare(life_two, "console=batch audit=on", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] stat audits 2\n[bulkhead] stat audit_errors 0\n");
    life_expect_no_line("[bulkhead] audit");
    cr_assert_eq(life.audits, 2);
}

Test(supervisor_account, audit_names_its_first_error) {
    life.audit = (struct abi_audit){.frames = 7,
                                    .mappings = 6,
                                    .tables = 5,
                                    .errors = 3,
                                    .error = ABI_AUDIT_TWICE,
                                    .space = ABI_AUDIT_VM,
                                    .frame = 0x1000,
                                    .address = 0x2000};
    life_prepare(life_two, "console=batch audit=on", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect(
        "[bulkhead] audit: after vm demo: 7 frames, 6 mappings, 5 tables: 3 errors, the first: "
        "a frame is mapped by somebody beside its owner (frame 0x1000, in a VM at 0x2000)\n");
    life_expect("[bulkhead] stat audit_errors 6\n");
}

Test(supervisor_account, no_audit_is_no_success) {
    life.audit_result = -ABI_ERROR_CALL;
    life_prepare(life_two, "console=batch audit=on", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] stat audits 0\n");
}

Test(supervisor_account, nothing_is_said_without_the_words) {
    life_prepare(life_two, "console=batch", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.audits, 0);
    life_expect_no_line("[bulkhead] stat audit");
    life_expect_no_line("[bulkhead] usage");
}

Test(supervisor_account, usage_is_one_line_a_vm) {
    life.usage = (struct abi_usage){.run = 1,
                                    .wait = 2,
                                    .throttled = 3,
                                    .exits = 4,
                                    .own_timer_exits = 5,
                                    .deadline_misses = 6,
                                    .switches = 7,
                                    .migrations = 8};
    life_prepare(life_two, "console=batch usage=on", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect(
        "[bulkhead] usage other run 1 wait 2 throttled 3 exits 4 own-timer-exits 5 misses 6 "
        "switches 7 migrations 8 charged 0\n[bulkhead] vm other: powered off\n");
    cr_assert_eq(life_count("usage demo run 1 "), 1);
}

// "demo" ends first, while "other" runs.
Test(supervisor_account, usage_of_all_tells_the_exits_of_those_that_run) {
    life.usage = (struct abi_usage){.run = 1, .exits = 5};
    life.usage.exit[12] = 3;
    life.usage.exit[ABI_EXIT_REASONS - 1] = 2;
    life_prepare(life_two, "console=batch usage=all", "stay", account_script);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life_count("usage demo run 1 "), 1);
    cr_assert_eq(life_count("usage other run 1 "), 2);
    cr_assert_eq(life_count("[bulkhead] exits other at "), 2);
    cr_assert_eq(life_count(" 12:3 79:2\n"), 3);
}
