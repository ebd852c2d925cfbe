// SPDX-License-Identifier: Apache-2.0
// The machine's power button, which the BMC's soft-off presses, too. When it is pressed, all VMs
// get theirs; those that do not power off in time are ended, and then the machine is switched off.
// When it is pressed again meanwhile, that comes at once.
//
//   button_open             once, before any VM starts
//   button_service          in each round
//   button_next_deadline    when a round is due for it
//   button_release          the machine could not be switched off: as if nothing had been pressed
//
// A press is the button's status bit, which was clear before, in the PM1 event registers (ACPI 6.5
// 4.8.3.1 "PM1 Event Registers"), when the SCI has come. Other interrupts are for nothing; where
// many come, the SCI is let go of, and the button does nothing from then on.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define BUTTON_DEADLINE_NS 30000000000ULL
#define BUTTON_PRESS_NS    500000000ULL // a press that comes sooner is still the one before
#define BUTTON_NOTHING_MAX 64u          // interrupts for nothing, within BUTTON_NOTHING_NS
#define BUTTON_NOTHING_NS  10000000000ULL

// Where the machine has such a button and it cannot be listened to, that is said.
void button_open(void);

// `has_interrupt`: MACHINE_EVENT_BUTTON has come. Before vm_check_deadlines, which starts VMs
// again.
void button_service(bool has_interrupt);
void button_release(void);

uint64_t button_next_deadline(void); // TSC, ABI_FOREVER: never
