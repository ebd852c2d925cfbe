// SPDX-License-Identifier: Apache-2.0
// See kernel/process.h.
#include "kernel/process.h"

#include "arch/traps.h"
#include "kernel/audit.h"
#include "kernel/frame.h"
#include "kernel/group.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/smp.h"
#include "kernel/space.h"
#include "kernel/thread.h"
#include "lib/index.h"
#include "lib/string.h"

#define STEP_TABLES   64u                   // that one step of the end gives back
#define THREADS_MAX   128u                  // of a process: a vCPU each, and some
#define CANARY_OFFSET 0x28u                 // from FS's base, as the x86-64 psABI's compilers do
#define CANARY_MIX    0x9e3779b97f4a7c15ULL // spreads the TSC's bits

static hpa_t stub_frame;

// The code page that every process has at ABI_STUB_ADDRESS is one frame for all.
static bool map_stub(struct process *process) {
    if (stub_frame.v == 0) {
        void *page = kernel_page_alloc();
        if (page == NULL)
            return false;
        memcpy(page, stub_begin, (size_t)(stub_end - stub_begin));
        *(uint64_t *)((uint8_t *)page + CANARY_OFFSET) = x86_rdtsc() * CANARY_MIX;
        stub_frame = frame_of_kernel(page);
    }
    if (!pt_map(&process->pt, ABI_STUB_ADDRESS, stub_frame, PAGE_SIZE,
                PT_READ | PT_EXECUTE | PT_USER))
        return false;
    space_user_show(process->user_root, &process->pt, ABI_STUB_ADDRESS);
    return true;
}

struct process *process_create(struct quota *quota, struct group *group, struct event *event,
                               uint64_t mask) {
    struct process *process = quota_alloc_page(quota);
    if (process == NULL)
        return NULL;
    object_init(&process->object, &process_kind);
    lock_init(&process->lock, LOCK_PROCESS);
    process->quota = quota;
    process->regions = region_list_create(quota);
    bool has_root = process->regions != NULL && space_process_init(&process->pt, quota);
    if (!has_root || !space_user_init(&process->user_root, quota) || !map_stub(process)) {
        space_user_free(&process->user_root, quota);
        if (has_root)
            (void)space_process_destroy(&process->pt, UINT64_MAX);
        if (process->regions != NULL)
            quota_free_page(quota, process->regions);
        quota_free_page(quota, process);
        return NULL;
    }
    object_ref(&quota->object);
    object_ref(&group->object);
    process->group = group;
    event_bind(&process->end, event, mask);
    process->handle_hint = 1;
    object_list(&process->object);
    return process;
}

hpa_t process_stub_frame(void) {
    return stub_frame;
}

static void drop_handle(struct process *process, unsigned page) {
    struct handle *handles = process->handles[page];
    for (unsigned i = 0; i < HANDLES_IN_PAGE; i++) {
        if (handles[i].object == NULL)
            continue;
        handle_close(process, page * HANDLES_IN_PAGE + i);
        return;
    }
    process->handles[page] = NULL;
    quota_free_page(process->quota, handles);
}

// A bounded part of everything but the struct itself, which handles may still name. No thread is in
// its space any more. The tables go before the memory that they map. True: that was the last.
static bool teardown_step(struct process *process) {
    space_user_free(&process->user_root, process->quota);
    if (process->pt.root.v != 0) {
        (void)space_process_destroy(&process->pt, STEP_TABLES);
        return false;
    }
    if (region_drop(process->regions))
        return false;
    for (unsigned i = 0; i < HANDLE_PAGES; i++) {
        if (process->handles[i] == NULL)
            continue;
        drop_handle(process, i);
        return false;
    }
    quota_free_page(process->quota, process->regions);
    return true;
}

static void teardown(struct process *process) {
    while (!teardown_step(process))
        thread_preempt();
    object_finish();
}

static bool process_destroy(struct object *object) {
    struct process *process = CONTAINER_OF(object, struct process, object);
    struct quota *quota = process->quota;
    // One that never had a thread, and that nobody ended.
    if (!process->is_gone && !teardown_step(process))
        return false;
    object_unlist(object);
    event_unbind(&process->end);
    object_unref(&process->group->object);
    quota_free_page(quota, process);
    object_unref(&quota->object);
    return true;
}

const struct object_kind process_kind = {OBJECT_PROCESS, process_destroy};

static bool is_map_valid(uint64_t address, uint64_t offset, uint64_t size, uint64_t rights,
                         const struct memory *memory) {
    uint64_t rwx = rights & (ABI_RIGHT_READ | ABI_RIGHT_WRITE | ABI_RIGHT_EXECUTE);
    bool is_wx = (rwx & ABI_RIGHT_WRITE) != 0 && (rwx & ABI_RIGHT_EXECUTE) != 0;
    return is_aligned(address | offset | size, PAGE_SIZE) && size > 0 && rights == rwx &&
           (rwx & ABI_RIGHT_READ) != 0 && !is_wx && !range_exceeds(offset, size, memory->size) &&
           address >= ABI_USER_BASE && !range_exceeds(address, size, ABI_USER_END);
}

int process_map(struct process *process, struct memory *memory, uint64_t address, uint64_t offset,
                uint64_t size, uint64_t rights) {
    bool is_start = address == ABI_START_ADDRESS && size <= ABI_START_PAGES * PAGE_SIZE &&
                    rights == ABI_RIGHT_READ && is_aligned(offset | size, PAGE_SIZE) && size > 0 &&
                    !range_exceeds(offset, size, memory->size);
    if (!is_start && !is_map_valid(address, offset, size, rights, memory))
        return ABI_ERROR_ARGUMENT;
    struct region region = {address, size, memory, offset, rights};
    lock_take(&process->lock);
    int error = process->is_torn_down ? ABI_ERROR_CLOSED : region_insert(process->regions, &region);
    lock_drop(&process->lock);
    return error;
}

int process_unmap(struct process *process, uint64_t address, uint64_t size) {
    struct memory *memory = NULL;
    int error = ABI_OK;
    bool is_unmapped = false;
    // Between the steps somebody else may take the rest.
    while (error == ABI_OK && memory == NULL) {
        uint64_t step = 0;
        lock_take(&process->lock);
        if (process->is_torn_down)
            error = ABI_ERROR_CLOSED;
        else if ((step = region_unmap(process->regions, &process->pt, address, size, &memory)) == 0)
            error = ABI_ERROR_ARGUMENT;
        else
            AUDIT_PROCESS(process);
        lock_drop(&process->lock);
        is_unmapped = is_unmapped || step > 0;
        address += step;
        size -= step;
        if (memory == NULL) // the last is flushed at once
            thread_preempt();
    }
    if (is_unmapped)
        smp_flush_root(process->pt.root);
    if (memory != NULL)
        object_unref(&memory->object);
    return error;
}

bool process_fault(struct process *process, uint64_t address, uint64_t right) {
    bool is_mapped = false;
    lock_take(&process->lock);
    const struct region *region = region_find(process->regions, address);
    if (region != NULL && (region->rights & right) != 0) {
        is_mapped = region_populate(region, &process->pt, align_down(address, PAGE_SIZE),
                                    region_rights(region) | PT_USER);
        space_user_show(process->user_root, &process->pt, address);
        AUDIT_PROCESS(process);
    }
    lock_drop(&process->lock);
    return is_mapped;
}

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
            *page = quota_alloc_page(process->quota);
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
        process->handle_hint = MIN(process->handle_hint, (uint32_t)number);
    }
    lock_drop(&process->lock);
    if (object == NULL)
        return ABI_ERROR_HANDLE;
    object_unref(object);
    return ABI_OK;
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
    if (is_first) {
        teardown(process);
        lock_take(&process->lock);
        process->is_gone = true;
        lock_drop(&process->lock);
    }
    if (is_first || is_over)
        event_notify(&process->end);
}

struct abi_process_status process_get_status(struct process *process) {
    lock_take(&process->lock);
    struct abi_process_status status = process->status;
    // Ended means gone: its threads may still be on their way out.
    if (!process->is_gone)
        status.state = ABI_PROCESS_RUNNING;
    lock_drop(&process->lock);
    return status;
}

void process_read_usage(struct process *process, struct abi_usage *usage) {
    lock_take(&process->lock);
    *usage = process->usage;
    for (const struct thread *t = process->threads; t != NULL; t = t->process_next)
        thread_add_usage(t, usage);
    lock_drop(&process->lock);
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
    if (!is_last)
        return;
    // A thread of the process to the last: its CPU, if it has one of its own, is nobody else's yet.
    teardown(process);
    lock_take(&process->lock);
    remove_thread(process, thread);
    process->is_gone = true;
    lock_drop(&process->lock);
    event_notify(&process->end);
}
