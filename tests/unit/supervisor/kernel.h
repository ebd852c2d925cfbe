// SPDX-License-Identifier: Apache-2.0
// Included before each file of the supervisor's: its system calls are functions of
// support.c's instead of those of lib/syscall.h.
#pragma once

#define SYSCALLS_ARE_SIMULATED
#include "lib/syscall.h"

// Elsewhere than in the real machine, where a host's sanitizer has its shadow memory.
#include "supervisor/process.h"
#undef PROCESS_OWN_BASE
#define PROCESS_OWN_BASE 0x200000000000ULL
