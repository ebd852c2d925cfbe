// SPDX-License-Identifier: Apache-2.0
// See kernel/group.h.
#include "kernel/group.h"

#include "arch/cache.h"
#include "arch/cpu.h"
#include "arch/tsc.h"
#include "kernel/quota.h"
#include "kernel/scheduler.h"
#include "kernel/thread.h"
#include "lib/index.h"
#include "lib/string.h"

_Static_assert(sizeof(struct group) <= PAGE_SIZE, "one page");

struct group group_root;

// The supervisor serves all VMs: it must not have to queue up with each of them.
#define ROOT_WEIGHT (20 * ABI_WEIGHT_DEFAULT)

// By CPU: permil of its time that is reserved; 1000 and more: dedicated.
#define DEDICATED 1000u
static struct {
    struct spinlock lock;
    uint32_t permil[ABI_CPUS_MAX]; // written with the lock [a]
    uint32_t next_domain;          // [lock]
} reservations;

static bool mask_has(const uint64_t *mask, uint32_t cpu) {
    return (__atomic_load_n(&mask[cpu / 64], __ATOMIC_RELAXED) >> (cpu % 64) & 1) != 0;
}

static void group_init_one(struct group *group) {
    object_init(&group->object, &group_kind);
    budget_init(&group->cap, 0, tsc_hz / GROUP_PERIODS_A_SECOND, 0);
}

void group_init(void) {
    lock_init(&reservations.lock, LOCK_GROUP);
    reservations.next_domain = 1u << 31; // above those that a caller names
    group_init_one(&group_root);
    group_root.weight = ROOT_WEIGHT;
    group_root.domain = reservations.next_domain++;
    memset(group_root.cpus, 0xff, sizeof(group_root.cpus));
}

// ---- reservations -------------------------------------------------------------------------------

static uint32_t permil_of(const struct abi_group *values) {
    if (values->budget == 0)
        return DEDICATED;
    return (uint32_t)((values->budget * 1000 + values->period - 1) / values->period);
}

// With the lock. Whether what is wanted fits beside what is there, and shared threads keep a CPU.
static bool fits(const uint64_t *wanted, uint32_t permil) {
    uint32_t shared_count = 0;
    for (uint32_t i = 0; i < cpu_count; i++) {
        uint32_t sum = reservations.permil[i];
        if (mask_has(wanted, i)) {
            if (permil == DEDICATED ? sum != 0 : sum + permil > GROUP_RESERVED_PERMIL_MAX)
                return false;
            sum += permil;
        }
        shared_count += sum < DEDICATED;
    }
    return shared_count > 0;
}

static void reserve(const uint64_t *wanted, uint32_t permil, bool is_taken) {
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (!mask_has(wanted, i))
            continue;
        uint32_t sum = reservations.permil[i];
        sum = is_taken ? sum + permil : sum - permil;
        __atomic_store_n(&reservations.permil[i], sum, __ATOMIC_RELAXED);
    }
}

bool group_is_dedicated(const struct cpu *cpu) {
    return group_reserved_permil(cpu) >= DEDICATED;
}

uint32_t group_reserved_permil(const struct cpu *cpu) {
    return __atomic_load_n(&reservations.permil[cpu->index], __ATOMIC_RELAXED);
}

int group_pin(struct group *group, uint32_t cpu) {
    uint64_t bit = BIT(cpu % 64);
    cpu = (uint32_t)index_mask(
        cpu, CPU_COUNT_MAX); // it was checked; so that nothing is read on suspicion
    if (!mask_has(group->reserved, cpu))
        return ABI_ERROR_ARGUMENT;
    uint64_t old = __atomic_fetch_or(&group->pinned[cpu / 64], bit, __ATOMIC_RELAXED);
    return (old & bit) != 0 ? ABI_ERROR_EXISTS : ABI_OK;
}

void group_unpin(struct group *group, uint32_t cpu) {
    __atomic_fetch_and(&group->pinned[cpu / 64], ~BIT(cpu % 64), __ATOMIC_RELAXED);
}

// When all of its CPUs are dedicated by now, every other one is better than none.
static bool has_shared_cpu(const struct group *group) {
    for (uint32_t i = 0; i < cpu_count; i++)
        if (mask_has(group->cpus, i) && !group_is_dedicated(cpu_table[i]))
            return true;
    return false;
}

bool group_may_use(const struct group *group, const struct cpu *cpu) {
    if (group_is_dedicated(cpu))
        return false;
    return mask_has(group->cpus, cpu->index) || !has_shared_cpu(group);
}

// ---- life ---------------------------------------------------------------------------------------

static bool has_cpu(const uint64_t *mask) {
    for (uint32_t i = 0; i < cpu_count; i++)
        if (mask_has(mask, i))
            return true;
    return false;
}

static bool exceeds_machine(const uint64_t *mask) {
    for (uint32_t i = cpu_count; i < ABI_CPUS_MAX; i++)
        if (mask_has(mask, i))
            return true;
    return false;
}

// Periods are bounded so that products with budgets stay in 64 bits, and below, so that threads
// which come and go cannot keep a CPU busy with that alone.
static bool is_valid(const struct abi_group *values) {
    uint64_t shortest = tsc_hz / 10000, longest = tsc_hz * 10;
    if (values->weight < 1 || values->weight > ABI_WEIGHT_MAX || values->cap > ABI_CAP_MAX ||
        values->domain >= 1u << 31 || !cache_is_mask(values->cache_mask) ||
        !has_cpu(values->cpus) || exceeds_machine(values->reserved))
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
    if (values->domain != 0)
        __atomic_store_n(&group->domain, values->domain, __ATOMIC_RELAXED);
}

// With the lock. False: no class of service is left.
static bool take_cache(struct group *group, uint32_t mask) {
    int32_t class = cache_take(mask), old = group->cache_class;
    if (class < 0)
        return false;
    __atomic_store_n(&group->cache_class, class, __ATOMIC_RELAXED);
    cache_drop(old);
    return true;
}

struct group *group_create(struct quota *quota, const struct abi_group *values, int *error) {
    *error = ABI_ERROR_ARGUMENT;
    if (!is_valid(values))
        return NULL;
    *error = ABI_ERROR_MEMORY;
    struct group *group = quota_alloc_page(quota);
    if (group == NULL)
        return NULL;
    group_init_one(group);
    uint32_t permil = permil_of(values);
    lock_take(&reservations.lock);
    bool is_admitted = (!has_cpu(values->reserved) || fits(values->reserved, permil)) &&
                       take_cache(group, values->cache_mask);
    if (is_admitted)
        reserve(values->reserved, permil, true);
    group->domain = reservations.next_domain++;
    lock_drop(&reservations.lock);
    if (!is_admitted) {
        quota_free_page(quota, group);
        *error = ABI_ERROR_AGAIN;
        return NULL;
    }
    take_values(group, values);
    memcpy(group->reserved, values->reserved, sizeof(group->reserved));
    group->budget = values->budget;
    group->period = values->period;
    group->quota = quota;
    object_ref(&quota->object);
    scheduler_recheck();
    return group;
}

int group_write(struct group *group, const struct abi_group *values) {
    if (!is_valid(values))
        return ABI_ERROR_ARGUMENT;
    lock_take(&reservations.lock);
    bool has_cache = take_cache(group, values->cache_mask);
    lock_drop(&reservations.lock);
    if (!has_cache)
        return ABI_ERROR_AGAIN;
    take_values(group, values);
    scheduler_recheck();
    return ABI_OK;
}

static bool group_destroy(struct object *object) {
    struct group *group = CONTAINER_OF(object, struct group, object);
    struct quota *quota = group->quota;
    const struct abi_group values = {.budget = group->budget, .period = group->period};
    budget_destroy(&group->cap);
    lock_take(&reservations.lock);
    reserve(group->reserved, permil_of(&values), false);
    cache_drop(group->cache_class);
    lock_drop(&reservations.lock);
    quota_free_page(quota, group);
    object_unref(&quota->object);
    return true;
}

const struct object_kind group_kind = {OBJECT_GROUP, group_destroy};
