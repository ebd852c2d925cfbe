// SPDX-License-Identifier: Apache-2.0
// The machine as an object: what the supervisor's `system` handle names. Its calls are in
// kernel/syscall_system.c.
#pragma once

#include "kernel/object.h"

extern struct object system_object;
// `entry_tsc`: the TSC at the kernel's first instruction, for the bench table.
void system_init(uint64_t entry_tsc);
