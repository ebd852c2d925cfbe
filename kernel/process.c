// SPDX-License-Identifier: Apache-2.0
// See kernel/process.h.
#include "kernel/process.h"

#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/group.h"
#include "kernel/kspace.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "lib/index.h"
#include "lib/string.h"

#define THREADS_MAX   128u                  // of a process: a vCPU each, and some
#define CANARY_OFFSET 0x28u                 // from FS's base, as the x86-64 psABI's compilers do
#define CANARY_MIX    0x9e3779b97f4a7c15ULL // spreads the TSC's bits

hpa_t process_call_page;

// The code page that every process has at ABI_CALL_PAGE is one frame for all.
static bool map_call_page(struct space *space) {
    if (process_call_page.v == 0) {
        void *page = kernel_page_alloc();
        if (page == NULL)
            return false;
        memcpy(page, call_page_code(), CALL_PAGE_CODE);
        *(uint64_t *)((uint8_t *)page + CANARY_OFFSET) = x86_rdtsc() * CANARY_MIX;
        process_call_page = frame_of_kernel(page);
    }
    if (!pt_map(&space->pt, ABI_CALL_PAGE, process_call_page, PAGE_SIZE,
                PT_READ | PT_EXECUTE | PT_USER))
        return false;
    kspace_user_show(space->user_root, &space->pt, ABI_CALL_PAGE);
    return true;
}

static bool init_tables(struct space *space, struct pt_memory tables) {
    return kspace_process_init(&space->pt, tables) &&
           kspace_user_init(&space->user_root, space->quota) && map_call_page(space);
}

// The supervisor's start page lies below what others may have.
static bool is_map_allowed(const struct region *region) {
    if (region->base == ABI_START_ADDRESS)
        return region->size <= ABI_START_PAGES * PAGE_SIZE && region->rights == ABI_RIGHT_READ;
    bool is_wx =
        (region->rights & ABI_RIGHT_WRITE) != 0 && (region->rights & ABI_RIGHT_EXECUTE) != 0;
    return !is_wx && region->base >= ABI_USER_BASE &&
           !range_exceeds(region->base, region->size, ABI_USER_END);
}

static void flush_tables(struct space *space) {
    smp_flush_root(space->pt.root);
}

static const struct space_kind process_space = {
    .audit = ABI_AUDIT_PROCESS,
    .rights = PT_USER,
    .root_last = KERNEL_ROOT - 1,
    .init = init_tables,
    .is_allowed = is_map_allowed,
    .flush = flush_tables,
};

struct process *process_create(struct quota *quota, struct group *group, struct event *event,
                               uint64_t mask) {
    struct process *process = quota_alloc_object(quota, &process_kind);
    if (process == NULL)
        return NULL;
    lock_init(&process->lock, LOCK_PROCESS);
    if (!space_create(&process->space, &process_space, quota)) {
        while (!space_destroy(&process->space))
            ;
        quota_free_object(&process->object);
        return NULL;
    }
    object_ref(&group->object);
    process->group = group;
    event_bind(&process->end, event, mask);
    process->handle_hint = 1;
    object_list(&process->object);
    return process;
}

// A bounded part of everything but the struct itself, which handles may still name. No thread is in
// its space any more. True: that was the last.
static bool destroy_step(struct process *process) {
    if (!space_destroy(&process->space))
        return false;
    for (unsigned i = 0; i < HANDLE_PAGES; i++) {
        struct handle *page = process->handles[i];
        for (unsigned n = 0; page != NULL && n < HANDLES_IN_PAGE; n++)
            if (page[n].object != NULL) {
                handle_close(process, i * HANDLES_IN_PAGE + n);
                return false;
            }
        process->handles[i] = NULL;
        quota_free_page(process->object.quota, page);
        if (page != NULL)
            return false;
    }
    return true;
}

static bool process_destroy(struct object *object) {
    struct process *process = CONTAINER_OF(object, struct process, object);
    // One that never had a thread, and that nobody ended.
    if (!process->is_gone && !destroy_step(process))
        return false;
    event_unbind(&process->end);
    object_unref(&process->group->object);
    return true;
}

const struct object_kind process_kind = {OBJECT_PROCESS, process_destroy};

static struct handle *handle_slot(struct process *process, uint64_t number) {
    number = index_mask(number, HANDLE_COUNT);
    struct handle *page = process->handles[number / HANDLES_IN_PAGE];
    return page != NULL ? &page[number % HANDLES_IN_PAGE] : NULL;
}

// The number of a free slot, whose page exists; 0: none.
static uint32_t handle_reserve(struct process *process) {
    for (uint32_t i = process->handle_hint; i < HANDLE_COUNT; i++) {
        struct handle **page = &process->handles[i / HANDLES_IN_PAGE];
        if (*page == NULL)
            *page = quota_alloc_page(process->object.quota);
        if (*page == NULL)
            return 0;
        if ((*page)[i % HANDLES_IN_PAGE].object == NULL)
            return i;
    }
    return 0;
}

int64_t handle_put(struct process *process, const struct handle *handle) {
    int64_t result = -ABI_ERROR_CLOSED;
    lock_take(&process->lock);
    if (!process->is_torn_down) {
        uint32_t number = handle_reserve(process);
        result = number != 0 ? (int64_t)number : -ABI_ERROR_MEMORY;
        if (number != 0) {
            *handle_slot(process, number) = *handle;
            process->handle_hint = number + 1;
        }
    }
    lock_drop(&process->lock);
    if (result < 0)
        object_unref(handle->object);
    return result;
}

int handle_get(struct process *process, uint64_t number, uint32_t type, uint64_t rights,
               struct handle *has) {
    if (number == 0 || number >= HANDLE_COUNT)
        return ABI_ERROR_HANDLE;
    int error = ABI_OK;
    lock_take(&process->lock);
    struct handle *handle = handle_slot(process, number);
    if (handle == NULL || handle->object == NULL ||
        (type != OBJECT_NONE && handle->object->kind->type != type)) {
        error = ABI_ERROR_HANDLE;
    } else if ((handle->rights & rights) != rights) {
        error = ABI_ERROR_RIGHTS;
    } else {
        x86_lfence(); // what is not so must not be used in what the processor only supposes, either
        *has = *handle;
        object_ref(has->object);
    }
    lock_drop(&process->lock);
    return error;
}

int handle_close(struct process *process, uint64_t number) {
    struct object *object = NULL;
    if (number == 0 || number >= HANDLE_COUNT)
        return ABI_ERROR_HANDLE;
    lock_take(&process->lock);
    struct handle *handle = handle_slot(process, number);
    if (handle != NULL && handle->object != NULL) {
        object = handle->object;
        handle->object = NULL;
        __atomic_store_n(&process->closings, process->closings + 1, __ATOMIC_RELEASE);
        process->handle_hint = MIN(process->handle_hint, (uint32_t)number);
    }
    lock_drop(&process->lock);
    if (object == NULL)
        return ABI_ERROR_HANDLE;
    object_unref(object);
    return ABI_OK;
}

// With the lock.
static void remove_thread(struct process *process, struct thread *thread) {
    struct thread **link = &process->threads;
    while (*link != thread)
        link = &(*link)->process_next;
    *link = thread->process_next;
    process->thread_count--;
    thread_add_usage(thread, &process->usage);
    if (thread->class != THREAD_SHARED)
        group_unpin(thread->group, thread->cpu->index);
}

// Gives all back. `last` is a thread of the process until then: its CPU, if it has one of its own,
// is nobody else's yet.
static void finish(struct process *process, struct thread *last) {
    while (!destroy_step(process))
        thread_preempt();
    object_finish();
    lock_take(&process->lock);
    if (last != NULL)
        remove_thread(process, last);
    process->is_gone = true;
    lock_drop(&process->lock);
    event_notify(&process->end);
}

void process_end(struct process *process, const struct abi_process_status *status) {
    lock_take(&process->lock);
    if (!process->is_ending) {
        process->status = *status;
        __atomic_store_n(&process->is_ending, 1, __ATOMIC_RELEASE);
    }
    for (struct thread *t = process->threads; t != NULL; t = t->process_next)
        thread_interrupt(t);
    bool is_first = process->thread_count == 0 && !process->is_torn_down;
    bool is_over = process->is_gone;
    process->is_torn_down = process->is_torn_down || is_first;
    lock_drop(&process->lock);
    if (is_first)
        finish(process, NULL);
    if (is_over)
        event_notify(&process->end);
}

int64_t call_process_status(struct call *c) {
    struct process *process = CALL_OBJECT(c, 0, process);
    lock_take(&process->lock);
    c->data.status = process->status;
    // Ended means gone: its threads may still be on their way out.
    if (!process->is_gone)
        c->data.status.state = ABI_PROCESS_RUNNING;
    lock_drop(&process->lock);
    return 0;
}

int64_t call_process_usage(struct call *c) {
    struct process *process = CALL_OBJECT(c, 0, process);
    lock_take(&process->lock);
    c->data.usage = process->usage;
    for (const struct thread *t = process->threads; t != NULL; t = t->process_next)
        thread_add_usage(t, &c->data.usage);
    lock_drop(&process->lock);
    return 0;
}

bool process_join(struct process *process, struct thread *thread) {
    lock_take(&process->lock);
    bool is_open = !process->is_ending && process->thread_count < THREADS_MAX;
    if (is_open) {
        thread->process_next = process->threads;
        process->threads = thread;
        process->thread_count++;
        thread_wake(thread); // with the lock: nobody can end the process, and free it, before
    }
    lock_drop(&process->lock);
    return is_open;
}

void process_leave(struct process *process, struct thread *thread) {
    lock_take(&process->lock);
    bool is_last = process->thread_count == 1;
    if (is_last && !process->is_ending) {
        process->status = (struct abi_process_status){.state = ABI_PROCESS_EXITED};
        __atomic_store_n(&process->is_ending, 1, __ATOMIC_RELEASE);
    }
    process->is_torn_down = is_last;
    if (!is_last)
        remove_thread(process, thread);
    lock_drop(&process->lock);
    if (is_last)
        finish(process, thread);
}
