// SPDX-License-Identifier: Apache-2.0
// What the kernel says, and how it ends when it finds a bug of its own.
#pragma once

#include "lib/types.h"

// One line for the host's console, behind "[bulkhead] ". No newline at its end.
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

// To the prover it is what must never be reached.
/*@ requires \false;
    assigns \nothing;
    ensures \false; */
// A bug of ours: writes the crash record (message, registers, stack, last exits) to serial and
// framebuffer, stops all CPUs. Nothing that a guest or a user does may lead here.
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The machine cannot do what we need: says `[bulkhead] halted: REASON` and stops, or in batch mode
// (console=batch) powers off.
_Noreturn void halt_machine(const char *reason);

#define assert(condition)                                                                          \
    ((condition) ? (void)0 : panic("assertion failed: %s (%s:%d)", #condition, __FILE__, __LINE__))
