// SPDX-License-Identifier: Apache-2.0
// Processes of ring 3: an address space, a handle table, and threads.
//
// Life: running; then ending (killed, faulted, or its last thread left: `is_ending`); its threads
// leave the kernel one by one; the last one gives everything back, and the end is told to the
// event.
//
// Locks: process->lock (rank LOCK_PROCESS) protects [l].
#pragma once

#include "include/abi.h"
#include "kernel/event.h"
#include "kernel/space.h"

#define HANDLE_PAGES    32
#define HANDLES_IN_PAGE (PAGE_SIZE / sizeof(struct handle))
#define HANDLE_COUNT    (HANDLE_PAGES * HANDLES_IN_PAGE)

struct group;

struct handle {
    struct object *object; // referenced; NULL: free
    uint64_t rights;       // enum abi_rights
    uint64_t mask;         // of an event: the bits that may be signalled by it
    uint64_t reserved;     // a size to shift by: each system call finds some
};

struct process {
    struct object object;
    struct spinlock lock;
    struct space space;
    struct handle *handles[HANDLE_PAGES]; // pages, NULL: not yet [l]
    uint32_t handle_hint;                 // no free handle below [l]
    uint64_t closings;                    // of handles; atomic, written with [l]
    uint32_t thread_count;                // [l]
    struct thread *threads;               // list through thread->process_next [l]
    uint32_t is_ending;                   // atomic
    bool is_torn_down;                    // nothing is added any more [l]
    bool is_gone;                         // all was given back [l]
    struct abi_process_status status;     // [l]
    struct event_binding end;
    struct group *group;    // referenced
    struct abi_usage usage; // of its threads and vCPUs that are no more [l]
};

// NULL: quota used up.
struct process *process_create(struct quota *quota, struct group *group, struct event *event,
                               uint64_t mask);
extern const struct object_kind process_kind; // see kernel/object.h

// The page that all processes share, at ABI_CALL_PAGE.
extern hpa_t process_call_page;

// Handles. handle_put takes a reference in any case and returns the number or a negated error.
int64_t handle_put(struct process *process, const struct handle *handle);
static inline int64_t handle_insert(struct process *process, struct object *object,
                                    uint64_t rights) {
    return handle_put(process,
                      &(struct handle){.object = object, .rights = rights, .mask = UINT64_MAX});
}
// The handle as it stands, with a reference of its object's; `type` OBJECT_NONE: any. 0 or an enum
// abi_error: nothing is written then.
int handle_get(struct process *process, uint64_t number, uint32_t type, uint64_t rights,
               struct handle *has);
int handle_close(struct process *process, uint64_t number);

// Starts to end it: `status` is kept when it is the first. Its threads leave at their next way out.
void process_end(struct process *process, const struct abi_process_status *status);

// A new thread, blocked, joins and starts: false when the process is ending.
bool process_join(struct process *process, struct thread *thread);
// The calling thread, which has left its space, leaves for good; the last one tears the process
// down.
void process_leave(struct process *process, struct thread *thread);
