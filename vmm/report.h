// SPDX-License-Identifier: Apache-2.0
// What the VMM says to the supervisor: lines for the host's console, and how the VM ended.
#pragma once

#include "vmm/process.h"

// Before anything else is reported. False: nobody can be told anything.
bool report_open(struct vmm *vmm);

// One line, printf-like.
void report_log(struct vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The same for a crash dump: the supervisor keeps it for who asks.
void report_dump(struct vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The first vCPU is about to run.
void report_running(struct vmm *vmm);

// Ends the VM and this process: once all console output is out, says how, and exits. Only the first
// caller does so; others wait for the end.
_Noreturn void report_end(struct vmm *vmm, enum vmm_end end, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
