// SPDX-License-Identifier: Apache-2.0
// The table is checked once, whole, and stays mapped where it is.
#include "supervisor/node.h"

#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/machine.h"
#include "supervisor/process.h"

#define PAGE_MASK ((uint64_t)ABI_PAGE - 1)

static struct {
    const struct nodes *table; // NULL: one node
    struct cpuset cpus[NODES_MAX], near[NODES_MAX];
    uint8_t order[NODES_MAX][NODES_MAX]; // of each, all by distance
} host;

static bool is_good(const struct nodes *table) {
    bool is_good = table->count >= 2 && table->count <= NODES_MAX &&
                   table->range_count <= NODES_RANGES_MAX && table->cpu_count <= NODES_CPUS_MAX;
    for (uint32_t i = 0; is_good && i < table->range_count; i++) {
        const struct nodes_range *range = &table->range[i];
        is_good = range->node < table->count && range->size <= UINT64_MAX - range->base &&
                  ((range->base | range->size) & PAGE_MASK) == 0;
    }
    for (uint32_t i = 0; is_good && i < table->cpu_count; i++) {
        is_good = table->cpu[i].node < table->count || table->cpu[i].node == NODES_NONE;
    }
    return is_good;
}

static const struct nodes *map_table(void) {
    const struct abi_start_module *module = machine_module(NODES_MODULE);
    if (module == NULL || module->size != sizeof(struct nodes)) {
        return NULL;
    }
    return process_map_own(module->memory, PROCESS_OWN_NODES, module->size, ABI_RIGHT_READ);
}

// ---- distances ----------------------------------------------------------------------------------

// What is not told is as far as can be.
static uint32_t distance(uint32_t from, uint32_t to) {
    uint8_t told = host.table->distance[from][to];
    return from == to ? 0 : told != 0 ? told : UINT8_MAX;
}

static void sort_by_distance(uint32_t from) {
    uint8_t *order = host.order[from];
    for (uint32_t node = 0; node < host.table->count; node++) {
        uint32_t at = node;
        for (; at > 0 && distance(from, order[at - 1]) > distance(from, node); at--) {
            order[at] = order[at - 1];
        }
        order[at] = (uint8_t)node;
    }
}

uint32_t node_by_distance(uint32_t node, uint32_t rank) {
    return host.order[node][rank];
}

// ---- CPUs ---------------------------------------------------------------------------------------

static uint32_t node_of_apic(uint32_t apic_id) {
    for (uint32_t i = 0; i < host.table->cpu_count; i++) {
        if (host.table->cpu[i].apic_id == apic_id) {
            return host.table->cpu[i].node;
        }
    }
    return NODES_NONE;
}

// The first node from there on that has memory; itself, where none has.
static uint32_t nearest_memory(uint32_t node) {
    for (uint32_t rank = 0; rank < host.table->count; rank++) {
        if (node_memory(node_by_distance(node, rank)) != 0) {
            return node_by_distance(node, rank);
        }
    }
    return node;
}

static void add_cpu(uint32_t cpu, uint32_t node) {
    if (node != NODES_NONE) {
        cpuset_add(&host.cpus[node], cpu);
        cpuset_add(&host.near[nearest_memory(node)], cpu);
        return;
    }
    for (uint32_t each = 0; each < host.table->count; each++) {
        cpuset_add(&host.near[each], cpu);
    }
}

static void place_cpus(void) {
    struct abi_system_info info;
    machine_info(&info);
    for (uint32_t cpu = 0; cpu < info.cpu_count && cpu < ABI_CPUS_MAX; cpu++) {
        struct abi_cpu_info about = {0};
        bool is_known = sys_system_cpu(machine.start->system, cpu, &about) >= 0;
        add_cpu(cpu, is_known ? node_of_apic(about.apic_id) : NODES_NONE);
    }
}

struct cpuset node_cpus(uint32_t node) {
    return host.cpus[node];
}

struct cpuset node_near(uint32_t node) {
    return host.near[node];
}

// ---- memory -------------------------------------------------------------------------------------

uint64_t node_memory(uint32_t node) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < host.table->range_count; i++) {
        bytes += host.table->range[i].node == node ? host.table->range[i].memory : 0;
    }
    return bytes;
}

uint64_t node_free(uint32_t node) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < host.table->range_count; i++) {
        const struct nodes_range *range = &host.table->range[i];
        int64_t free = 0;
        if (range->node == node) {
            free = sys_memory_free(machine.start->system, range->base, range->size);
        }
        bytes += free > 0 ? (uint64_t)free : 0;
    }
    return bytes;
}

void node_home(uint32_t node, struct abi_home *home) {
    uint32_t count = 0;
    *home = (struct abi_home){0};
    for (uint32_t rank = 0; rank < host.table->count; rank++) {
        for (uint32_t i = host.table->range_count; i-- > 0 && count < ABI_HOME_MAX - 1;) {
            const struct nodes_range *range = &host.table->range[i];
            if (range->node == node_by_distance(node, rank)) {
                home->range[count++] = (struct abi_range){range->base, range->size};
            }
        }
    }
}

// ---- all ----------------------------------------------------------------------------------------

void node_open(void) {
    const struct nodes *table = map_table();
    memset(&host, 0, sizeof(host));
    if (table == NULL || !is_good(table)) {
        return;
    }
    host.table = table;
    for (uint32_t node = 0; node < table->count; node++) {
        sort_by_distance(node);
    }
    place_cpus();
}

uint32_t node_count(void) {
    return host.table != NULL ? host.table->count : 1;
}
