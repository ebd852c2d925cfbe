// SPDX-License-Identifier: Apache-2.0
// kernel/group.c: values that are taken and refused, and who is pinned where.
#include "tests/unit/kernel/support.h"

#include "arch/tsc.h"
#include "kernel/group.h"
#include "kernel/syscall.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

static struct abi_group values;
static int error;

static void set_up(void) {
    host_init_all();
    values = (struct abi_group){.weight = 100, .cpus = {0xf}};
}

TestSuite(kernel_group, .init = set_up);

static struct group *create(void) {
    return group_create(quota_root(), &values, &error);
}

static int64_t write_to(struct group *group, const struct abi_group *to) {
    struct call c = {.handle = {{.object = &group->object}}, .data.group = *to};
    return call_group_write(&c);
}

static int64_t charge(struct group *group, uint64_t ticks) {
    struct call c = {.a = {0, ticks}, .handle = {{.object = &group->object}}};
    return call_group_charge(&c);
}

static void drop(struct group *group) {
    object_unref(&group->object);
}

static void expect_refused(int expected, const char *why) {
    uint64_t used = host_quota_read(quota_root()).used;
    cr_expect_null(create(), "%s", why);
    cr_expect_eq(error, expected, "%s: error %d", why, error);
    cr_expect_eq(host_quota_read(quota_root()).used, used, "%s: memory", why);
}

Test(kernel_group, values_out_of_range_are_refused) {
    const struct abi_group good = values;
#define REFUSED(change)                                                                            \
    values = good;                                                                                 \
    change;                                                                                        \
    expect_refused(ABI_ERROR_ARGUMENT, #change)
    REFUSED(values.weight = 0);
    REFUSED(values.weight = ABI_WEIGHT_MAX + 1);
    REFUSED(values.cap = ABI_CAP_MAX + 1);
    REFUSED(values.cpus[0] = 0);
    REFUSED(values.cpus[0] = 0xf0); // this machine has four
    REFUSED(values.cache_class = 1);
    REFUSED(values.cache_mask = 1);
    REFUSED(values.domain = 1u << 31);
    REFUSED(values.period = 1000000);
    REFUSED(values.budget = tsc_hz / 1000);
    REFUSED((values.budget = tsc_hz / 100, values.period = tsc_hz / 1000));
    REFUSED((values.budget = 1, values.period = tsc_hz / 1000));
    REFUSED((values.budget = 1, values.period = UINT64_MAX));
#undef REFUSED
    values = good;
    struct group *group = create();
    cr_assert_not_null(group);
    values.weight = 0;
    cr_expect_eq(write_to(group, &values), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(group->weight, 100);
    drop(group);
}

Test(kernel_group, writing_sets_its_class_of_service) {
    host_has_cache(8, 2);
    values.cache_class = 2;
    values.cache_mask = 0x0c;
    struct group *group = create();
    cr_assert_not_null(group);
    cr_expect_eq(group->cache_class, 2);
    values.cache_class = 3;
    cr_expect_eq(write_to(group, &values), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(group->cache_class, 2);
    values.cache_class = values.cache_mask = 0;
    cr_expect_eq(write_to(group, &values), 0);
    cr_expect_eq(group->cache_class, 0);
    drop(group);
}

// Who fits beside whom is the supervisor's to know.
Test(kernel_group, whatever_is_reserved_is_taken) {
    memset(values.reserved, 0xff, sizeof(values.reserved));
    struct group *group = create(), *other = create();
    cr_assert(group != NULL && other != NULL);
    cr_expect(group_may_use(&group_root, cpu_table[1]), "nobody said that it may not");
    drop(group);
    drop(other);
}

Test(kernel_group, a_reserved_cpu_is_pinned_once) {
    values.reserved[0] = 0x2;
    struct group *group = create();
    cr_expect_eq(group_pin(group, 0), ABI_ERROR_ARGUMENT);
    cr_expect_eq(group_pin(group, 1), ABI_OK);
    cr_expect_eq(group_pin(group, 1), ABI_ERROR_EXISTS);
    cr_expect_eq(cpu_table[1]->pinned, 1);
    group_unpin(group, 1);
    cr_expect_eq(cpu_table[1]->pinned, 0);
    cr_expect_eq(group_pin(group, 1), ABI_OK);
    drop(group);
    cr_expect_eq(cpu_table[1]->pinned, 0, "it went with its group");
}

// The pages for CPUs from 256 on are there, and go with it.
Test(kernel_group, has_a_share_on_each_of_three_hundred_cpus) {
    static struct cpu last = {.index = 299};
    uint64_t used = host_quota_read(quota_root()).used;
    cpu_count = 300;
    cpu_table[299] = &last;
    values.cpus[0] = 0;
    values.cpus[4] = values.reserved[4] = BIT(299 - 256);
    struct group *group = create();
    cr_assert_not_null(group);
    cr_expect(group_may_use(group, &last) && group_may_use(&group_root, &last));
    cr_expect_not(group_may_use(group, cpu_table[299 - 256 - 42]), "CPU 1");
    cr_expect_eq(group_pin(group, 299), ABI_OK);
    cr_expect_eq(group_pin(group, 43), ABI_ERROR_ARGUMENT);
    group_share(group, 299)->credit = 7;
    group_share(group, 43)->credit = 8;
    cr_expect_eq(group_share(group, 299)->credit, 7);
    group_share(&group_root, 299)->credit = 9;
    drop(group);
    cr_expect_eq(host_quota_read(quota_root()).used, used);
    struct quota *poor = quota_create(quota_root(), 2 * PAGE_SIZE);
    cr_expect_null(group_create(poor, &values, &error), "one page for it, two for its shares");
    cr_expect_eq(error, ABI_ERROR_MEMORY);
    cr_expect_eq(host_quota_read(poor).used, 0);
}

Test(kernel_group, who_was_somewhere_else_has_to_go) {
    struct group *group = create();
    uint32_t before = host_rechecks;
    values.cpus[0] = 0x8;
    cr_expect_eq(write_to(group, &values), 0);
    cr_expect(group_may_use(group, cpu_table[3]) && !group_may_use(group, cpu_table[0]));
    cr_expect_gt(host_rechecks, before);
    drop(group);
}

Test(kernel_group, domains_differ_unless_they_are_named) {
    struct group *a = create(), *b = create();
    cr_expect(a->domain != 0 && a->domain != b->domain && a->domain != group_root.domain);
    values.domain = 7;
    struct group *c = create(), *d = create();
    cr_expect(c->domain == 7 && d->domain == 7);
    drop(a);
    drop(b);
    drop(c);
    drop(d);
}

Test(kernel_group, a_cap_is_so_many_percent_of_a_period) {
    values.cap = 150;
    struct group *group = create();
    cr_expect_eq(group->cap.amount, tsc_hz / GROUP_PERIODS_A_SECOND * 3 / 2);
    values.cap = 0;
    cr_expect_eq(write_to(group, &values), 0);
    cr_expect_not(budget_is_limited(&group->cap));
    drop(group);
}

Test(kernel_group, charges_use_up_the_cap_and_some_of_the_share) {
    values.cap = 50;
    struct group *group = create();
    cr_assert_not_null(group);
    cr_expect_eq(charge(group, 1000), 0);
    cr_expect_eq(group->cap.left, -1000);
    cr_expect_eq(group->owed, 1000);
    cr_expect_eq(charge(group, tsc_hz + 1), -ABI_ERROR_ARGUMENT);
    cr_expect_eq(group->cap.left, -1000);
    cr_expect_eq(charge(group, tsc_hz), 0);
    cr_expect_eq(group->cap.left, -1000 - (int64_t)tsc_hz, "the cap is exact");
    cr_expect_eq(group->owed, tsc_hz / 20, "nobody has to wait for long");
    drop(group);
}

static struct group *charged_group;
static bool is_charging_over;

static void *charge_for_ever(void *opaque) {
    (void)opaque;
    while (!__atomic_load_n(&is_charging_over, __ATOMIC_RELAXED))
        (void)charge(charged_group, tsc_hz);
    return NULL;
}

Test(kernel_group, charges_race_the_scheduler_and_stay_bounded) {
    pthread_t thread;
    charged_group = create();
    cr_assert_eq(pthread_create(&thread, NULL, charge_for_ever, NULL), 0);
    for (unsigned i = 0, paid = 0; i < 200000 || paid == 0; i++) {
        uint64_t part = group_pay(charged_group, 1000 + i);
        cr_assert_leq(part, 1000 + i);
        cr_assert_leq(__atomic_load_n(&charged_group->owed, __ATOMIC_RELAXED), tsc_hz / 20);
        paid += part != 0;
    }
    __atomic_store_n(&is_charging_over, true, __ATOMIC_RELAXED);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    drop(charged_group);
}

Test(kernel_group, ticks_reach_the_group_that_is_named) {
    struct group *group = create();
    struct call c = {.handle = {{.object = &group->object}}};
    c.a[1] = 77;
    cr_expect_eq(call_group_charge(&c), 0);
    cr_expect_eq(group->owed, 77);
    c.a[1] = tsc_hz + 1;
    cr_expect_eq(call_group_charge(&c), -ABI_ERROR_ARGUMENT);
    drop(group);
}

// ---- anything -----------------------------------------------------------------------------------

static uint64_t draw(void) {
    static uint64_t state = 1;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

// The supervisor's call, of a supervisor that has lost its mind: edges and noise in any field.
static void draw_values(struct abi_group *wild) {
    const uint64_t edges[] = {0, 1, 2, 0xf, tsc_hz / 1000, tsc_hz / 100, BIT(31), BIT(32), BIT(63)};
    uint8_t *bytes = (uint8_t *)wild;
    *wild = (struct abi_group){.weight = 100, .cpus = {0xf}, .reserved = {draw() & 0xf}};
    if (draw() % 2 != 0) {
        wild->period = tsc_hz / 1000 + draw() % tsc_hz;
        wild->budget = wild->period / (1 + draw() % 20);
    }
    for (uint64_t n = draw() % 4; n != 0; n--) {
        uint64_t value = draw() % 2 != 0 ? edges[draw() % ARRAY_COUNT(edges)] : draw();
        size_t size = draw() % 2 != 0 ? 8 : 4;
        memcpy(bytes + draw() % (sizeof(*wild) / size) * size, &value, size);
    }
}

// What the rest of the kernel relies on.
static void expect_sound(const struct group *group) {
    bool has_cpu = false;
    for (uint32_t i = 0; i < cpu_count; i++)
        has_cpu = has_cpu || group_may_use(group, cpu_table[i]);
    cr_assert(has_cpu, "its threads would look for a CPU for ever");
    cr_assert(group->weight >= 1 && group->weight <= ABI_WEIGHT_MAX && group->domain != 0);
    cr_assert_leq(group->cap.amount, group->cap.period * (ABI_CAP_MAX / 100));
    cr_assert_leq(group->cache_class, 2);
    cr_assert(group->budget == 0 ? group->period == 0
                                 : group->budget <= group->period && group->period <= tsc_hz * 10 &&
                                       group->budget >= tsc_hz / 100000);
}

Test(kernel_group, whatever_is_written_the_kernel_can_run) {
    unsigned taken = 0, refused = 0;
    host_has_cache(8, 2);
    for (unsigned n = 0; n < 20000; n++) {
        draw_values(&values);
        uint64_t used = host_quota_read(quota_root()).used;
        struct group *group = create();
        if (group == NULL) {
            cr_assert_eq(error, ABI_ERROR_ARGUMENT);
            refused++;
            continue;
        }
        taken++;
        expect_sound(group);
        for (unsigned i = 0; i < 4; i++) {
            draw_values(&values);
            (void)write_to(group, &values);
            expect_sound(group);
        }
        drop(group);
        cr_assert_eq(host_quota_read(quota_root()).used, used);
    }
    cr_expect(taken > 1000 && refused > 1000, "%u, %u", taken, refused);
}
