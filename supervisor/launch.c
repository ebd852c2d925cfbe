// SPDX-License-Identifier: Apache-2.0
// Launching. At boot the CPUs of all VMs are chosen before the first one starts, since a good
// choice needs to know them all.
#include "supervisor/launch.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "lib/syscall.h"
#include "supervisor/cache.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"

// Of the supervisor's own group. It serves all VMs: it must not have to queue up with each of them.
#define OWN_WEIGHT (20 * ABI_WEIGHT_DEFAULT)

static const struct manifest *manifest;
static struct cpuset shared_cpus; // where shared threads run now, ours and those of all VMs

// ---- CPUs ---------------------------------------------------------------------------------------

// The next one whose CPUs are to be chosen: those that are content with any come first, as the
// others must leave them some; then whole CPUs; then the largest shares of CPUs. NULL: all have
// theirs.
static struct vm *next_to_place(const bool placed[MANIFEST_VMS_MAX]) {
    struct vm *next = NULL;
    for (uint32_t i = 0; i < vm_count(); i++) {
        const struct vm_scheduling *s = &vm_at(i)->config->scheduling;
        if (placed[i] || !vm_at(i)->config->is_autostart || vm_at(i)->config->refusal != NULL) {
            continue;
        }
        const struct vm_scheduling *best = next != NULL ? &next->config->scheduling : NULL;
        if (best == NULL || s->schedule < best->schedule ||
            (s->schedule == VM_REALTIME && best->schedule == VM_REALTIME &&
             s->budget / 1000 * (best->period / 1000) > best->budget / 1000 * (s->period / 1000))) {
            next = vm_at(i);
        }
    }
    return next;
}

static struct cpuset get_cpus(const struct vm *vm) {
    return cpuset_and(vm->placement.cpus, shared_cpus);
}

// All shared threads keep off the CPUs that are dedicated by now, and come back to the others.
static void keep_off(void) {
    struct abi_group own = {.weight = OWN_WEIGHT};
    struct cpuset shared = placement_shared();
    if (memcmp(&shared, &shared_cpus, sizeof(shared)) == 0) {
        return;
    }
    shared_cpus = shared;
    memcpy(own.cpus, shared.word, sizeof(own.cpus));
    (void)sys_group_write(machine.start->group, &own);
    for (uint32_t i = 0; i < vm_count(); i++) {
        partition_set_cpus(&vm_at(i)->partition, get_cpus(vm_at(i)));
    }
}

void launch_open(const struct manifest *from) {
    static bool placed[MANIFEST_VMS_MAX];
    char why[PARTITION_WHY_MAX];
    struct vm *vm;
    manifest = from;
    placement_open();
    shared_cpus = (struct cpuset){0};
    while ((vm = next_to_place(placed)) != NULL) {
        placed[vm->index] = true;
        (void)placement_take(&vm->placement, vm->config, why); // the start tries again, and tells
    }
    keep_off();
}

// ---- one VM -------------------------------------------------------------------------------------

// Rounding to ticks must not make the share larger than what was admitted.
static uint64_t budget_ticks(const struct vm *vm, uint64_t period) {
    uint64_t budget = machine_ticks(vm->config->scheduling.budget);
    uint64_t admitted =
        period / 1000 * vm->placement.permil + period % 1000 * vm->placement.permil / 1000;
    return budget < admitted ? budget : admitted;
}

static struct abi_group describe_group(const struct vm *vm, struct cache_part part) {
    const struct vm_scheduling *scheduling = &vm->config->scheduling;
    struct abi_group group = {
        .weight = vm->weight,
        .cap = vm->cap,
        .period = machine_ticks(scheduling->period),
        .domain = scheduling->domain,
        .cache_mask = part.mask,
        .cache_class = part.class,
    };
    struct cpuset cpus = get_cpus(vm);
    group.budget = budget_ticks(vm, group.period);
    memcpy(group.cpus, cpus.word, sizeof(group.cpus));
    memcpy(group.reserved, vm->placement.reserved.word, sizeof(group.reserved));
    return group;
}

static bool plan_cache(const struct vm *vm, struct cache_part *part, char why[PARTITION_WHY_MAX]) {
    struct cache cache = cache_read();
    uint32_t wanted = vm->config->scheduling.cache;
    if (wanted != 0 && cache.ways == 0) {
        console_say("vm %s: this machine cannot partition its last-level cache: \"cache\" does "
                    "nothing",
                    vm->config->name);
    }
    if (cache_divide(manifest, vm->index, cache, part)) {
        return true;
    }
    fmt_format(
        why, PARTITION_WHY_MAX,
        "\"cache\" wants %u of the last-level cache's %u ways in %u parts, of which other VMs "
        "have some and one of each stays for the rest; lower it here or there",
        wanted, cache.ways, cache.classes - 1);
    return false;
}

bool launch_carve(struct vm *vm, char why[PARTITION_WHY_MAX]) {
    struct cache_part part;
    if (vm->config->refusal != NULL) {
        fmt_format(why, PARTITION_WHY_MAX, "%s", vm->config->refusal);
        return false;
    }
    if (!plan_cache(vm, &part, why) || !placement_take(&vm->placement, vm->config, why)) {
        return false;
    }
    keep_off();
    struct partition_plan plan = {
        .config = vm->config,
        .index = vm->index,
        .placement = &vm->placement,
        .group = describe_group(vm, part),
    };
    if (!partition_carve(&vm->partition, &plan, why)) {
        launch_release(vm);
        return false;
    }
    return true;
}

void launch_release(struct vm *vm) {
    placement_release(&vm->placement);
    keep_off();
}
