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

#define FREE_CPUS_TOLD 4u

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

// ---- all ----------------------------------------------------------------------------------------

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

static bool take(struct placement *placement, char why[PLACEMENT_WHY_MAX]) {
    struct cpuset allowed = config_cpus(placement->config);
    if (cpuset_count(&allowed) == 0) {
        fmt_format(why, PLACEMENT_WHY_MAX,
                   "\"cpus\" names none of this machine's %u; they count from 0", host.cpu_count);
        return false;
    }
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

bool placement_take(struct placement *placement, const struct vm_config *config,
                    char why[PLACEMENT_WHY_MAX]) {
    if (placement->is_taken) {
        return true;
    }
    // The VMM's own thread of a VM with reserved CPUs runs where there is room.
    *placement = (struct placement){.config = config, .cpus = host.all};
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
