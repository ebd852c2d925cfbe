// SPDX-License-Identifier: Apache-2.0
// The system calls as C functions, for every ring-3 program. What each one does, needs and returns
// stands in include/abi.h; here is only the way into the kernel: one `call` of the page of code at
// ABI_STUB_ADDRESS.
//
// All return what the kernel returned: a value >= 0 (most often 0 or a new handle), or the negated
// enum abi_error.
//
// The `call` pushes below the stack pointer behind the compiler's back: programs that include this
// header are compiled with -mno-red-zone.
#pragma once

#include "include/abi.h"

// RCX, RDX and R11 are lost in the kernel, everything else is kept (include/abi.h, "How to call").
#define SYSCALL_ENTER     "call %P[stub]"
#define SYSCALL_STUB      [stub] "i"(ABI_STUB_ADDRESS)
#define SYSCALL_CLOBBERED "rcx", "rdx", "r11", "memory", "cc"

static inline int64_t syscall_0(enum abi_call call) {
    int64_t result;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_1(enum abi_call call, uint64_t a) {
    int64_t result;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_2(enum abi_call call, uint64_t a, uint64_t b) {
    int64_t result;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_3(enum abi_call call, uint64_t a, uint64_t b, uint64_t c) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_4(enum abi_call call, uint64_t a, uint64_t b, uint64_t c,
                                uint64_t d) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_5(enum abi_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    register uint64_t r10 __asm__("r10") = e;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), "r"(r10), SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

static inline int64_t syscall_6(enum abi_call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                uint64_t e, uint64_t f) {
    int64_t result;
    register uint64_t r8 __asm__("r8") = c;
    register uint64_t r9 __asm__("r9") = d;
    register uint64_t r10 __asm__("r10") = e;
    register uint64_t r12 __asm__("r12") = f;
    __asm__ volatile(SYSCALL_ENTER
                     : "=a"(result)
                     : "0"((uint64_t)call), "D"(a), "S"(b), "r"(r8), "r"(r9), "r"(r10), "r"(r12),
                       SYSCALL_STUB
                     : SYSCALL_CLOBBERED);
    return result;
}

// ---- handles ------------------------------------------------------------------------------------

static inline int64_t sys_handle_close(uint32_t handle) {
    return syscall_1(ABI_HANDLE_CLOSE, handle);
}

static inline int64_t sys_handle_copy(uint32_t process, uint32_t handle, uint32_t rights,
                                      uint64_t mask) {
    return syscall_4(ABI_HANDLE_COPY, process, handle, rights, mask);
}

// ---- memory -------------------------------------------------------------------------------------

static inline int64_t sys_quota_create(uint32_t quota, uint64_t bytes, uint32_t event,
                                       uint64_t mask) {
    return syscall_4(ABI_QUOTA_CREATE, quota, bytes, event, mask);
}

static inline int64_t sys_quota_read(uint32_t quota, struct abi_quota_info *info) {
    return syscall_2(ABI_QUOTA_READ, quota, (uintptr_t)info);
}

static inline int64_t sys_memory_create(uint32_t quota, uint64_t size) {
    return syscall_3(ABI_MEMORY_CREATE, quota, size, 0);
}

static inline int64_t sys_memory_commit(uint32_t memory, uint64_t offset, uint64_t size) {
    return syscall_3(ABI_MEMORY_COMMIT, memory, offset, size);
}

static inline int64_t sys_memory_size(uint32_t memory) {
    return syscall_1(ABI_MEMORY_SIZE, memory);
}

// ---- processes and threads ----------------------------------------------------------------------

static inline int64_t sys_process_create(uint32_t quota, uint32_t event, uint64_t mask,
                                         uint32_t group) {
    return syscall_4(ABI_PROCESS_CREATE, quota, event, mask, group);
}

static inline int64_t sys_process_map(uint32_t process, uint32_t memory, uint64_t address,
                                      uint64_t offset, uint64_t size, uint32_t rights) {
    return syscall_6(ABI_PROCESS_MAP, process, memory, address, offset, size, rights);
}

static inline int64_t sys_process_unmap(uint32_t process, uint64_t address, uint64_t size) {
    return syscall_3(ABI_PROCESS_UNMAP, process, address, size);
}

static inline int64_t sys_process_status(uint32_t process, struct abi_process_status *status) {
    return syscall_2(ABI_PROCESS_STATUS, process, (uintptr_t)status);
}

static inline int64_t sys_process_kill(uint32_t process, uint32_t status) {
    return syscall_2(ABI_PROCESS_KILL, process, status);
}

// Ends the caller's own process.
_Noreturn static inline void sys_process_exit(uint32_t status) {
    for (;;)
        (void)syscall_2(ABI_PROCESS_KILL, 0, status);
}

static inline int64_t sys_thread_create(uint32_t process, uint64_t entry, uint64_t stack,
                                        uint64_t argument, uint32_t cpu) {
    return syscall_5(ABI_THREAD_CREATE, process, entry, stack, argument, cpu);
}

_Noreturn static inline void sys_thread_exit(void) {
    for (;;)
        (void)syscall_0(ABI_THREAD_EXIT);
}

static inline int64_t sys_thread_yield(void) {
    return syscall_0(ABI_THREAD_YIELD);
}

// ---- events and channels ------------------------------------------------------------------------

static inline int64_t sys_event_create(uint32_t quota) {
    return syscall_1(ABI_EVENT_CREATE, quota);
}

static inline int64_t sys_event_signal(uint32_t event, uint64_t mask) {
    return syscall_2(ABI_EVENT_SIGNAL, event, mask);
}

static inline int64_t sys_event_wait(uint32_t event, uint64_t deadline_tsc, uint64_t *bits) {
    return syscall_4(ABI_EVENT_WAIT, event, deadline_tsc, (uintptr_t)bits, UINT64_MAX);
}

static inline int64_t sys_event_wait_for(uint32_t event, uint64_t mask, uint64_t deadline_tsc,
                                         uint64_t *bits) {
    return syscall_4(ABI_EVENT_WAIT, event, deadline_tsc, (uintptr_t)bits, mask);
}

static inline int64_t sys_channel_create(uint32_t quota, uint32_t handles[2]) {
    return syscall_2(ABI_CHANNEL_CREATE, quota, (uintptr_t)handles);
}

static inline int64_t sys_channel_bind(uint32_t channel, uint32_t event, uint64_t mask) {
    return syscall_3(ABI_CHANNEL_BIND, channel, event, mask);
}

static inline int64_t sys_channel_send(uint32_t channel, const void *message, size_t size) {
    return syscall_3(ABI_CHANNEL_SEND, channel, (uintptr_t)message, size);
}

static inline int64_t sys_channel_receive(uint32_t channel, void *message, size_t size) {
    return syscall_3(ABI_CHANNEL_RECEIVE, channel, (uintptr_t)message, size);
}

// ---- virtual machines ---------------------------------------------------------------------------

static inline int64_t sys_vm_create(uint32_t quota, uint64_t tsc_hz) {
    return syscall_2(ABI_VM_CREATE, quota, tsc_hz);
}

static inline int64_t sys_vm_map(uint32_t vm, uint32_t memory, uint64_t gpa, uint64_t offset,
                                 uint64_t size, uint32_t rights) {
    return syscall_6(ABI_VM_MAP, vm, memory, gpa, offset, size, rights);
}

static inline int64_t sys_vm_unmap(uint32_t vm, uint64_t gpa, uint64_t size) {
    return syscall_3(ABI_VM_UNMAP, vm, gpa, size);
}

static inline int64_t sys_vm_cpuid(uint32_t vm, const struct abi_cpuid *table, size_t count) {
    return syscall_3(ABI_VM_CPUID, vm, (uintptr_t)table, count);
}

static inline int64_t sys_vm_interrupt(uint32_t vm, uint64_t address, uint32_t data) {
    return syscall_3(ABI_VM_INTERRUPT, vm, address, data);
}

static inline int64_t sys_vm_doorbell(uint32_t vm, uint16_t port, uint32_t event, uint64_t mask) {
    return syscall_4(ABI_VM_DOORBELL, vm, port, event, mask);
}

static inline int64_t sys_vcpu_create(uint32_t vm, uint32_t index) {
    return syscall_2(ABI_VCPU_CREATE, vm, index);
}

static inline int64_t sys_vcpu_page(uint32_t vcpu) {
    return syscall_1(ABI_VCPU_PAGE, vcpu);
}

static inline int64_t sys_vcpu_run(uint32_t vcpu) {
    return syscall_1(ABI_VCPU_RUN, vcpu);
}

static inline int64_t sys_vcpu_signal(uint32_t vcpu, enum vcpu_signal signal, uint64_t value) {
    return syscall_3(ABI_VCPU_SIGNAL, vcpu, signal, value);
}

static inline int64_t sys_vcpu_read(uint32_t vcpu, enum vcpu_state_group group, void *state,
                                    size_t size) {
    return syscall_4(ABI_VCPU_READ, vcpu, group, (uintptr_t)state, size);
}

static inline int64_t sys_vcpu_write(uint32_t vcpu, enum vcpu_state_group group, const void *state,
                                     size_t size) {
    return syscall_4(ABI_VCPU_WRITE, vcpu, group, (uintptr_t)state, size);
}

static inline int64_t sys_vcpu_apic_read(uint32_t vcpu, uint32_t offset) {
    return syscall_2(ABI_VCPU_APIC_READ, vcpu, offset);
}

static inline int64_t sys_vcpu_apic_write(uint32_t vcpu, uint32_t offset, uint32_t value) {
    return syscall_3(ABI_VCPU_APIC_WRITE, vcpu, offset, value);
}

// ---- the machine --------------------------------------------------------------------------------

static inline int64_t sys_system_info(uint32_t system, struct abi_system_info *info) {
    return syscall_2(ABI_SYSTEM_INFO, system, (uintptr_t)info);
}

static inline int64_t sys_console_write(uint32_t system, const char *text, size_t size) {
    return syscall_3(ABI_CONSOLE_WRITE, system, (uintptr_t)text, size);
}

static inline int64_t sys_console_read(uint32_t system, char *text, size_t size) {
    return syscall_3(ABI_CONSOLE_READ, system, (uintptr_t)text, size);
}

static inline int64_t sys_console_bind(uint32_t system, uint32_t event, uint64_t mask) {
    return syscall_3(ABI_CONSOLE_BIND, system, event, mask);
}

static inline int64_t sys_system_power(uint32_t system, enum abi_power power) {
    return syscall_2(ABI_SYSTEM_POWER, system, power);
}

static inline int64_t sys_system_cpu(uint32_t system, uint32_t cpu, struct abi_cpu_info *info) {
    return syscall_3(ABI_SYSTEM_CPU, system, cpu, (uintptr_t)info);
}

static inline int64_t sys_system_audit(uint32_t system, struct abi_audit *audit) {
    return syscall_2(ABI_SYSTEM_AUDIT, system, (uintptr_t)audit);
}

// ---- scheduling ---------------------------------------------------------------------------------

static inline int64_t sys_group_create(uint32_t system, uint32_t quota,
                                       const struct abi_group *group) {
    return syscall_3(ABI_GROUP_CREATE, system, quota, (uintptr_t)group);
}

static inline int64_t sys_group_write(uint32_t group, const struct abi_group *values) {
    return syscall_2(ABI_GROUP_WRITE, group, (uintptr_t)values);
}

static inline int64_t sys_process_usage(uint32_t process, struct abi_usage *usage) {
    return syscall_2(ABI_PROCESS_USAGE, process, (uintptr_t)usage);
}
