// SPDX-License-Identifier: Apache-2.0
// Between the files that hold the system calls. `kernel/syscall.c` has the table and the calls on
// handles, memory, processes, events and channels; syscall_vm.c those on VMs and vCPUs;
// drivers/syscall_system.c those on the machine.
#pragma once

#include "include/abi.h"
#include "kernel/event.h"
#include "kernel/object.h"

struct syscall {
    uint64_t a[6];
};

// The caller's object behind a handle, with a reference that the callee has to drop.
int syscall_get(uint64_t number, enum object_type type, uint64_t rights, struct object **object);
// An event on which the caller may signal all of `mask`; number 0: NULL.
int syscall_get_event(uint64_t number, uint64_t mask, struct event **event);
void syscall_drop_event(struct event *event);
// A new handle for the caller, with all rights. Consumes the reference.
int64_t syscall_give(struct object *object);

int64_t call_vm_create(const struct syscall *c);
int64_t call_vm_map(const struct syscall *c);
int64_t call_vm_unmap(const struct syscall *c);
int64_t call_vm_cpuid(const struct syscall *c);
int64_t call_vm_interrupt(const struct syscall *c);
int64_t call_vm_doorbell(const struct syscall *c);
int64_t call_vcpu_create(const struct syscall *c);
int64_t call_vcpu_page(const struct syscall *c);
int64_t call_vcpu_run(const struct syscall *c);
int64_t call_vcpu_signal(const struct syscall *c);
int64_t call_vcpu_read(const struct syscall *c);
int64_t call_vcpu_write(const struct syscall *c);
int64_t call_vcpu_apic_read(const struct syscall *c);
int64_t call_vcpu_apic_write(const struct syscall *c);
int64_t call_system_info(const struct syscall *c);
int64_t call_console_write(const struct syscall *c);
int64_t call_console_read(const struct syscall *c);
int64_t call_console_bind(const struct syscall *c);
int64_t call_system_power(const struct syscall *c);
int64_t call_system_audit(const struct syscall *c);
int64_t call_system_cpu(const struct syscall *c);
