// SPDX-License-Identifier: Apache-2.0
// arch/topology: the rings of the threads.
#include <criterion/criterion.h>

#define cpu_table topology_test_cpu_table
#define cpu_count topology_test_cpu_count
#include "arch/topology.c"

#include <stdlib.h>

struct cpu *cpu_table[CPU_COUNT_MAX];
uint32_t cpu_count;

static struct cpu *add(uint32_t apic_id) {
    struct cpu *cpu = calloc(1, sizeof(*cpu));
    cpu->apic_id = apic_id;
    topology_add(cpu);
    cpu_table[cpu_count++] = cpu;
    return cpu;
}

static unsigned ring_length(const struct cpu *cpu) {
    unsigned length = 1;
    for (const struct cpu *s = cpu->sibling; s != NULL && s != cpu; s = s->sibling) {
        cr_assert_eq(s->core, cpu->core);
        cr_assert_lt(length++, 9);
    }
    return length;
}

// Firmware lists the first threads of all cores before the second ones, and leaves numbers out.
Test(topology, add_joins_threads_of_a_core) {
    static const uint32_t ids[] = {0, 2, 8, 20, 1, 3, 9, 0x102, 0x103};
    static const uint32_t cores[] = {0, 1, 2, 3, 0, 1, 2, 4, 4};
    topology_init(1);
    for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        cr_expect_eq(add(ids[i])->core, cores[i], "APIC ID %u", ids[i]);
    cr_expect_eq(topology_core_count(), 5);
    for (unsigned i = 0; i < cpu_count; i++)
        cr_expect_eq(ring_length(cpu_table[i]), cores[i] == 3 ? 1 : 2, "CPU %u", i);
    cr_expect_eq(cpu_table[0]->sibling, cpu_table[4]);
    cr_expect_eq(cpu_table[4]->sibling, cpu_table[0]);
    cr_expect_null(cpu_table[3]->sibling);
}

Test(topology, add_rings_four_threads) {
    topology_init(2);
    for (uint32_t id = 0; id < 8; id++)
        add(id);
    cr_expect_eq(topology_core_count(), 2);
    for (unsigned i = 0; i < cpu_count; i++)
        cr_expect_eq(ring_length(cpu_table[i]), 4);
}

Test(topology, add_without_threads_makes_each_a_core) {
    topology_init(0);
    for (uint32_t id = 0; id < 12; id += 2)
        cr_expect_eq(add(id)->core, id / 2);
    for (unsigned i = 0; i < cpu_count; i++)
        cr_expect_null(cpu_table[i]->sibling);
}
