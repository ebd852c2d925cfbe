// SPDX-License-Identifier: Apache-2.0
// The trampoline that brings other CPUs into the kernel (arch/head.S), and where they arrive.
#pragma once

#include "arch/cpu.h"

extern const uint8_t trampoline_begin[], trampoline_end[];
extern uint64_t trampoline_root, trampoline_stack; // to be filled in the copy
extern uint8_t boot_stack_end[];

// The first C code of another CPU, on its own stack (provided by kernel/smp.c).
_Noreturn void smp_ap_main(void);
