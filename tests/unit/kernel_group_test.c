// SPDX-License-Identifier: Apache-2.0
// kernel/group.c: what is admitted and what is refused.
#include "kernel_support.h"

#include "arch/tsc.h"
#include "kernel/group.h"

#include <criterion/criterion.h>
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

static void drop(struct group *group) {
    object_unref(&group->object);
}

static void expect_refused(int expected, const char *why) {
    uint64_t used = quota_read(quota_root()).used;
    cr_expect_null(create(), "%s", why);
    cr_expect_eq(error, expected, "%s: error %d", why, error);
    cr_expect_eq(quota_read(quota_root()).used, used, "%s: memory", why);
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
    REFUSED(values.reserved[0] = 0x10);
    REFUSED(values.reserved[3] = 1);
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
    cr_expect_eq(group_write(group, &values), ABI_ERROR_ARGUMENT);
    cr_expect_eq(group->weight, 100);
    drop(group);
}

Test(kernel_group, without_a_class_of_service_nothing_changes) {
    host_has_cache(8, 2);
    values.cache_mask = 0x03;
    struct group *group = create();
    values.cache_mask = 0x0c;
    struct group *other = create();
    cr_assert(group != NULL && other != NULL);
    int32_t class = group->cache_class;
    values.cache_mask = 0x30;
    expect_refused(ABI_ERROR_AGAIN, "both classes are taken");
    values.weight = 200;
    cr_expect_eq(group_write(group, &values), ABI_ERROR_AGAIN);
    cr_expect(group->weight == 100 && group->cache_class == class);
    drop(other);
    cr_expect_eq(group_write(group, &values), ABI_OK);
    cr_expect(group->weight == 200 && group->cache_class > 0);
    drop(group);
}

Test(kernel_group, a_cpu_is_dedicated_once) {
    values.reserved[0] = 0x6;
    struct group *group = create();
    cr_assert_not_null(group);
    cr_expect(group_is_dedicated(cpu_table[1]) && group_is_dedicated(cpu_table[2]));
    cr_expect(!group_is_dedicated(cpu_table[0]));
    cr_expect(!group_may_use(&group_root, cpu_table[1]) &&
              group_may_use(&group_root, cpu_table[0]));
    cr_expect_geq(host_rechecks, 1, "who is there now has to go");
    values.reserved[0] = 0x4;
    expect_refused(ABI_ERROR_AGAIN, "taken");
    values.reserved[0] = 0x9;
    expect_refused(ABI_ERROR_AGAIN, "none would be left for shared threads");
    drop(group);
    cr_expect_not(group_is_dedicated(cpu_table[1]));
    values.reserved[0] = 0x4;
    group = create();
    cr_expect_not_null(group, "given back with the group");
    drop(group);
}

Test(kernel_group, realtime_is_admitted_up_to_nine_tenths) {
    values.reserved[0] = 0x1;
    values.period = tsc_hz / 100;
    values.budget = values.period / 2;
    struct group *first = create();
    cr_assert_not_null(first);
    expect_refused(ABI_ERROR_AGAIN, "twice one half");
    values.budget = values.period * 4 / 10;
    struct group *second = create();
    cr_assert_not_null(second);
    cr_expect_eq(group_reserved_permil(cpu_table[0]), 900);
    cr_expect(group_may_use(&group_root, cpu_table[0]), "the rest is shared");
    values.budget = values.period = 0;
    expect_refused(ABI_ERROR_AGAIN, "dedicated beside real-time");
    drop(first);
    drop(second);
    cr_expect_eq(group_reserved_permil(cpu_table[0]), 0);
}

Test(kernel_group, a_reserved_cpu_is_pinned_once) {
    values.reserved[0] = 0x2;
    struct group *group = create();
    cr_expect_eq(group_pin(group, 0), ABI_ERROR_ARGUMENT);
    cr_expect_eq(group_pin(group, 1), ABI_OK);
    cr_expect_eq(group_pin(group, 1), ABI_ERROR_EXISTS);
    group_unpin(group, 1);
    cr_expect_eq(group_pin(group, 1), ABI_OK);
    drop(group);
}

Test(kernel_group, without_a_cpu_of_its_own_it_may_use_the_others) {
    values.cpus[0] = 0x8;
    struct group *group = create();
    cr_expect(group_may_use(group, cpu_table[3]) && !group_may_use(group, cpu_table[0]));
    values.reserved[0] = 0x8;
    struct group *taker = create();
    cr_assert_not_null(taker);
    cr_expect(!group_may_use(group, cpu_table[3]) && group_may_use(group, cpu_table[0]));
    drop(taker);
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
    cr_expect_eq(group_write(group, &values), ABI_OK);
    cr_expect_not(budget_is_limited(&group->cap));
    drop(group);
}
