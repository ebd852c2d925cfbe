// SPDX-License-Identifier: Apache-2.0
// See kernel/quota.h.
#include "kernel/quota.h"

#include "arch/log.h"
#include "kernel/frame.h"
#include "kernel/syscall.h"

static struct quota root = {.lock = {.rank = LOCK_QUOTA}};

struct quota *quota_root(void) {
    return &root;
}

// The kernel's own tables are nobody's to pay for: a page for each 2 MiB that the direct map shows
// in pages, and one for 128 stacks, which are 1 MiB. Nor are stacks that wait for their next owner.
#define TABLES_SHARE 256u

void quota_init_root(uint64_t bytes) {
    object_init(&root.object, &quota_kind);
    object_list(&root.object);
    uint64_t left = bytes > QUOTA_STACKS_ASIDE ? bytes - QUOTA_STACKS_ASIDE : 0;
    root.limit = left / TABLES_SHARE * (TABLES_SHARE - 1);
}

bool quota_charge(struct quota *quota, uint64_t bytes, uint64_t kernel) {
    lock_take(&quota->lock);
    bool is_enough = bytes <= quota->limit - quota->used;
    if (is_enough) {
        quota->used += bytes;
        quota->kernel += kernel;
    }
    lock_drop(&quota->lock);
    return is_enough;
}

void quota_release(struct quota *quota, uint64_t bytes, uint64_t kernel) {
    lock_take(&quota->lock);
    assert(bytes <= quota->used && kernel <= quota->kernel);
    quota->used -= bytes;
    quota->kernel -= kernel;
    lock_drop(&quota->lock);
}

void *quota_alloc_page(struct quota *quota) {
    if (!quota_charge(quota, PAGE_SIZE, PAGE_SIZE))
        return NULL;
    void *page = kernel_page_alloc();
    if (page == NULL)
        quota_release(quota, PAGE_SIZE, PAGE_SIZE);
    return page;
}

void *quota_take_page(struct quota *quota) {
    void *page = kernel_page_alloc();
    if (page == NULL)
        return NULL;
    lock_take(&quota->lock);
    quota->kernel += PAGE_SIZE;
    assert(quota->kernel <= quota->used);
    lock_drop(&quota->lock);
    return page;
}

void quota_free_page(struct quota *quota, void *page) {
    if (page == NULL)
        return;
    kernel_page_free(page);
    quota_release(quota, PAGE_SIZE, PAGE_SIZE);
    quota_tell(quota);
}

void *quota_alloc_object(struct quota *quota, const struct object_kind *kind) {
    struct object *object = quota_alloc_page(quota);
    if (object == NULL)
        return NULL;
    object_init(object, kind);
    object_ref(&quota->object);
    object->quota = quota;
    return object;
}

void quota_free_object(struct object *object) {
    struct quota *quota = object->quota;
    object_unlist(object);
    quota_free_page(quota, object);
    object_unref(&quota->object);
}

void quota_tell(struct quota *quota) {
    if (__atomic_load_n(&quota->used, __ATOMIC_RELAXED) == 0)
        event_notify(&quota->empty);
}

// The page of the struct itself is part of what the parent gives away.
struct quota *quota_create(struct quota *parent, uint64_t bytes) {
    if (bytes > UINT64_MAX - PAGE_SIZE || !quota_charge(parent, bytes + PAGE_SIZE, 0))
        return NULL;
    struct quota *quota = kernel_page_alloc();
    if (quota == NULL) {
        quota_release(parent, bytes + PAGE_SIZE, 0);
        return NULL;
    }
    object_init(&quota->object, &quota_kind);
    lock_init(&quota->lock, LOCK_QUOTA);
    quota->parent = parent;
    quota->limit = bytes;
    quota->home = parent->home;
    object_ref(&parent->object);
    object_list(&quota->object);
    return quota;
}

static bool quota_destroy(struct object *object) {
    struct quota *quota = CONTAINER_OF(object, struct quota, object), *parent = quota->parent;
    uint64_t bytes = quota->limit + PAGE_SIZE;
    object_unlist(object);
    event_unbind(&quota->empty);
    kernel_page_free(quota);
    quota_release(parent, bytes, 0);
    quota_tell(parent);
    object_unref(&parent->object);
    return true;
}

const struct object_kind quota_kind = {OBJECT_QUOTA, quota_destroy};

void quota_grow_root(uint64_t bytes) {
    lock_take(&root.lock);
    root.limit += bytes;
    lock_drop(&root.lock);
}

int64_t call_quota_home(struct call *c) {
    c->data.home.range[ABI_HOME_MAX - 1] = FRAME_ANYWHERE;
    CALL_OBJECT(c, 1, quota)->home = c->data.home;
    return 0;
}

int64_t call_quota_read(struct call *c) {
    struct quota *quota = CALL_OBJECT(c, 0, quota);
    lock_take(&quota->lock);
    c->data.quota = (struct abi_quota_info){quota->limit, quota->used};
    lock_drop(&quota->lock);
    return 0;
}
