// SPDX-License-Identifier: Apache-2.0
// Launching. At boot the CPUs of all VMs are chosen before the first one starts, since a good
// choice needs to know them all.
#include "supervisor/launch.h"

#include "lib/fmt.h"
#include "lib/string.h"
#include "supervisor/cache.h"
#include "supervisor/console.h"
#include "supervisor/machine.h"

static const struct manifest *manifest;

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

void launch_open(const struct manifest *from) {
    static bool placed[MANIFEST_VMS_MAX];
    char why[PARTITION_WHY_MAX];
    struct vm *vm;
    manifest = from;
    placement_open();
    while ((vm = next_to_place(placed)) != NULL) {
        placed[vm->index] = true;
        (void)placement_take(&vm->placement, vm->config, why); // the start tries again, and tells
    }
}

// ---- one VM -------------------------------------------------------------------------------------

// Rounding to ticks must not make the share larger than what was admitted: the kernel counts again.
static uint64_t budget_ticks(const struct vm *vm, uint64_t period) {
    uint64_t budget = machine_ticks(vm->config->scheduling.budget);
    uint64_t admitted =
        period / 1000 * vm->placement.permil + period % 1000 * vm->placement.permil / 1000;
    return budget < admitted ? budget : admitted;
}

static struct abi_group describe_group(const struct vm *vm, uint32_t ways) {
    const struct vm_scheduling *scheduling = &vm->config->scheduling;
    struct abi_group group = {
        .weight = vm->weight,
        .cap = vm->cap,
        .period = machine_ticks(scheduling->period),
        .domain = scheduling->domain,
        .cache_mask = ways,
    };
    group.budget = budget_ticks(vm, group.period);
    memcpy(group.cpus, vm->placement.cpus.word, sizeof(group.cpus));
    memcpy(group.reserved, vm->placement.reserved.word, sizeof(group.reserved));
    return group;
}

static bool plan_cache(const struct vm *vm, uint32_t *ways, char why[PARTITION_WHY_MAX]) {
    uint32_t all = cache_ways();
    uint32_t wanted = vm->config->scheduling.cache;
    if (wanted != 0 && all == 0) {
        console_say("vm %s: this machine cannot partition its last-level cache: \"cache\" does "
                    "nothing",
                    vm->config->name);
    }
    if (cache_mask(manifest, vm->index, all, ways)) {
        return true;
    }
    fmt_format(why, PARTITION_WHY_MAX,
               "\"cache\" wants %u of the last-level cache's %u ways, of which other VMs have some "
               "and one stays for the rest; lower it here or there",
               wanted, all);
    return false;
}

bool launch_carve(struct vm *vm, char why[PARTITION_WHY_MAX]) {
    uint32_t ways = 0;
    if (vm->config->refusal != NULL) {
        fmt_format(why, PARTITION_WHY_MAX, "%s", vm->config->refusal);
        return false;
    }
    if (!plan_cache(vm, &ways, why) || !placement_take(&vm->placement, vm->config, why)) {
        return false;
    }
    struct partition_plan plan = {
        .config = vm->config,
        .index = vm->index,
        .placement = &vm->placement,
        .group = describe_group(vm, ways),
    };
    if (!partition_carve(&vm->partition, &plan, why)) {
        placement_release(&vm->placement);
        return false;
    }
    return true;
}
