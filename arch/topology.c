// SPDX-License-Identifier: Apache-2.0
// See arch/topology.h.
#include "arch/topology.h"

static uint32_t thread_bits, core_count;

void topology_init(uint32_t bits) {
    thread_bits = bits;
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
