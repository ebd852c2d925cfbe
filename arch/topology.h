// SPDX-License-Identifier: Apache-2.0
// Which CPUs are hardware threads of one core: they share its execution units, first-level caches
// and predictors, and so leak to each other. Their APIC IDs differ in the lowest bits only; how
// many those are the boot application finds out (boot/boot_topology.h).
//
// In call order, at boot: topology_init, then topology_add for each CPU.
#pragma once

#include "arch/cpu.h"

// `thread_bits` is that of struct boot_info, below 32.
void topology_init(uint32_t thread_bits);
// Sets cpu->core and links cpu->sibling with the CPUs of that core that are in cpu_table, where
// `cpu` itself is to come next.
void topology_add(struct cpu *cpu);
// Cores of the CPUs that were added: the numbers in cpu->core are below it.
uint32_t topology_core_count(void);
