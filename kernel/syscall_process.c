// SPDX-License-Identifier: Apache-2.0
// The system calls on handles, quotas, memory objects, processes, threads and groups
// (include/calls.h).
#include "kernel/group.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"

int64_t call_handle_close(struct call *c) {
    return -handle_close(thread_current()->process, c->a[0]);
}

int64_t call_handle_copy(struct call *c) {
    struct handle copy = c->handle[1];
    copy.rights &= c->a[2];
    copy.mask &= c->a[3];
    object_ref(copy.object);
    return handle_put(CALL_OBJECT(c, 0, process), &copy);
}

// A part of a quota may be used as the whole may, and no further.
int64_t call_quota_create(struct call *c) {
    struct quota *quota = NULL;
    if (c->a[1] <= INT64_MAX)
        quota = quota_create(CALL_OBJECT(c, 0, quota), c->a[1]);
    if (quota == NULL)
        return -ABI_ERROR_MEMORY;
    event_bind(&quota->empty, call_event(c, 2), c->a[3]);
    return handle_insert(thread_current()->process, &quota->object, c->handle[0].rights);
}

int64_t call_memory_create(struct call *c) {
    if (c->a[1] == 0 || c->a[1] > MEMORY_SIZE_MAX)
        return -ABI_ERROR_ARGUMENT;
    struct memory *memory = memory_create(CALL_OBJECT(c, 0, quota), c->a[1]);
    return memory != NULL ? call_give(&memory->object) : -ABI_ERROR_MEMORY;
}

int64_t call_memory_commit(struct call *c) {
    struct memory *memory = CALL_OBJECT(c, 0, memory);
    uint64_t offset = c->a[1], size = c->a[2];
    if (size == 0 || range_exceeds(offset, size, memory->size))
        return -ABI_ERROR_ARGUMENT;
    // One run is the bounded piece: at most 2 MiB to clear.
    struct memory_run run = memory_get(memory, offset, NULL);
    return (int64_t)MIN(size, run.offset + run.size - offset);
}

int64_t call_memory_size(struct call *c) {
    return (int64_t)CALL_OBJECT(c, 0, memory)->size;
}

// Who may make processes is who ends them: a VMM may not, so nothing of it outlives it.
int64_t call_process_create(struct call *c) {
    struct process *process = process_create(CALL_OBJECT(c, 0, quota), CALL_OBJECT(c, 3, group),
                                             call_event(c, 1), c->a[2]);
    return process != NULL ? call_give(&process->object) : -ABI_ERROR_MEMORY;
}

int64_t call_process_map(struct call *c) {
    return -space_map(&CALL_OBJECT(c, 0, process)->space, CALL_OBJECT(c, 1, memory), c->a[2],
                      c->a[3], c->a[4], c->a[5]);
}

int64_t call_process_unmap(struct call *c) {
    return -space_unmap(&CALL_OBJECT(c, 0, process)->space, c->a[1], c->a[2]);
}

int64_t call_process_kill(struct call *c) {
    struct abi_process_status status = {ABI_PROCESS_EXITED, (uint32_t)c->a[1], 0, 0, 0, 0};
    process_end(CALL_OBJECT(c, 0, process), &status);
    return 0;
}

int64_t call_thread_create(struct call *c) {
    return -thread_create(CALL_OBJECT(c, 0, process), c->a[1], c->a[2], c->a[3], (uint32_t)c->a[4]);
}

int64_t call_thread_exit(struct call *c) {
    (void)c;
    thread_exit();
}

int64_t call_thread_yield(struct call *c) {
    (void)c;
    thread_yield();
    return 0;
}

int64_t call_group_create(struct call *c) {
    int error;
    struct group *group = group_create(CALL_OBJECT(c, 1, quota), &c->data.group, &error);
    return group != NULL ? call_give(&group->object) : -error;
}
