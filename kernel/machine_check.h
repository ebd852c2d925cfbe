// SPDX-License-Identifier: Apache-2.0
// Machine checks: errors that the hardware found in itself, which each CPU sees in its banks. What
// they mean is boot/'s to say (include/machine_check.h).
//
//   machine_check_init_cpu   at a CPU's start
//   machine_check_handle     an exception #MC, or the exit of a guest for it (arch/traps.h)
//   machine_check_end        ends the process that used broken memory
//   machine_check_poll       what was no reason for one, for the supervisor
//   machine_check_print      all banks, at the start and in a panic
//
// An error that a guest or ring 3 has used, and that reached no further, ends that one, and its
// frame is withdrawn (kernel/frame.h). Any other that was not corrected is a panic.
//
// Locks: none while CPUs meet. The exception comes while others hold some, on each CPU at once.
#pragma once

// On each CPU, with CR4.MCE set: says what its banks have of before the reset, empties them, and
// turns them on.
void machine_check_init_cpu(void);
// On the thread's own stack, once machine_check_handle has said that it must end: lets others
// come, ends its process, whose status has the frame as the address, and withdraws that.
void machine_check_end(void);
// For smp_call. Fills a struct abi_machine_check with the first error of this CPU's banks that
// waits for no exception, and empties the bank. Status 0: there is none.
void machine_check_poll(void *report);
// Lines that begin with `when`: each bank of this CPU that has an error.
void machine_check_print(const char *when);
