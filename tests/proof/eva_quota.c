// SPDX-License-Identifier: Apache-2.0
// What Eva starts from: kernel/quota.c with right books of these amounts, any limit, any charge,
// and memory that may be used up at any time. A failed assertion, and a lock that is taken twice,
// dropped untaken or kept, are errors, too.
#include "arch/log.h"
#include "kernel/frame.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "tests/proof/eva.h"

// Ascending.
static const uint64_t amounts[] = {
    0, 1, PAGE_SIZE, PAGE_SIZE + 1, SIZE_1G, UINT64_MAX - PAGE_SIZE, UINT64_MAX,
};
#define AMOUNTS ARRAY_COUNT(amounts)

static struct quota parent, made, page;

_Noreturn void panic(const char *format, ...) {
    (void)format;
    for (const volatile char *nowhere = NULL;;) // an alarm
        (void)*nowhere;
}

void lock_init(struct spinlock *lock, enum lock_rank rank) {
    *lock = (struct spinlock){.rank = (uint32_t)rank};
}

void lock_take(struct spinlock *lock) {
    assert(lock->next == 0); // taken or not: tickets would be two numbers to Eva
    lock->next = 1;
}

void lock_drop(struct spinlock *lock) {
    assert(lock->next == 1);
    lock->next = 0;
}

void object_init(struct object *object, const struct object_kind *kind) {
    *object = (struct object){.kind = kind, .ref_count = 1};
}

void object_unref(struct object *object) {
    object->ref_count--;
}

void object_list(struct object *object) {
    object->listed = (struct link){NULL, NULL};
}

void object_unlist(struct object *object) {
    object->listed = (struct link){NULL, NULL};
}

void *kernel_page_alloc(void) {
    page = (struct quota){0};
    return any_bool() ? &page : NULL;
}

void kernel_page_free(void *freed) {
    *(uint8_t *)freed = 0;
}

void event_signal(struct event *event, uint64_t mask) {
    event->bits |= mask;
}

void event_unbind(struct event_binding *binding) {
    binding->event = NULL;
}

static void set_books(uint64_t used, uint64_t kernel) {
    assert(parent.lock.next == 0);
    parent = (struct quota){.object.ref_count = 2, .used = used, .kernel = kernel};
    parent.limit = any_within(used, UINT64_MAX);
}

static void charge_and_release(uint64_t used, uint64_t kernel) {
    set_books(used, kernel);
    quota_charge(&parent, any_u64(), 0);
    set_books(used, kernel);
    uint64_t bytes = any_u64();
    quota_charge(&parent, bytes, bytes);
    set_books(used, kernel);
    quota_release(&parent, any_within(0, used - kernel), 0);
    set_books(used, kernel);
    bytes = any_within(0, kernel);
    quota_release(&parent, bytes, bytes);
    struct call call = {.handle = {{.object = &parent.object}}};
    call_quota_read(&call);
    call = (struct call){.handle = {[1] = {.object = &parent.object}}};
    call_quota_home(&call);
}

static void alloc_and_free(uint64_t used, uint64_t kernel) {
    set_books(used, kernel);
    quota_alloc_page(&parent);
    set_books(used, kernel);
    if (kernel >= PAGE_SIZE)
        quota_free_page(&parent, &page);
    set_books(used, kernel);
    if (used - kernel >= PAGE_SIZE)
        quota_take_page(&parent);
    set_books(used, kernel);
    quota_alloc_object(&parent, &quota_kind);
    set_books(used, kernel);
    made = (struct quota){.object.quota = &parent};
    if (kernel >= PAGE_SIZE)
        quota_free_object(&made.object);
}

static void create_and_destroy(uint64_t used, uint64_t kernel, uint64_t bytes) {
    set_books(used, kernel);
    page = (struct quota){0};
    struct quota *quota = quota_create(&parent, bytes);
    if (quota != NULL)
        quota_charge(quota, any_u64(), 0);
    set_books(used, kernel);
    if (bytes <= UINT64_MAX - PAGE_SIZE && bytes + PAGE_SIZE <= used - kernel) {
        made = (struct quota){.parent = &parent, .limit = bytes};
        (void)quota_kind.destroy(&made.object);
    }
}

void eva_quota(void) {
    quota_init_root(any_u32());
    quota_grow_root(any_u32());
    quota_charge(quota_root(), any_u64(), 0);
    for (unsigned u = 0; u < AMOUNTS; u++) {
        for (unsigned k = 0; k <= u; k++) {
            charge_and_release(amounts[u], amounts[k]);
            alloc_and_free(amounts[u], amounts[k]);
            for (unsigned b = 0; b < AMOUNTS; b++)
                create_and_destroy(amounts[u], amounts[k], amounts[b]);
        }
    }
}
