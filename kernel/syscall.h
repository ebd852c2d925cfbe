// SPDX-License-Identifier: Apache-2.0
// The kernel's side of include/calls.h. `kernel/syscall.c` checks the arguments of a call by its
// description and gets what they name; then one function does the call, call_NAME: those on
// handles, memory, processes and threads are in syscall_process.c, or with what they read (quota.c,
// group.c, process.c); on events in event.c, on VMs and vCPUs in syscall_vm.c, on devices in
// device.c, on the machine in syscall_system.c, on the kernel's lines in log.c.
#pragma once

#include "include/abi.h"
#include "kernel/process.h"

struct call {
    uint64_t a[6]; // the arguments, each of them checked
    // Of those that are handles: as they stand. The object is referenced while the call runs; NULL:
    // the caller named none.
    struct handle handle[6];
    // Of the argument IN or OUT; of no other one: free for the call's own use.
    union {
        uint64_t bits;
        struct abi_quota_info quota;
        struct abi_home home;
        struct abi_process_status status;
        struct abi_system_info info;
        struct abi_group group;
        struct abi_usage usage;
        struct abi_cpu_info cpu;
        struct abi_audit audit;
        struct abi_machine_check machine_check;
        char text[ABI_CONSOLE_MAX];
    } data;
};

// The object of an argument.
#define CALL_OBJECT(c, i, type) CONTAINER_OF((c)->handle[i].object, struct type, object)
static inline struct event *call_event(const struct call *c, unsigned i) {
    return c->handle[i].object != NULL ? CALL_OBJECT(c, i, event) : NULL;
}
// A new handle for the caller, with all rights. Consumes the reference.
int64_t call_give(struct object *object);

// Each returns a value that is not negative, or a negated enum abi_error.
#define CALL(number, NAME, name, ...) int64_t call_##name(struct call *c);
#define HOT_CALL(number, NAME, name, ...)
#include "include/calls.h"
