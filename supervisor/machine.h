// SPDX-License-Identifier: Apache-2.0
// The machine as the supervisor holds it: its start page, its one event, its quota.
//
//   machine_open     once, first
//   machine_wait     the only place where the supervisor sleeps
#pragma once

#include "include/start.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bits of the supervisor's event. VMs share the bits from 1 on, so a bit means: look at all its
// VMs.
#define MACHINE_EVENT_CONSOLE (1ULL << 0)
#define MACHINE_VM_BITS       61u
#define MACHINE_EVENT_BUTTON  (1ULL << 62) // the machine's power button
#define MACHINE_EVENT_DRIVER  (1ULL << 63) // the console's ended

struct machine {
    const struct abi_start *start;
    uint32_t event;
    uint64_t tsc_hz;
};

extern struct machine machine;

// Checks the start page, creates the event. False: this kernel and this
// supervisor do not fit together, and nothing can be said either.
bool machine_open(const struct abi_start *start);

// The event bit of VM number `index`.
uint64_t machine_vm_mask(uint32_t index);

// Waits for bits of `mask` until the TSC reaches `deadline`. Returns them, 0 at the deadline.
// Others gather, and wake nobody.
uint64_t machine_wait(uint64_t mask, uint64_t deadline);

// Does this word, such as "console=batch", stand on the kernel's command line?
bool machine_has_option(const char *word);

// The key that verdicts carry, `verdict=KEY` on the kernel's command line; "": there is none, or
// none that is usable.
#define MACHINE_VERDICT     "verdict="
#define MACHINE_VERDICT_MAX 32u // characters, as the kernel has it (BOOT_MARK_MAX)
void machine_verdict(char key[MACHINE_VERDICT_MAX + 1]);

// The module of that name, or NULL.
const struct abi_start_module *machine_module(const char *name);

// Bytes of the supervisor's quota that are used, and that nobody uses yet.
uint64_t machine_memory_used(void);
uint64_t machine_memory_free(void);

void machine_info(struct abi_system_info *info);

uint64_t machine_tsc(void);

// Nanoseconds (up to 100 years) in TSC ticks.
uint64_t machine_ticks(uint64_t nanoseconds);
uint64_t machine_nanoseconds(uint64_t ticks);

// Ends everything; drain the console first. Returns an error only when the machine offers no such
// way.
int64_t machine_power(enum abi_power power);

// What a negative result of a system call means, for people.
const char *machine_error_text(int64_t result);
