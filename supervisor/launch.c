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

// Is it to be placed before the other? Those that are content with any CPU come first, as the
// others must leave them some; then whole CPUs; then the largest shares of CPUs. Among those who
// has to have one node, whatever else there is.
static bool goes_before(const struct vm_scheduling *a, const struct vm_scheduling *b) {
    if (a->schedule != b->schedule) {
        return a->schedule < b->schedule;
    }
    if ((a->node == UINT32_MAX) != (b->node == UINT32_MAX)) {
        return a->node != UINT32_MAX;
    }
    return a->schedule == VM_REALTIME &&
           a->budget / 1000 * (b->period / 1000) > b->budget / 1000 * (a->period / 1000);
}

// The next one whose CPUs are to be chosen. NULL: all have theirs.
static struct vm *next_to_place(const bool placed[MANIFEST_VMS_MAX]) {
    struct vm *next = NULL;
    for (uint32_t i = 0; i < vm_count(); i++) {
        const struct vm_scheduling *s = &vm_at(i)->config->scheduling;
        if (placed[i] || !vm_at(i)->config->is_autostart || vm_at(i)->config->refusal != NULL) {
            continue;
        }
        if (next == NULL || goes_before(s, &next->config->scheduling)) {
            next = vm_at(i);
        }
    }
    return next;
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
        struct vm *vm = vm_at(i);
        if (vm->placement.is_taken) {
            partition_set_cpus(&vm->partition, placement_cpus(&vm->placement));
        }
    }
}

// Reserves, as placement_take does. What each VM has still to take of its memory is told first.
static bool place(struct vm *vm, char why[PARTITION_WHY_MAX]) {
    for (uint32_t i = 0; i < vm_count(); i++) {
        struct vm *other = vm_at(i);
        uint64_t memory = other->config->memory;
        uint64_t taken = partition_left(&other->partition);
        other->placement.awaited = taken < memory ? memory - taken : 0;
    }
    return placement_take(&vm->placement, vm->config, why);
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
        (void)place(vm, why); // the start tries again, and tells
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
    struct cpuset cpus = placement_cpus(&vm->placement);
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
    if (!plan_cache(vm, &part, why) || !place(vm, why)) {
        return false;
    }
    keep_off();
    struct partition_plan plan = {
        .config = vm->config,
        .index = vm->index,
        .placement = &vm->placement,
        .group = describe_group(vm, part),
    };
    char remark[PLACEMENT_WHY_MAX];
    if (!partition_carve(&vm->partition, &plan, why)) {
        launch_release(vm);
        return false;
    }
    if (placement_remark(&vm->placement, remark)) {
        console_say("vm %s: %s", vm->config->name, remark);
    }
    return true;
}

void launch_release(struct vm *vm) {
    placement_release(&vm->placement);
    keep_off();
}
