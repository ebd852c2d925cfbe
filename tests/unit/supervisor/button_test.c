// SPDX-License-Identifier: Apache-2.0
// supervisor/button: what a press of the machine's power button does to VMs of every kind, and that
// a button or an SCI that misbehaves takes neither the machine nor the supervisor's time.
#include "supervisor/button.h"
#include "supervisor/machine.h"
#include "tests/unit/supervisor/support.h"
#include "tests/unit/supervisor/support_button.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <string.h>

#define SECOND   1000u // ticks of the paper
#define DEADLINE (BUTTON_DEADLINE_NS / 1000000)
#define TOLD     "power button: pressed: all VMs are told, and have 30 s to power off"
#define LOST     "the button does nothing any more"

static void restart_always(void *tree) {
    fdt_property_string(tree, "restart", "always");
    fdt_property_u64(tree, "restart-delay", 2000000000);
}

static const struct life_config two_restarting[] = {{.name = "a", .mib = 8, .more = restart_always},
                                                    {.name = "b", .mib = 8, .more = restart_always},
                                                    {.name = NULL}};
static const struct life_config none[] = {{.name = "a", .mib = 8, .is_manual = true},
                                          {.name = NULL}};

static void end(unsigned int vmm, enum vmm_end how) {
    life_report(vmm, VMM_MESSAGE_ENDED, how, 0, "");
}

static bool never(unsigned int step) {
    (void)step;
    return false;
}

// ---- a press ------------------------------------------------------------------------------------

static bool script_obedient(unsigned int step) {
    if (step == 0) {
        button_press(0);
    } else if (step == 1) {
        cr_assert_eq(life.wanted, VMM_WAKEUP_POWER_BUTTON);
        cr_assert_eq(life.wakeups, 2, "each has got his");
        end(0, VMM_END_POWERED_OFF);
        end(1, VMM_END_POWERED_OFF);
    }
    return step < 2;
}

static void expect_obedience(void) {
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_eq(life.power, ABI_POWER_OFF);
    life_expect("[bulkhead] " TOLD "\r\n");
    cr_assert_eq(life_count("powered off\r\n"), 2);
    life_expect_no_line("[bulkhead] power button: pressed again");
    cr_assert_eq(life.vmm_count, 2, "whatever their restart policies say");
    cr_assert_lt(life.now, DEADLINE, "nobody waits for the deadline");
}

Test(supervisor_button, all_vms_are_told_and_the_machine_powers_off_whatever_the_manifest_says) {
    button_put(false);
    life_prepare(two_restarting, "", "stay", script_obedient);
    expect_obedience();
    cr_assert_eq(paper.status[0], 0);
}

static bool script_second_block(unsigned int step) {
    if (step == 0) {
        cr_assert_eq(paper.enable[0], BUTTON_PRESS, "of either block");
        cr_assert_eq(paper.enable[1], BUTTON_PRESS);
        button_press(1);
        return true;
    }
    return script_obedient(step);
}

Test(supervisor_button, of_the_second_block_counts) {
    button_put(true);
    life_prepare(two_restarting, "", "stay", script_second_block);
    expect_obedience();
    cr_assert_eq(paper.status[1], 0);
}

static bool script_press(unsigned int step) {
    if (step == 0) {
        button_press(0);
    }
    return step == 0;
}

Test(supervisor_button, without_a_running_vm_the_machine_powers_off) {
    button_put(false);
    life_prepare(none, "", "stay", script_press);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] power button: pressed, and no VM runs: the machine is switched off");
}

// Of before Bulkhead ran: somebody pressed it to switch the machine on.
Test(supervisor_button, old_press_is_none) {
    button_put(false);
    paper.status[0] = 0xffff;
    paper.enable[0] = 0xffff;
    life_prepare(none, "", "stay", never);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    cr_assert_eq(paper.fired, 0);
    cr_assert_eq(paper.enable[0], BUTTON_PRESS, "no other event is on");
    life_expect_no_line("[bulkhead] power button");
}

// ---- those that do not power off ----------------------------------------------------------------

static uint64_t asked_to_end;

// VM a obeys, VM b does nothing until its VMM is asked to end it.
static bool script_deaf_vms(unsigned int step) {
    if (step == 0) {
        button_press(0);
        return true;
    }
    if (step == 1) {
        end(0, VMM_END_POWERED_OFF);
        return true;
    }
    if ((life.wanted & VMM_WAKEUP_END) != 0 && asked_to_end == 0) {
        asked_to_end = life.now;
        end(1, VMM_END_POWERED_OFF);
        return true;
    }
    return false;
}

Test(supervisor_button, who_does_not_power_off_is_ended_at_the_deadline) {
    button_put(false);
    life_prepare(two_restarting, "", "stay", script_deaf_vms);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] power button: 1 VMs did not power off in time, and are ended\r\n");
    cr_assert(asked_to_end >= DEADLINE && asked_to_end < DEADLINE + SECOND);
    cr_assert_eq(life.vmm_count, 2);
}

// Nor does its VMM end it.
Test(supervisor_button, whose_vmm_does_nothing_either_is_ended_by_force) {
    button_put(false);
    life_prepare(life_two, "", "stay", script_press);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] power button: 2 VMs did not power off in time, and are ended\r\n");
    cr_assert_eq(life_count("did not end it when asked to, and was ended"), 2);
    cr_assert_lt(life.now, DEADLINE + 10 * SECOND);
}

static bool script_twice(unsigned int step) {
    switch (step) {
    case 0:
        button_press(0);
        return true;
    case 1:
        life.now += 100; // the same press
        button_press(0);
        return true;
    case 2:
        cr_assert_eq(life.wanted, VMM_WAKEUP_POWER_BUTTON, "a finger that shakes ends nothing");
        life.now += SECOND;
        button_press(0);
        return true;
    default:
        return false;
    }
}

Test(supervisor_button, pressed_again_ends_all_at_once) {
    button_put(false);
    life_prepare(life_two, "", "stay", script_twice);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] power button: pressed again: all VMs are ended\r\n");
    life_expect_no_line("[bulkhead] power button: 2 VMs did not");
    cr_assert_lt(life.now, DEADLINE / 2);
}

// One resets, which would start it again at once, one crashes, which would do so later; and one
// waited already.
static bool script_restarts(unsigned int step) {
    switch (step) {
    case 0:
        end(0, VMM_END_CRASHED);
        return true;
    case 1:
        button_press(0);
        return true;
    case 2:
        end(1, VMM_END_RESET);
        return true;
    default:
        return false;
    }
}

Test(supervisor_button, nobody_is_started_again) {
    button_put(false);
    life_prepare(two_restarting, "", "stay", script_restarts);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] vm a: is not started again\r\n");
    life_expect("[bulkhead] vm b: is not started again\r\n");
    cr_assert_eq(life.vmm_count, 2);
    cr_assert_lt(life.now, DEADLINE, "nobody waits for what does not run");
}

static bool script_no_way_off(unsigned int step) {
    if (step == 0 || step == 2) {
        life.now += SECOND;
        button_press(0);
    } else if (step == 1) {
        end(0, VMM_END_POWERED_OFF);
    }
    return step < 3;
}

Test(supervisor_button, machine_that_stays_on_can_be_told_again) {
    button_put(false);
    life.power_result = -ABI_ERROR_UNSUPPORTED;
    life_prepare(life_one, "", "stay", script_no_way_off);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("[bulkhead] " TOLD);
    life_expect("[bulkhead] power button: pressed, and no VM runs");
    cr_assert_eq(life_count("this machine cannot be switched off by software"), 2);
    cr_assert_eq(button_next_deadline(), ABI_FOREVER);
}

// ---- buttons and interrupts that misbehave ------------------------------------------------------

// The supervisor goes on, and its VMs with it.
static void expect_let_go(const char *why) {
    life_expect(why);
    cr_assert_eq(life_count(LOST), 1, "it is said once");
    cr_assert_eq(paper.interrupt, 0);
    cr_assert_eq(paper.enable[0] & BUTTON_PRESS, 0);
    cr_assert_leq(paper.fired, BUTTON_NOTHING_MAX + 2);
}

Test(supervisor_button, storm_of_another_device_is_let_go_of) {
    button_put(true);
    paper.is_shared = true;
    life_prepare(life_one, "", "stay", never);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    expect_let_go("[bulkhead] power button: its interrupt 9 comes without end, and is off: " LOST);
    life_expect_no_line("[bulkhead] power button: pressed");
    cr_assert_leq(life.sleeps, 2 * BUTTON_NOTHING_MAX + 20);
}

// An event that somebody keeps on (system management, say) and that does not clear.
Test(supervisor_button, storm_of_another_event_is_let_go_of) {
    button_put(false);
    paper.forced[0] = 1;
    paper.stuck[0] = 1;
    paper.status[0] = 1;
    life_prepare(life_one, "", "stay", never);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    expect_let_go("[bulkhead] power button: its interrupt 9 comes without end");
}

static bool script_other_event(unsigned int step) {
    if (step == 0) {
        paper.status[0] |= 0x21;
        paper.enable[0] |= 0x21;
        button_pull();
        return true;
    }
    cr_assert_eq(paper.status[0] & 0x21, 0);
    return script_obedient(step - 1);
}

Test(supervisor_button, other_event_is_turned_off) {
    button_put(false);
    life_prepare(two_restarting, "", "stay", script_other_event);
    expect_obedience();
}

static bool script_stuck(unsigned int step) {
    if (step == 0) {
        paper.stuck[0] = BUTTON_PRESS;
        button_press(0);
    }
    return step == 0;
}

// It counts once, and not as pressed again.
Test(supervisor_button, status_that_never_clears_is_one_press) {
    button_put(false);
    paper.pause = SECOND / 10;
    life_prepare(life_one, "", "stay", script_stuck);
    cr_assert_eq(life_run(), LIFE_POWERED);
    expect_let_go("[bulkhead] " TOLD);
    life_expect_no_line("[bulkhead] power button: pressed again");
    life_expect("[bulkhead] power button: 1 VMs did not power off in time, and are ended");
}

// The finger goes after a while, and comes back.
static bool script_held(unsigned int step) {
    if (step == 0) {
        paper.unstick_at = 20;
        return script_stuck(step);
    }
    if (step == 1) {
        cr_assert_geq(paper.acknowledged, paper.unstick_at);
        life.now += SECOND;
        button_press(0);
    }
    return step < 2;
}

Test(supervisor_button, status_that_clears_late_can_be_set_again) {
    button_put(false);
    life_prepare(life_one, "", "stay", script_held);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] power button: pressed again: all VMs are ended");
    life_expect_no_line("[bulkhead] power button: its interrupt");
}

Test(supervisor_button, stuck_from_the_first_is_not_listened_to) {
    button_put(true);
    paper.stuck[1] = BUTTON_PRESS;
    paper.status[1] = BUTTON_PRESS;
    life_prepare(life_one, "", "stay", script_press);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("[bulkhead] power button: it does nothing: its status does not clear\r\n");
    cr_assert_eq(paper.interrupt, 0);
    life_expect_no_line("[bulkhead] power button: pressed");
}

// The status is set anew by each look.
static bool script_rattle(unsigned int step) {
    (void)step;
    if (life.now < 400 && paper.interrupt != 0) {
        button_press(0);
        return true;
    }
    return false;
}

Test(supervisor_button, rattling_is_one_press) {
    button_put(false);
    life_prepare(life_one, "", "stay", script_rattle);
    cr_assert_eq(life_run(), LIFE_POWERED);
    life_expect("[bulkhead] " TOLD);
    life_expect_no_line("[bulkhead] power button: pressed again");
}

// By edges, where no interrupt comes again for what is not cleared yet.
Test(supervisor_button, rattling_is_let_go_of) {
    button_put(false);
    paper.is_edge = true;
    life_prepare(life_one, "", "stay", script_rattle);
    cr_assert_eq(life_run(), LIFE_POWERED);
    expect_let_go("[bulkhead] " TOLD);
}

#define TRICKLE 300u

static bool script_trickle(unsigned int step) {
    if (step < 2 * TRICKLE && step % 2 == 0) {
        life.now += SECOND;
        paper.is_shared = true;
        button_pull();
        paper.is_shared = false;
    } else if (step == 2 * TRICKLE) {
        button_press(0);
    } else if (step == 2 * TRICKLE + 1) {
        end(0, VMM_END_POWERED_OFF);
    }
    return step < 2 * TRICKLE + 2;
}

// A machine that runs for years has them; the button still works.
Test(supervisor_button, interrupts_for_nothing_now_and_then_are_borne) {
    button_put(false);
    life_prepare(life_one, "", "stay", script_trickle);
    cr_assert_eq(life_run(), LIFE_POWERED);
    cr_assert_gt(paper.fired, TRICKLE);
    life_expect("[bulkhead] " TOLD);
    life_expect("[bulkhead] vm demo: powered off");
}

// ---- machines where it is not to be had ---------------------------------------------------------

static void expect_nothing(const char *line) {
    life_prepare(life_one, "", "stay", never);
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect(line);
    cr_assert_eq(paper.interrupt, 0);
    cr_assert_eq(paper.enable[0], 0, "nobody would hear it");
    cr_assert_eq(life.vmm_count, 1, "the VM runs all the same");
}

Test(supervisor_button, registers_that_are_refused_are_said) {
    button_put(false);
    paper.ports_result = -ABI_ERROR_ARGUMENT;
    expect_nothing("[bulkhead] power button: it does nothing: its registers or interrupt 9: bad "
                   "argument\r\n");
}

Test(supervisor_button, second_registers_that_are_refused_are_said) {
    button_put(true);
    paper.ports_b_result = -ABI_ERROR_MEMORY;
    expect_nothing("[bulkhead] power button: it does nothing: its registers or interrupt 9: not "
                   "enough memory\r\n");
}

Test(supervisor_button, input_that_is_refused_is_said) {
    button_put(false);
    paper.interrupt_result = -ABI_ERROR_UNSUPPORTED;
    expect_nothing("[bulkhead] power button: it does nothing: its registers or interrupt 9: not "
                   "supported by this machine\r\n");
}

// It has no other one, and the button is not worth a console that is polled.
Test(supervisor_button, interrupt_of_the_uart_stays_the_consoles) {
    button_put(false);
    life_prepare(life_one, "", "stay", never);
    life_start.button.input = life_start.uart_interrupt.input;
    cr_assert_eq(life_run(), LIFE_SLEEPS);
    life_expect("[bulkhead] power button: it does nothing: its registers or interrupt 4: already "
                "there\r\n");
    cr_assert_eq(paper.blocks, 0);
}

Test(supervisor_button, no_button_no_line) {
    expect_nothing("");
    life_expect_no_line("[bulkhead] power button");
    cr_assert_eq(paper.blocks, 0);
}

Test(supervisor_button, event_bit_is_no_vms) {
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t mask = machine_vm_mask(i);
        cr_assert_neq(mask, 0);
        cr_assert_eq(mask & (MACHINE_EVENT_BUTTON | MACHINE_EVENT_DRIVER | MACHINE_EVENT_CONSOLE),
                     0);
    }
}
