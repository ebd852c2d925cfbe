// SPDX-License-Identifier: Apache-2.0
// See kernel/group.h.
#include "kernel/group.h"

#include "arch/cache.h"
#include "arch/cpu.h"
#include "arch/tsc.h"
#include "kernel/quota.h"
#include "kernel/scheduler.h"
#include "kernel/syscall.h"
#include "lib/index.h"
#include "lib/string.h"

_Static_assert(sizeof(struct group) <= PAGE_SIZE, "one page");
_Static_assert(sizeof(struct group_share) * GROUP_SHARES == PAGE_SIZE, "one page");

#define OWED_PART 20u // of a second: the most that is owed

struct group group_root;
static struct group_share root_shares[ABI_CPUS_MAX];

static uint32_t next_domain = 1u << 31; // above those that a caller names (atomic)

static bool mask_has(const uint64_t *mask, uint32_t cpu) {
    return (__atomic_load_n(&mask[cpu / 64], __ATOMIC_RELAXED) >> (cpu % 64) & 1) != 0;
}

static void group_init_one(struct group *group) {
    group->domain = __atomic_fetch_add(&next_domain, 1, __ATOMIC_RELAXED);
    budget_init(&group->cap, 0, tsc_hz / GROUP_PERIODS_A_SECOND, 0);
}

void group_init(void) {
    object_init(&group_root.object, &group_kind);
    group_init_one(&group_root);
    group_root.weight = ABI_WEIGHT_DEFAULT;
    memset(group_root.cpus, 0xff, sizeof(group_root.cpus));
    for (uint32_t i = 0; i < ARRAY_COUNT(group_root.shares); i++)
        group_root.shares[i] = &root_shares[i * GROUP_SHARES];
}

// ---- reservations -------------------------------------------------------------------------------

int group_pin(struct group *group, uint32_t cpu) {
    uint64_t bit = BIT(cpu % 64);
    // It was checked; so that nothing is read on suspicion.
    cpu = (uint32_t)index_mask(cpu, CPU_COUNT_MAX);
    if (!mask_has(group->reserved, cpu))
        return ABI_ERROR_ARGUMENT;
    uint64_t old = __atomic_fetch_or(&group->pinned[cpu / 64], bit, __ATOMIC_RELAXED);
    __atomic_fetch_add(&cpu_table[cpu]->pinned, (old & bit) == 0, __ATOMIC_RELAXED);
    return (old & bit) != 0 ? ABI_ERROR_EXISTS : ABI_OK;
}

void group_unpin(struct group *group, uint32_t cpu) {
    __atomic_fetch_sub(&cpu_table[cpu]->pinned, 1, __ATOMIC_RELAXED);
    __atomic_fetch_and(&group->pinned[cpu / 64], ~BIT(cpu % 64), __ATOMIC_RELAXED);
}

bool group_may_use(const struct group *group, const struct cpu *cpu) {
    return mask_has(group->cpus, cpu->index);
}

// ---- life ---------------------------------------------------------------------------------------

static bool has_cpu(const uint64_t *mask) {
    for (uint32_t i = 0; i < cpu_count; i++)
        if (mask_has(mask, i))
            return true;
    return false;
}

// Periods are bounded so that products with budgets stay in 64 bits, and below, so that threads
// which come and go cannot keep a CPU busy with that alone.
static bool is_valid(const struct abi_group *values) {
    uint64_t shortest = tsc_hz / 10000, longest = tsc_hz * 10;
    if (values->weight < 1 || values->weight > ABI_WEIGHT_MAX || values->cap > ABI_CAP_MAX ||
        values->domain >= 1u << 31 || !cache_is_valid(values->cache_class, values->cache_mask) ||
        !has_cpu(values->cpus))
        return false;
    if (values->budget == 0)
        return values->period == 0;
    return values->period >= shortest && values->period <= longest &&
           values->budget >= shortest / 10 && values->budget <= values->period;
}

static void take_values(struct group *group, const struct abi_group *values) {
    __atomic_store_n(&group->weight, values->weight, __ATOMIC_RELAXED);
    __atomic_store_n(&group->cap.amount, group->cap.period * values->cap / 100, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < GROUP_CPU_WORDS; i++)
        __atomic_store_n(&group->cpus[i], values->cpus[i], __ATOMIC_RELAXED);
    cache_set(values->cache_class, values->cache_mask);
    __atomic_store_n(&group->cache_class, values->cache_class, __ATOMIC_RELAXED);
    if (values->domain != 0)
        __atomic_store_n(&group->domain, values->domain, __ATOMIC_RELAXED);
}

struct group *group_create(struct quota *quota, const struct abi_group *values, int *error) {
    *error = ABI_ERROR_ARGUMENT;
    if (!is_valid(values))
        return NULL;
    *error = ABI_ERROR_MEMORY;
    struct group *group = quota_alloc_object(quota, &group_kind);
    if (group == NULL)
        return NULL;
    group_init_one(group);
    for (uint32_t i = 0; i * GROUP_SHARES < cpu_count; i++) {
        group->shares[i] = quota_alloc_page(quota);
        if (group->shares[i] != NULL)
            continue;
        object_unref(&group->object);
        return NULL;
    }
    take_values(group, values);
    memcpy(group->reserved, values->reserved, sizeof(group->reserved));
    group->budget = values->budget;
    group->period = values->period;
    return group;
}

int64_t call_group_write(struct call *c) {
    if (!is_valid(&c->data.group))
        return -ABI_ERROR_ARGUMENT;
    take_values(CALL_OBJECT(c, 0, group), &c->data.group);
    scheduler_recheck();
    return 0;
}

// Of its share it never owes more than 50 ms: who computes where nobody waits pays nothing
// meanwhile, and is not to wait long once somebody does.
int64_t call_group_charge(struct call *c) {
    struct group *group = CALL_OBJECT(c, 0, group);
    uint64_t ticks = c->a[1];
    if (ticks > tsc_hz)
        return -ABI_ERROR_ARGUMENT;
    uint64_t owed = __atomic_load_n(&group->owed, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&group->owed, &owed, MIN(owed + ticks, tsc_hz / OWED_PART),
                                        false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    budget_charge(&group->cap, ticks);
    return 0;
}

uint64_t group_pay(struct group *group, uint64_t most) {
    uint64_t owed = __atomic_load_n(&group->owed, __ATOMIC_RELAXED), part = MIN(owed, most);
    bool is_paid = part != 0 && __atomic_compare_exchange_n(&group->owed, &owed, owed - part, false,
                                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return is_paid ? part : 0; // who meets a charge pays the next time
}

static bool group_destroy(struct object *object) {
    struct group *group = CONTAINER_OF(object, struct group, object);
    budget_destroy(&group->cap);
    for (uint32_t i = 0; i < cpu_count; i++)
        if (mask_has(group->pinned, i))
            group_unpin(group, i);
    for (uint32_t i = 0; i < ARRAY_COUNT(group->shares); i++)
        quota_free_page(object->quota, group->shares[i]);
    return true;
}

const struct object_kind group_kind = {OBJECT_GROUP, group_destroy};
