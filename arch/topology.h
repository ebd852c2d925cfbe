// SPDX-License-Identifier: Apache-2.0
// Which CPUs are hardware threads of one core: they share its execution units, first-level caches
// and predictors, and so leak to each other. SDM 3A 9.9 "Programming Considerations for Hardware
// Multi-Threading Capable Processors".
//
// An APIC ID is a path, from package down to thread, so two CPUs are threads of one core when their
// IDs differ in the lowest bits only; the processor tells how many bits. All cores are said to use
// as many, whether they have that many threads or not.
//
// In call order, at boot: topology_init, then topology_add for each CPU.
#pragma once

#include "arch/cpu.h"

typedef struct cpuid_result topology_cpuid(uint32_t leaf, uint32_t subleaf);

// Pure: the number of lowest bits of an APIC ID that name the thread within its core.
uint32_t topology_thread_bits(topology_cpuid *cpuid);

// `cpuid` is x86_cpuid, but in tests.
void topology_init(topology_cpuid *cpuid);
// Sets cpu->core and links cpu->sibling with the CPUs of that core that are in cpu_table, where
// `cpu` itself is to come next.
void topology_add(struct cpu *cpu);
// Cores of the CPUs that were added: the numbers in cpu->core are below it.
uint32_t topology_core_count(void);
