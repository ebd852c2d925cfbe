// SPDX-License-Identifier: Apache-2.0
// Which CPUs are hardware threads of one core. No instructions but what is passed in, so that the
// host's tests can link it. SDM 3A 9.9 "Programming Considerations for Hardware Multi-Threading
// Capable Processors".
//
// An APIC ID is a path, from package down to thread, so two CPUs are threads of one core when their
// IDs differ in the lowest bits only; the processor tells how many bits. All cores are said to use
// as many, whether they have that many threads or not.
#pragma once

#include <stdint.h>

struct boot_cpuid {
    uint32_t eax, ebx, ecx, edx;
};
typedef struct boot_cpuid (*boot_cpuid_t)(uint32_t leaf, uint32_t subleaf);

// The number of lowest bits of an APIC ID that name the thread within its core; below 32.
uint32_t boot_topology_thread_bits(boot_cpuid_t cpuid);
// The APIC ID of the CPU that this runs on: all 32 bits where the processor tells them.
uint32_t boot_topology_apic_id(boot_cpuid_t cpuid);
