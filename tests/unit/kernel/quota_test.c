// SPDX-License-Identifier: Apache-2.0
// kernel/quota.c and kernel/object.c: what is charged comes back, to whom it came from, when the
// last one lets go.
#include "tests/unit/kernel/support.h"

#include "kernel/event.h"
#include "kernel/frame.h"
#include "kernel/kspace.h"
#include "kernel/process.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(kernel_quota, .init = host_init_all);

static uint64_t used(struct quota *quota) {
    return host_quota_read(quota).used;
}

Test(kernel_quota, charge_ends_at_the_limit) {
    struct quota *q = quota_create(quota_root(), 10 * PAGE_SIZE);
    cr_assert_not_null(q);
    cr_expect_eq(host_quota_read(q).limit, 10 * PAGE_SIZE);
    cr_expect(quota_charge(q, 9 * PAGE_SIZE, 0));
    cr_expect_not(quota_charge(q, PAGE_SIZE + 1, 0));
    cr_expect_eq(used(q), 9 * PAGE_SIZE, "a refused charge changes nothing");
    cr_expect(quota_charge(q, PAGE_SIZE, 0));
    cr_expect_not(quota_charge(q, 1, 0));
    cr_expect(quota_charge(q, 0, 0));
    quota_release(q, PAGE_SIZE, 0);
    cr_expect(quota_charge(q, PAGE_SIZE, 0));
}

Test(kernel_quota, huge_charges_do_not_wrap) {
    struct quota *q = quota_create(quota_root(), 10 * PAGE_SIZE);
    cr_assert(quota_charge(q, PAGE_SIZE, 0));
    cr_expect_not(quota_charge(q, UINT64_MAX, 0));
    cr_expect_not(quota_charge(q, UINT64_MAX - PAGE_SIZE + 1, 0));
    cr_expect_eq(used(q), PAGE_SIZE);
    uint64_t before = used(quota_root());
    cr_expect_null(quota_create(quota_root(), UINT64_MAX));
    cr_expect_null(quota_create(quota_root(), UINT64_MAX - PAGE_SIZE));
    cr_expect_null(quota_create(quota_root(), UINT64_MAX - PAGE_SIZE + 1));
    cr_expect_eq(used(quota_root()), before);
}

Test(kernel_quota, child_takes_its_limit_and_page_from_its_parent) {
    uint64_t before = used(quota_root());
    struct quota *child = quota_create(quota_root(), 100 * PAGE_SIZE);
    cr_expect_eq(used(quota_root()), before + 101 * PAGE_SIZE);
    cr_expect_null(quota_create(child, 100 * PAGE_SIZE), "its own page is missing");
    struct quota *grandchild = quota_create(child, 99 * PAGE_SIZE);
    cr_assert_not_null(grandchild);
    cr_expect_eq(used(child), 100 * PAGE_SIZE);
    cr_expect_eq(used(quota_root()), before + 101 * PAGE_SIZE);
    object_unref(&grandchild->object);
    cr_expect_eq(used(child), 0);
    object_unref(&child->object);
    cr_expect_eq(used(quota_root()), before);
}

Test(kernel_quota, parent_lives_as_long_as_its_child) {
    uint64_t before = used(quota_root());
    struct quota *child = quota_create(quota_root(), 10 * PAGE_SIZE);
    struct quota *grandchild = quota_create(child, PAGE_SIZE);
    object_unref(&child->object);
    cr_expect_eq(used(quota_root()), before + 11 * PAGE_SIZE);
    cr_expect_eq(used(child), 2 * PAGE_SIZE);
    object_unref(&grandchild->object);
    cr_expect_eq(used(quota_root()), before);
}

Test(kernel_quota, pages_are_charged_and_end_with_the_quota) {
    struct quota *q = quota_create(quota_root(), 3 * PAGE_SIZE);
    void *page[3];
    for (unsigned i = 0; i < 3; i++)
        cr_assert_not_null(page[i] = quota_alloc_page(q));
    cr_expect_null(quota_alloc_page(q));
    quota_free_page(q, page[1]);
    cr_expect_eq(used(q), 2 * PAGE_SIZE);
    cr_expect_eq(quota_alloc_page(q), page[1]);
}

Test(kernel_quota, page_that_the_machine_lacks_is_not_charged) {
    struct quota *q = quota_create(quota_root(), 100 * PAGE_SIZE);
    host_take_frames();
    while (kernel_page_alloc() != NULL) {
    }
    cr_expect_null(quota_alloc_page(q));
    cr_expect_eq(used(q), 0);
    cr_assert(quota_charge(q, PAGE_SIZE, 0));
    cr_expect_null(quota_take_page(q));
    cr_expect(used(q) == PAGE_SIZE && q->kernel == 0);
    uint64_t before = used(quota_root());
    cr_expect_null(quota_create(quota_root(), PAGE_SIZE));
    cr_expect_eq(used(quota_root()), before);
}

static struct quota *next_owner;

// What destroys a quota or a vCPU gives its page back by itself; then it may be another object at
// once.
static bool give_page_away(struct object *object) {
    kernel_page_free(object);
    cr_assert_eq(quota_alloc_object(next_owner, &event_kind), object);
    return true;
}

Test(kernel_quota, page_that_was_given_back_is_not_looked_at) {
    static const struct object_kind kind = {OBJECT_QUOTA, give_page_away};
    next_owner = quota_create(quota_root(), 4 * PAGE_SIZE);
    struct object *object = kernel_page_alloc();
    object_init(object, &kind);
    object_unref(object);
    cr_expect_eq(used(next_owner), PAGE_SIZE, "it is the next one's");
    cr_expect_eq(next_owner->object.ref_count, 2);
}

// What nobody pays for is left aside: a page of tables for 256, and the stacks in no use.
Test(kernel_quota, root_is_what_is_free_but_for_what_is_nobodys) {
    quota_init_root(SIZE_1G);
    cr_expect_leq(host_quota_read(quota_root()).limit,
                  SIZE_1G - SIZE_1G / 256 - SPACE_STACKS_KEPT * CPU_STACK_SIZE * 255 / 256);
    quota_init_root(0);
    cr_expect_eq(host_quota_read(quota_root()).limit, 0);
}

Test(kernel_quota, root_grows) {
    uint64_t limit = host_quota_read(quota_root()).limit;
    quota_grow_root(SIZE_2M);
    cr_expect_eq(host_quota_read(quota_root()).limit, limit + SIZE_2M);
}

// ---- objects ------------------------------------------------------------------------------------

Test(kernel_quota, object_dies_with_its_last_reference) {
    struct quota *q = quota_create(quota_root(), 10 * PAGE_SIZE);
    struct event *event = host_event_create(q);
    object_ref(&event->object);
    object_unref(&event->object);
    cr_expect_eq(used(q), PAGE_SIZE);
    object_unref(&event->object);
    cr_expect_eq(used(q), 0);
}

Test(kernel_quota, reference_too_few_panics) {
    struct object object;
    object_init(&object, &event_kind);
    object.ref_count = 0;
    cr_expect(HOST_PANICS(object_unref(&object)));
}

// A chain of objects that keep each other alive must not cost stack: the kernel's has 8 KiB. Here
// each link would cost some 500 bytes of 128 KiB.
#define CHAIN       1000u
#define CHAIN_STACK (128u << 10)

static void *drop_chain(void *head) {
    object_unref(head);
    object_finish();
    return NULL;
}

Test(kernel_quota, chain_of_objects_ends_without_recursion) {
    struct process *head = NULL;
    uint64_t before = 0;
    for (unsigned i = 0; i < CHAIN; i++) {
        struct process *process = process_create(quota_root(), &group_root, NULL, 0);
        cr_assert_not_null(process);
        if (head != NULL)
            cr_assert_gt(handle_insert(process, &head->object, ABI_RIGHTS_ALL), 0);
        head = process;
        before = i == 0 ? used(quota_root()) : before;
    }
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, CHAIN_STACK);
    cr_assert_eq(pthread_create(&thread, &attributes, drop_chain, &head->object), 0);
    pthread_join(thread, NULL);
    cr_expect_lt(used(quota_root()), before, "all are gone");
}
