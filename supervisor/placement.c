// SPDX-License-Identifier: Apache-2.0
// Placement. Dedicated vCPUs take free cores from the highest CPU down, since devices and the boot
// processor's work keep the low ones busy: first a core for each vCPU, and hardware threads of one
// core only where that does not do. Real-time vCPUs take the first CPU that has the time (first
// fit; main.c takes the largest shares first at boot, which makes it first fit decreasing).
#include "supervisor/placement.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/machine.h"
#include "supervisor/node.h"

#define FREE_CPUS_TOLD 4u
#define MIB            (1ULL << 20)

static struct {
    uint32_t cpu_count;
    struct cpuset all;
    uint32_t core[ABI_CPUS_MAX];
    struct placement *taken;
} host;

void placement_open(void) {
    struct abi_system_info info;
    machine_info(&info);
    host.cpu_count = info.cpu_count < ABI_CPUS_MAX ? info.cpu_count : ABI_CPUS_MAX;
    host.all = cpuset_first(host.cpu_count);
    host.taken = NULL;
    node_open();
    for (uint32_t cpu = 0; cpu < host.cpu_count; cpu++) {
        struct abi_cpu_info about = {0};
        bool is_known = sys_system_cpu(machine.start->system, cpu, &about) >= 0;
        host.core[cpu] = is_known ? about.core : cpu;
    }
}

static struct cpuset core_of(uint32_t cpu) {
    struct cpuset set = {0};
    for (uint32_t other = 0; other < host.cpu_count; other++) {
        if (host.core[other] == host.core[cpu]) {
            cpuset_add(&set, other);
        }
    }
    return set;
}

static bool overlaps(struct cpuset a, struct cpuset b) {
    struct cpuset both = cpuset_and(a, b);
    return cpuset_count(&both) != 0;
}

// CPUs that are dedicated to a VM that was taken.
static struct cpuset dedicated_cpus(void) {
    struct cpuset set = {0};
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        if (p->config->scheduling.schedule == VM_DEDICATED) {
            set = cpuset_or(set, p->reserved);
        }
    }
    return set;
}

static struct cpuset config_cpus(const struct vm_config *config) {
    struct cpuset set;
    _Static_assert(sizeof(set.word) == sizeof(config->scheduling.cpus), "one form");
    memcpy(set.word, config->scheduling.cpus, sizeof(set.word));
    return cpuset_and(set, host.all);
}

// ---- dedicated ----------------------------------------------------------------------------------

static bool has_reservation(struct cpuset cpus) {
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        if (overlaps(p->reserved, cpus)) {
            return true;
        }
    }
    return false;
}

// Would every shared thread still have a CPU if these were dedicated as well?
static bool leaves_enough(struct cpuset dedicated) {
    struct cpuset shared = cpuset_without(cpuset_without(host.all, dedicated_cpus()), dedicated);
    bool leaves = cpuset_count(&shared) != 0;
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        leaves = leaves && overlaps(p->cpus, shared);
    }
    return leaves;
}

// Adds CPUs for vCPUs from number `count` on; with `spreads`, none of a core that has one already.
// Returns for how many vCPUs there are CPUs now.
static uint32_t fill_dedicated(struct placement *placement, struct cpuset allowed,
                               struct cpuset *used, uint32_t count, bool spreads) {
    for (uint32_t cpu = host.cpu_count; cpu-- > 0 && count < placement->config->vcpus;) {
        struct cpuset core = core_of(cpu);
        if (cpuset_has(&allowed, cpu) && !cpuset_has(used, cpu) && !has_reservation(core) &&
            !(spreads && overlaps(core, *used)) &&
            leaves_enough(cpuset_or(placement->reserved, core))) {
            placement->cpu[count++] = (uint16_t)cpu;
            cpuset_add(used, cpu);
            placement->reserved = cpuset_or(placement->reserved, core);
        }
    }
    return count;
}

static bool take_dedicated(struct placement *placement, struct cpuset allowed,
                           char why[PLACEMENT_WHY_MAX]) {
    struct cpuset used = {0};
    uint32_t count = fill_dedicated(placement, allowed, &used, 0, true);
    count = fill_dedicated(placement, allowed, &used, count, false);
    if (count == placement->config->vcpus) {
        return true;
    }
    placement->reserved = (struct cpuset){0};
    struct cpuset free = {0};
    char text[CPUSET_TEXT_SIZE];
    for (uint32_t cpu = 0; cpu < host.cpu_count; cpu++) {
        if (cpuset_has(&allowed, cpu) && !has_reservation(core_of(cpu))) {
            cpuset_add(&free, cpu);
        }
    }
    cpuset_text(&free, text);
    fmt_format(why, PLACEMENT_WHY_MAX,
               "its %u vCPUs want whole cores for themselves; free of reservations: CPUs %s of %u, "
               "and every shared VM must keep one; lower \"vcpus\", or change \"cpus\" or "
               "\"schedule\"",
               placement->config->vcpus, text, host.cpu_count);
    return false;
}

// ---- real-time ----------------------------------------------------------------------------------

static bool is_trusted(const struct placement *a, const struct placement *b) {
    uint32_t domain = a->config->scheduling.domain;
    return a == b || (domain != 0 && domain == b->config->scheduling.domain);
}

// Permil of `cpu` that are reserved already, as `placement` has to see it: what VMs that it does
// not trust have on the other hardware threads of the core counts as well, since the core runs only
// one of both at a time.
static uint32_t reserved_permil(const struct placement *placement, uint32_t cpu) {
    struct cpuset core = core_of(cpu);
    uint32_t own = 0;
    uint32_t whole = 0;
    bool has_stranger = false;
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        struct cpuset here = cpuset_and(p->reserved, core);
        whole += cpuset_count(&here) * p->permil;
        own += cpuset_has(&p->reserved, cpu) ? p->permil : 0;
        has_stranger = has_stranger || (cpuset_count(&here) != 0 && !is_trusted(placement, p));
    }
    struct cpuset mine = cpuset_and(placement->reserved, core);
    whole += cpuset_count(&mine) * placement->permil;
    return has_stranger ? whole : own;
}

static uint32_t free_permil(const struct placement *placement, uint32_t cpu) {
    struct cpuset dedicated = dedicated_cpus();
    uint32_t reserved = reserved_permil(placement, cpu);
    bool is_full = cpuset_has(&dedicated, cpu) || reserved > MANIFEST_SHARE_MAX;
    return is_full ? 0 : MANIFEST_SHARE_MAX - reserved;
}

static void tell_realtime(const struct placement *placement, struct cpuset allowed,
                          char why[PLACEMENT_WHY_MAX]) {
    uint32_t told = 0;
    size_t length = fmt_format(why, PLACEMENT_WHY_MAX,
                               "each of its %u vCPUs wants %u %% of a CPU that is its own; free:",
                               placement->config->vcpus, (placement->permil + 9) / 10);
    for (uint32_t cpu = 0; cpu < host.cpu_count && told <= FREE_CPUS_TOLD; cpu++) {
        if (!cpuset_has(&allowed, cpu)) {
            continue;
        }
        const char *format = told < FREE_CPUS_TOLD ? " CPU %u %u %%," : " and so on,";
        length += fmt_format(why + length, PLACEMENT_WHY_MAX - length, format, cpu,
                             free_permil(placement, cpu) / 10);
        told++;
    }
    fmt_format(why + length - 1, PLACEMENT_WHY_MAX - length + 1,
               "; lower \"budget\" or \"vcpus\", lengthen \"period\", or change \"cpus\"");
}

static bool take_realtime(struct placement *placement, struct cpuset allowed,
                          char why[PLACEMENT_WHY_MAX]) {
    const struct vm_scheduling *s = &placement->config->scheduling;
    uint32_t count = 0;
    placement->permil = (uint32_t)((s->budget * 1000 + s->period - 1) / s->period);
    for (uint32_t cpu = 0; cpu < host.cpu_count && count < placement->config->vcpus; cpu++) {
        if (cpuset_has(&allowed, cpu) && free_permil(placement, cpu) >= placement->permil) {
            placement->cpu[count++] = (uint16_t)cpu;
            cpuset_add(&placement->reserved, cpu);
        }
    }
    if (count == placement->config->vcpus) {
        return true;
    }
    placement->reserved = (struct cpuset){0};
    tell_realtime(placement, allowed, why);
    return false;
}

// ---- of any class -------------------------------------------------------------------------------

static bool take_shared(struct placement *placement, struct cpuset allowed,
                        char why[PLACEMENT_WHY_MAX]) {
    char text[CPUSET_TEXT_SIZE];
    placement->cpus = allowed;
    if (overlaps(allowed, cpuset_without(host.all, dedicated_cpus()))) {
        return true;
    }
    cpuset_text(&allowed, text);
    fmt_format(why, PLACEMENT_WHY_MAX,
               "CPUs %s are dedicated to other VMs; name others in \"cpus\"", text);
    return false;
}

static bool take_of(struct placement *placement, struct cpuset allowed,
                    char why[PLACEMENT_WHY_MAX]) {
    switch (placement->config->scheduling.schedule) {
    case VM_DEDICATED:
        return take_dedicated(placement, allowed, why);
    case VM_REALTIME:
        return take_realtime(placement, allowed, why);
    case VM_SHARED:
        break;
    }
    return take_shared(placement, allowed, why);
}

// ---- nodes --------------------------------------------------------------------------------------

// Bytes that each node has left once all who were taken have theirs: what is there at home, and the
// rest from the next nodes.
static void read_free(uint64_t free[NODES_MAX]) {
    for (uint32_t node = 0; node < node_count(); node++) {
        free[node] = node_free(node);
    }
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        uint64_t rest = p->awaited;
        for (uint32_t rank = 0; rank < node_count(); rank++) {
            uint64_t *there = &free[node_by_distance(p->node, rank)];
            uint64_t part = rest < *there ? rest : *there;
            *there -= part;
            rest -= part;
        }
    }
}

// The node that it has to have if that can be: by its key, or by its CPUs. NODES_NONE: any.
static uint32_t named_node(const struct placement *placement, struct cpuset allowed) {
    if (placement->config->scheduling.node < node_count()) {
        return placement->config->scheduling.node;
    }
    for (uint32_t node = 0; node < node_count(); node++) {
        struct cpuset others = cpuset_without(allowed, node_near(node));
        if (cpuset_count(&others) == 0) {
            return node;
        }
    }
    return NODES_NONE;
}

static uint32_t shared_count(uint32_t node) {
    struct cpuset cpus = cpuset_without(node_near(node), dedicated_cpus());
    return cpuset_count(&cpus);
}

static uint32_t vcpus_on(uint32_t node) {
    uint32_t count = 0;
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        bool is_here = p->node == node && !p->is_spread;
        bool shares = p->config->scheduling.schedule != VM_DEDICATED;
        count += is_here && shares ? p->config->vcpus : 0;
    }
    return count;
}

// Has `a` fewer vCPUs for each of its CPUs, or else more memory left?
static bool is_idler(uint32_t a, uint32_t b, const uint64_t free[NODES_MAX]) {
    uint64_t load_a = (uint64_t)vcpus_on(a) * shared_count(b);
    uint64_t load_b = (uint64_t)vcpus_on(b) * shared_count(a);
    return load_a != load_b ? load_a < load_b : free[a] > free[b];
}

// The next one to try. NODES_NONE: it fits in no other.
static uint32_t next_node(const struct placement *placement, const uint64_t free[NODES_MAX],
                          const bool tried[NODES_MAX]) {
    uint32_t best = NODES_NONE;
    for (uint32_t node = 0; node < node_count(); node++) {
        bool fits = !tried[node] && free[node] >= placement->config->memory;
        if (fits && (best == NODES_NONE || is_idler(node, best, free))) {
            best = node;
        }
    }
    return best;
}

// Does it get its CPUs there? The other CPUs that it may use stay its own: what is admitted hangs
// on them.
static bool take_near(struct placement *placement, uint32_t node, struct cpuset allowed,
                      char why[PLACEMENT_WHY_MAX]) {
    struct cpuset near = cpuset_and(allowed, node_near(node));
    struct cpuset others = cpuset_without(allowed, near);
    struct cpuset shared = cpuset_without(near, dedicated_cpus());
    bool is_shared = placement->config->scheduling.schedule == VM_SHARED;
    bool is_enough =
        cpuset_count(&others) == 0 || cpuset_count(&shared) >= placement->config->vcpus;
    if ((is_shared && !is_enough) || !take_of(placement, is_shared ? allowed : near, why)) {
        return false;
    }
    placement->node = node;
    placement->near = near;
    return true;
}

static bool take_on_nodes(struct placement *placement, struct cpuset allowed,
                          char why[PLACEMENT_WHY_MAX]) {
    static uint64_t free[NODES_MAX]; // too large for the stack
    bool tried[NODES_MAX] = {false};
    read_free(free);
    uint32_t most = 0;
    for (uint32_t node = 1; node < node_count(); node++) {
        most = free[node] > free[most] ? node : most;
    }
    uint32_t named = named_node(placement, allowed);
    uint32_t node = named != NODES_NONE ? named : next_node(placement, free, tried);
    placement->node = named != NODES_NONE ? named : most;
    placement->is_short = free[placement->node] < placement->config->memory;
    while (node != NODES_NONE) {
        if (take_near(placement, node, allowed, why)) {
            placement->is_short = free[node] < placement->config->memory;
            return true;
        }
        tried[node] = true;
        node = named != NODES_NONE ? NODES_NONE : next_node(placement, free, tried);
    }
    placement->is_spread = true;
    return take_of(placement, allowed, why);
}

bool placement_remark(const struct placement *placement, char text[PLACEMENT_WHY_MAX]) {
    const struct vm_config *config = placement->config;
    unsigned long long memory = config->memory / MIB;
    uint32_t wanted = config->scheduling.node;
    if (wanted != UINT32_MAX && wanted >= node_count()) {
        fmt_format(text, PLACEMENT_WHY_MAX,
                   "this machine has no node %u, it has %u from 0 on: \"node\" does nothing",
                   wanted, node_count());
    } else if (placement->is_spread) {
        size_t length = fmt_format(text, PLACEMENT_WHY_MAX, "%llu MiB and %u vCPUs do not fit in ",
                                   memory, config->vcpus);
        length += fmt_format(text + length, PLACEMENT_WHY_MAX - length,
                             wanted < node_count() ? "node %u" : "one node", wanted);
        fmt_format(text + length, PLACEMENT_WHY_MAX - length,
                   ": it is spread, its memory comes from node %u first", placement->node);
    } else if (placement->is_short) {
        fmt_format(text, PLACEMENT_WHY_MAX,
                   "node %u has no %llu MiB free: the rest of its memory comes from others",
                   placement->node, memory);
    } else {
        return false;
    }
    return true;
}

struct cpuset placement_cpus(const struct placement *placement) {
    struct cpuset shared = placement_shared();
    struct cpuset near = cpuset_and(placement->near, shared);
    bool is_shared = placement->config->scheduling.schedule == VM_SHARED;
    bool is_enough = cpuset_count(&near) >= (is_shared ? placement->config->vcpus : 1);
    return is_enough ? near : cpuset_and(placement->cpus, shared);
}

// ---- the whole ----------------------------------------------------------------------------------

static bool take(struct placement *placement, char why[PLACEMENT_WHY_MAX]) {
    struct cpuset allowed = config_cpus(placement->config);
    if (cpuset_count(&allowed) == 0) {
        fmt_format(why, PLACEMENT_WHY_MAX,
                   "\"cpus\" names none of this machine's %u; they count from 0", host.cpu_count);
        return false;
    }
    bool has_nodes = node_count() > 1;
    return has_nodes ? take_on_nodes(placement, allowed, why) : take_of(placement, allowed, why);
}

bool placement_take(struct placement *placement, const struct vm_config *config,
                    char why[PLACEMENT_WHY_MAX]) {
    if (placement->is_taken) {
        return true;
    }
    // The VMM's own thread of a VM with reserved CPUs runs where there is room.
    *placement = (struct placement){.config = config, .cpus = host.all, .awaited = config->memory};
    if (!take(placement, why)) {
        return false;
    }
    placement->is_taken = true;
    placement->next = host.taken;
    host.taken = placement;
    return true;
}

void placement_release(struct placement *placement) {
    struct placement **link = &host.taken;
    while (*link != NULL && *link != placement) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        *link = placement->next;
    }
    placement->is_taken = false;
}

struct cpuset placement_shared(void) {
    return cpuset_without(host.all, dedicated_cpus());
}

uint32_t placement_reserved_permil(uint32_t cpu) {
    struct cpuset shared = placement_shared();
    uint32_t permil = 0;
    for (const struct placement *p = host.taken; p != NULL; p = p->next) {
        permil += cpuset_has(&p->reserved, cpu) ? p->permil : 0;
    }
    return cpuset_has(&shared, cpu) ? permil : 1000;
}

uint32_t placement_cpu(const struct placement *placement, uint32_t index) {
    bool is_pinned = placement->config->scheduling.schedule != VM_SHARED;
    return is_pinned ? placement->cpu[index] : ABI_CPU_ANY;
}
