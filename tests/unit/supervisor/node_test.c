// SPDX-License-Identifier: Apache-2.0
// supervisor/node, and what supervisor/placement makes of it: which node a VM gets, what is said of
// it, and that no table of the firmware's, however odd, keeps a VM from its CPUs.
#include "tests/unit/supervisor/support.h"

#include "supervisor/machine.h"
#include "supervisor/node.h"
#include "supervisor/placement.h"

#include <criterion/criterion.h>
#include <libfdt.h>
#include <string.h>

static struct nodes table;
static struct vm_config configs[8];
static struct placement placements[8];
static char why[PLACEMENT_WHY_MAX];

// Nodes of `cpus` CPUs each, one behind the other, and one range of memory, a GiB.
static void make_table(uint32_t nodes, uint32_t cpus) {
    table = (struct nodes){.count = nodes, .range_count = nodes, .cpu_count = nodes * cpus};
    life.cpu_count = nodes * cpus;
    for (uint32_t i = 0; i < nodes; i++) {
        table.range[i] = (struct nodes_range){.base = LIFE_NODE_BASE(i), .node = i};
        table.range[i].size = table.range[i].memory = 1024 * LIFE_MIB;
        life.node_free[i] = 1024 * LIFE_MIB;
    }
    for (uint32_t i = 0; i < nodes * cpus; i++) {
        life.cpu[i] = (struct abi_cpu_info){.apic_id = 2 * i, .core = i};
        table.cpu[i] = (struct nodes_cpu){2 * i, i / cpus};
    }
}

static void open_table(void) {
    life_start.system = LIFE_SYSTEM;
    machine.start = &life_start;
    life_nodes(&table);
    placement_open();
}

static void open_nodes(uint32_t nodes, uint32_t cpus) {
    make_table(nodes, cpus);
    open_table();
}

static struct vm_config *configure(unsigned int index, uint32_t vcpus, uint64_t mib) {
    struct vm_config *config = &configs[index];
    *config = (struct vm_config){.vcpus = vcpus, .memory = mib * LIFE_MIB};
    config->scheduling.node = UINT32_MAX;
    memset(config->scheduling.cpus, 0xff, sizeof(config->scheduling.cpus));
    return config;
}

static void set_cpus(struct vm_config *config, uint64_t mask) {
    memset(config->scheduling.cpus, 0, sizeof(config->scheduling.cpus));
    config->scheduling.cpus[0] = mask;
}

static void take(unsigned int index) {
    why[0] = '\0';
    cr_assert(placement_take(&placements[index], &configs[index], why), "%s", why);
}

// Which node it gets, and where its shared threads run; a remark with these words, or none.
static void expect(unsigned int index, uint32_t node, uint64_t cpus, const char *words) {
    const struct placement *placement = &placements[index];
    char text[PLACEMENT_WHY_MAX] = "";
    take(index);
    struct cpuset set = placement_cpus(placement);
    cr_expect_eq(placement->node, node, "VM %u: node %u, not %u", index, placement->node, node);
    cr_expect_eq(set.word[0], cpus, "VM %u: CPUs 0x%lx, not 0x%lx", index, set.word[0], cpus);
    bool has_remark = placement_remark(placement, text);
    cr_expect_eq(has_remark, words != NULL, "VM %u: %s", index, text);
    cr_expect(words == NULL || strstr(text, words) != NULL, "VM %u: %s", index, text);
}

// ---- a good table -------------------------------------------------------------------------------

Test(supervisor_node, vms_go_where_the_fewest_vcpus_are) {
    open_nodes(2, 4);
    life.node_free[1] += LIFE_MIB;
    configure(0, 2, 100);
    expect(0, 1, 0xf0, NULL); // both are idle: where more memory is
    configure(1, 3, 100);
    expect(1, 0, 0x0f, NULL);
    configure(2, 2, 100);
    expect(2, 1, 0xf0, NULL);
    configure(3, 2, 100);
    expect(3, 0, 0x0f, NULL);
    placement_release(&placements[2]);
    configure(4, 1, 100);
    expect(4, 1, 0xf0, NULL);
}

// Memory that others were promised is not free, though they have not taken it yet.
Test(supervisor_node, what_others_wait_for_is_not_free) {
    open_nodes(2, 4);
    life.node_free[1] = 600 * LIFE_MIB;
    configure(0, 1, 800);
    expect(0, 0, 0x0f, NULL);
    configure(1, 4, 300);
    expect(1, 1, 0xf0, NULL);
    configure(2, 1, 300);
    expect(2, 1, 0xf0, NULL); // though its CPUs have more to do
    configure(3, 1, 300);
    expect(3, 0, 0xff,
           "300 MiB and 1 vCPUs do not fit in one node: it is spread, its memory "
           "comes from node 0 first");
    placements[0].awaited = 0; // it has them by now
    life.node_free[0] = 224 * LIFE_MIB;
    configure(4, 1, 100);
    expect(4, 0, 0xff, "100 MiB and 1 vCPUs do not fit"); // the one before has what is left there
}

Test(supervisor_node, who_is_pinned_has_the_node_of_its_cpus) {
    open_nodes(2, 4);
    life.node_free[0] = 4096 * LIFE_MIB;
    set_cpus(configure(0, 4, 100), 0x20);
    expect(0, 1, 0x20, NULL); // fewer CPUs than vCPUs are its own wish
    set_cpus(configure(1, 1, 2000), 0x60);
    expect(1, 1, 0x60, "node 1 has no 2000 MiB free: the rest of its memory comes from others");
    set_cpus(configure(2, 2, 100), 0x3c);
    expect(2, 0, 0x0c, NULL);
    set_cpus(configure(3, 3, 100), 0x3c);
    expect(3, 0, 0x3c, "100 MiB and 3 vCPUs do not fit in one node");
}

Test(supervisor_node, the_manifest_may_name_it) {
    open_nodes(2, 4);
    configure(0, 4, 100)->scheduling.node = 0;
    configure(1, 4, 100)->scheduling.node = 0;
    expect(0, 0, 0x0f, NULL);
    expect(1, 0, 0x0f, NULL);
    configure(2, 1, 2000)->scheduling.node = 1;
    expect(2, 1, 0xf0, "node 1 has no 2000 MiB free");
    configure(3, 5, 10)->scheduling.node = 0;
    expect(3, 0, 0xff, "10 MiB and 5 vCPUs do not fit in node 0: it is spread");
    set_cpus(configure(4, 1, 10), 0x80);
    configs[4].scheduling.node = 0;
    expect(4, 0, 0x80, "10 MiB and 1 vCPUs do not fit in node 0");
}

Test(supervisor_node, one_that_is_not_there_does_nothing) {
    open_nodes(2, 4);
    life.node_free[0]++;
    configure(0, 1, 100)->scheduling.node = 2;
    expect(0, 0, 0x0f, "this machine has no node 2, it has 2 from 0 on: \"node\" does nothing");
}

Test(supervisor_node, too_large_is_spread_from_where_most_is) {
    open_nodes(3, 2);
    life.node_free[1] += LIFE_MIB;
    configure(0, 1, 1500);
    expect(0, 1, 0x3f,
           "1500 MiB and 1 vCPUs do not fit in one node: it is spread, its memory comes "
           "from node 1 first");
    configure(1, 1, 800); // what node 1 lacks for the other comes from node 0
    expect(1, 2, 0x30, NULL);
    configure(2, 3, 100);
    expect(2, 0, 0x3f, "3 vCPUs do not fit");
}

// Who is let in hangs on all CPUs that a shared VM may use: it leaves its node for a dedicated one.
Test(supervisor_node, dedicated_vms_come_first) {
    open_nodes(2, 2);
    configure(0, 1, 100);
    configure(1, 1, 100);
    expect(0, 0, 0x3, NULL);
    expect(1, 1, 0xc, NULL);
    configure(2, 2, 100)->scheduling.schedule = VM_DEDICATED;
    take(2);
    cr_expect_eq(placements[2].node, 0);
    cr_expect_eq(placements[2].reserved.word[0], 0x3, "both of one node");
    struct cpuset cpus = placement_cpus(&placements[0]);
    cr_expect_eq(cpus.word[0], 0xc, "its own are taken");
    configure(3, 2, 100)->scheduling.schedule = VM_DEDICATED;
    cr_expect_not(placement_take(&placements[3], &configs[3], why), "shared VMs keep one");
    placement_release(&placements[2]);
    cpus = placement_cpus(&placements[0]);
    cr_expect_eq(cpus.word[0], 0x3, "it is back");
    configure(4, 3, 100)->scheduling.schedule = VM_DEDICATED;
    take(4);
    cr_expect(placements[4].is_spread);
    cr_expect_eq(placements[4].reserved.word[0], 0xe);
}

Test(supervisor_node, realtime_vcpus_stay_together) {
    open_nodes(2, 2);
    for (unsigned int i = 0; i < 3; i++) {
        configure(i, 2, 100)->scheduling.schedule = VM_REALTIME;
        configs[i].scheduling.budget = 5;
        configs[i].scheduling.period = 10;
    }
    take(0);
    take(1);
    cr_expect(placements[0].node == 0 && placements[0].reserved.word[0] == 0x3);
    cr_expect(placements[1].node == 1 && placements[1].reserved.word[0] == 0xc);
    cr_expect_not(placement_take(&placements[2], &configs[2], why));
}

// ---- distances and homes ------------------------------------------------------------------------

static void expect_home(uint32_t node, const uint32_t *order, uint32_t count) {
    struct abi_home home;
    node_home(node, &home);
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_eq(home.range[i].base, LIFE_NODE_BASE(order[i]), "%u from node %u", i, node);
        cr_expect_eq(home.range[i].size, 1024 * LIFE_MIB);
    }
    cr_expect_eq(home.range[count].base | home.range[count].size, 0);
}

Test(supervisor_node, memory_comes_by_distance) {
    static const uint8_t distance[4][4] = {
        {10, 31, 21, 0}, {31, 10, 21, 21}, {5, 5, 10, 5}, {10, 10, 10, 20}};
    make_table(4, 1);
    for (uint32_t i = 0; i < 4; i++) {
        memcpy(table.distance[i], distance[i], sizeof(distance[i]));
    }
    open_table();
    expect_home(0, (const uint32_t[]){0, 2, 1, 3}, 4); // what is not told is farthest
    expect_home(1, (const uint32_t[]){1, 2, 3, 0}, 4);
    expect_home(2, (const uint32_t[]){2, 0, 1, 3}, 4); // nothing is nearer than itself
    expect_home(3, (const uint32_t[]){3, 0, 1, 2}, 4);
}

Test(supervisor_node, without_distances_all_others_are_alike) {
    open_nodes(3, 1);
    expect_home(1, (const uint32_t[]){1, 0, 2}, 3);
}

Test(supervisor_node, high_memory_comes_first_and_no_home_is_too_long) {
    make_table(2, 1);
    table.range_count = NODES_RANGES_MAX;
    for (uint32_t i = 0; i < NODES_RANGES_MAX; i++) {
        table.range[i] = (struct nodes_range){.base = (i + 1) * LIFE_MIB, .size = LIFE_MIB};
        table.range[i].node = i % 2;
    }
    open_table();
    struct abi_home home;
    node_home(1, &home);
    for (uint32_t i = 0; i < ABI_HOME_MAX - 1; i++) {
        cr_expect_eq(home.range[i].base, (NODES_RANGES_MAX - 2 * i) * LIFE_MIB);
    }
    cr_expect_eq(home.range[ABI_HOME_MAX - 1].size, 0);
}

// ---- odd tables ---------------------------------------------------------------------------------

Test(supervisor_node, without_a_table_there_is_one_node) {
    make_table(2, 2);
    life_start.system = LIFE_SYSTEM;
    machine.start = &life_start;
    placement_open();
    cr_expect_eq(node_count(), 1);
    configure(0, 2, 100000);
    expect(0, 0, 0xf, NULL);
    configure(1, 2, 1)->scheduling.node = 0;
    expect(1, 0, 0xf, NULL);
    configure(2, 2, 1)->scheduling.node = 1;
    expect(2, 0, 0xf, "this machine has no node 1, it has 1 from 0 on: \"node\" does nothing");
}

// What cannot be: each in a process of its own, since the table stays mapped.
#define IS_REFUSED(name, ...)                                                                      \
    Test(supervisor_node, refuses_##name) {                                                        \
        make_table(2, 2);                                                                          \
        __VA_ARGS__;                                                                               \
        open_table();                                                                              \
        cr_expect_eq(node_count(), 1);                                                             \
    }

IS_REFUSED(no_nodes, table.count = 0)
IS_REFUSED(one_node, table.count = 1)
IS_REFUSED(nodes_beyond_the_most, table.count = NODES_MAX + 1)
IS_REFUSED(ranges_beyond_the_most, table.range_count = NODES_RANGES_MAX + 1)
IS_REFUSED(cpus_beyond_the_most, table.cpu_count = NODES_CPUS_MAX + 1)
IS_REFUSED(memory_of_an_unknown_node, table.range[1].node = 2)
IS_REFUSED(memory_of_no_node, table.range[1].node = NODES_NONE)
IS_REFUSED(bases_within_a_page, table.range[1].base++)
IS_REFUSED(sizes_within_a_page, table.range[1].size++)
IS_REFUSED(ranges_that_wrap, table.range[1].size = UINT64_MAX - ABI_PAGE + 1)
IS_REFUSED(cpus_of_an_unknown_node, table.cpu[3].node = 2)

Test(supervisor_node, refuses_another_size) {
    make_table(2, 2);
    life_nodes(&table);
    life_start.module[0].size -= ABI_PAGE;
    machine.start = &life_start;
    node_open();
    cr_expect_eq(node_count(), 1);
}

// CPUs of a node without memory are near the next one with some; no CPU lies idle for it.
Test(supervisor_node, cpus_without_memory_are_near_some) {
    make_table(3, 2);
    table.range_count = 2;
    table.range[1].node = 2;
    table.distance[1][0] = 30;
    table.distance[1][2] = 20;
    open_table();
    configure(0, 4, 100);
    expect(0, 2, 0x3c, NULL);
    configure(1, 1, 100)->scheduling.node = 1; // has nothing to give
    expect(1, 1, 0x3f, "1 vCPUs do not fit in node 1");
    cr_expect_eq(node_memory(1), 0);
    struct cpuset cpus = node_cpus(1);
    cr_expect_eq(cpus.word[0], 0x0c, "as the table has it");
}

Test(supervisor_node, memory_without_cpus_is_for_who_names_it) {
    make_table(3, 2);
    table.cpu[4].node = table.cpu[5].node = 0;
    life.node_free[2] *= 4;
    open_table();
    configure(0, 1, 100);
    expect(0, 0, 0x33, NULL);
    configure(1, 1, 100)->scheduling.node = 2;
    expect(1, 2, 0x3f, "1 vCPUs do not fit in node 2");
    configure(2, 1, 3000);
    expect(2, 2, 0x3f, "3000 MiB and 1 vCPUs do not fit in one node");
}

Test(supervisor_node, cpus_of_no_node_are_near_each) {
    make_table(2, 2);
    table.cpu[1].node = NODES_NONE;
    table.cpu[3].apic_id = 99; // the tables do not know it
    open_table();
    configure(0, 3, 100);
    configure(1, 3, 100);
    expect(0, 0, 0xb, NULL);
    expect(1, 1, 0xe, NULL);
}

Test(supervisor_node, without_any_memory_vms_start) {
    make_table(2, 2);
    table.range_count = 0;
    open_table();
    configure(0, 1, 100);
    expect(0, 0, 0xf, "do not fit in one node");
}

// ---- a life -------------------------------------------------------------------------------------

static uint64_t homes[3];
static uint64_t cpus[3];
static unsigned int starts;

static void see(void) {
    for (; starts < life.vmm_count; starts++) {
        const struct life_vmm *vmm = &life.vmm[starts];
        homes[starts] = life.object[vmm->start.quota].home.range[0].base;
        cpus[starts] = vmm->group.cpus[0];
    }
}

static bool lives(unsigned int step) {
    see();
    if (step == 0) {
        life_type("info\rvm top\r");
    } else if (step == 4) {
        life_report(0, VMM_MESSAGE_ENDED, VMM_END_RESET, 0, "");
    } else if (step > 8) {
        return false;
    }
    life.bits |= 1;
    return true;
}

static void add_restart(void *tree) {
    fdt_property_string(tree, "restart", "always");
}
static void add_node(void *tree) {
    fdt_property_u32(tree, "node", 0);
}

// The second of them has to have node 0, so the first one, which has not, leaves it to that.
Test(supervisor_node, a_restart_has_its_node_again) {
    static const struct life_config vms[] = {{"one", 8, false, 2, add_restart},
                                             {"two", 10, false, 2, add_node},
                                             {NULL, 0, false, 0, NULL}};
    make_table(2, 2);
    life.node_free[0] = 11 * LIFE_MIB;
    life.node_free[1] = 9 * LIFE_MIB;
    life_prepare(vms, "", "stay", lives);
    for (uint32_t i = 0; i < life.cpu_count; i++) {
        life.cpu[i].apic_id = 2 * i;
    }
    life_nodes(&table);
    (void)life_run();
    cr_assert_eq(life.vmm_count, 3, "%s", life.console);
    cr_expect(homes[0] == LIFE_NODE_BASE(1) && homes[1] == LIFE_NODE_BASE(0));
    cr_expect(homes[2] == LIFE_NODE_BASE(1), "what it had it has again");
    cr_expect(cpus[0] == 0xc && cpus[1] == 0x3 && cpus[2] == 0xc);
    life_expect_no_line("[bulkhead] vm one: 8 MiB");
}
