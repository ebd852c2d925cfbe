// SPDX-License-Identifier: Apache-2.0
// See arch/topology.h.
#include "arch/topology.h"

#define LEAF_BASIC        0x0u
#define LEAF_FEATURES     0x1u
#define LEAF_CACHE        0x4u
#define LEAF_TOPOLOGY     0xbu
#define LEAF_TOPOLOGY_V2  0x1fu
#define LEAF_EXTENDED     0x80000000u
#define LEAF_EXT_FLAGS    0x80000001u
#define LEAF_AMD_TOPOLOGY 0x8000001eu

#define EDX_HTT             BIT(28)
#define EBX_LOGICAL(ebx)    ((ebx) >> 16 & 0xff)
#define CACHE_TYPE(eax)     ((eax)&0x1f)
#define CACHE_CORES(eax)    (((eax) >> 26) + 1)
#define LEVEL_SHIFT(eax)    ((eax)&0x1f)
#define LEVEL_TYPE(ecx)     ((ecx) >> 8 & 0xff)
#define LEVEL_TYPE_SMT      1u
#define ECX_TOPOLOGY        BIT(22) // of LEAF_EXT_FLAGS: LEAF_AMD_TOPOLOGY is there
#define AMD_CORE_THREADS(x) (((x) >> 8 & 0xff) + 1)

static uint32_t thread_bits, core_count;

static uint32_t bits_for(uint32_t count) {
    uint32_t bits = 0;
    while (bits < 31 && (1u << bits) < count)
        bits++;
    return bits;
}

// SDM 2A "CPUID", leaves 0BH and 1FH: subleaf 0 is the level of threads. False: there is no such
// leaf.
static bool from_levels(topology_cpuid *cpuid, uint32_t leaf, uint32_t *bits) {
    struct cpuid_result r = cpuid(leaf, 0);
    if (r.ebx == 0 || LEVEL_TYPE(r.ecx) != LEVEL_TYPE_SMT)
        return false;
    *bits = LEVEL_SHIFT(r.eax);
    return true;
}

// Where no leaf lists the levels, the numbers of logical CPUs and of cores in a package, both
// rounded up to powers of two, tell what is between. AMD has no leaf 4, and no threads before it
// had a leaf for them.
static uint32_t from_counts(topology_cpuid *cpuid) {
    struct cpuid_result features = cpuid(LEAF_FEATURES, 0), cache = cpuid(LEAF_CACHE, 0);
    if ((features.edx & EDX_HTT) == 0 || CACHE_TYPE(cache.eax) == 0)
        return 0;
    uint32_t logical = bits_for(EBX_LOGICAL(features.ebx));
    uint32_t cores = bits_for(CACHE_CORES(cache.eax));
    return logical > cores ? logical - cores : 0;
}

uint32_t topology_thread_bits(topology_cpuid *cpuid) {
    uint32_t max = cpuid(LEAF_BASIC, 0).eax, bits = 0;
    // A package of one logical CPU has no siblings; Bochs has a bit for them in leaf 0BH all the
    // same.
    if (EBX_LOGICAL(cpuid(LEAF_FEATURES, 0).ebx) == 1)
        return 0;
    if (max >= LEAF_TOPOLOGY_V2 && from_levels(cpuid, LEAF_TOPOLOGY_V2, &bits))
        return bits;
    if (max >= LEAF_TOPOLOGY && from_levels(cpuid, LEAF_TOPOLOGY, &bits))
        return bits;
    // APM 3 E.4.15 "Function 8000_001Eh—Processor Topology Information".
    if (cpuid(LEAF_EXTENDED, 0).eax >= LEAF_AMD_TOPOLOGY &&
        (cpuid(LEAF_EXT_FLAGS, 0).ecx & ECX_TOPOLOGY) != 0)
        return bits_for(AMD_CORE_THREADS(cpuid(LEAF_AMD_TOPOLOGY, 0).ebx));
    return max >= LEAF_CACHE ? from_counts(cpuid) : 0;
}

void topology_init(topology_cpuid *cpuid) {
    thread_bits = topology_thread_bits(cpuid);
    core_count = 0;
}

// The others may run already, and look: the ring is whole at every step.
static void link(struct cpu *cpu, struct cpu *member) {
    struct cpu *next = member->sibling != NULL ? member->sibling : member;
    __atomic_store_n(&cpu->sibling, next, __ATOMIC_RELEASE);
    __atomic_store_n(&member->sibling, cpu, __ATOMIC_RELEASE);
}

void topology_add(struct cpu *cpu) {
    for (uint32_t i = 0; i < cpu_count; i++)
        if ((cpu_table[i]->apic_id ^ cpu->apic_id) >> thread_bits == 0) {
            cpu->core = cpu_table[i]->core;
            link(cpu, cpu_table[i]);
            return;
        }
    cpu->core = core_count++;
}

uint32_t topology_core_count(void) {
    return core_count;
}
