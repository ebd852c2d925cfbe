// SPDX-License-Identifier: Apache-2.0
// The system calls on VMs and vCPUs (include/abi.h).
#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"
#include "lib/index.h"

static int get_vm(uint64_t number, uint64_t rights, struct vm **vm) {
    struct object *object;
    int error = syscall_get(number, OBJECT_VM, rights, &object);
    if (error == ABI_OK)
        *vm = CONTAINER_OF(object, struct vm, object);
    return error;
}

static int get_vcpu(uint64_t number, uint64_t rights, struct vcpu **vcpu) {
    struct object *object;
    int error = syscall_get(number, OBJECT_VCPU, rights, &object);
    if (error == ABI_OK)
        *vcpu = CONTAINER_OF(object, struct vcpu, object);
    return error;
}

int64_t call_vm_create(const struct syscall *c) {
    struct object *object;
    int error = syscall_get(c->a[0], OBJECT_QUOTA, ABI_RIGHT_CREATE, &object);
    if (error != ABI_OK)
        return -error;
    struct vm *vm = vm_create(CONTAINER_OF(object, struct quota, object), c->a[1], &error);
    object_unref(object);
    return vm != NULL ? syscall_give(&vm->object) : -error;
}

int64_t call_vm_map(const struct syscall *c) {
    struct vm *vm;
    struct object *object;
    uint64_t rights = c->a[5];
    int error = get_vm(c->a[0], ABI_RIGHT_MANAGE, &vm);
    if (error != ABI_OK)
        return -error;
    error = syscall_get(c->a[1], OBJECT_MEMORY, rights, &object);
    if (error == ABI_OK) {
        struct memory *memory = CONTAINER_OF(object, struct memory, object);
        error = vm_map(vm, memory, c->a[2], c->a[3], c->a[4], rights);
        object_unref(object);
    }
    object_unref(&vm->object);
    return -error;
}

int64_t call_vm_unmap(const struct syscall *c) {
    struct vm *vm;
    int error = get_vm(c->a[0], ABI_RIGHT_MANAGE, &vm);
    if (error != ABI_OK)
        return -error;
    error = vm_unmap(vm, c->a[1], c->a[2]);
    object_unref(&vm->object);
    return -error;
}

static int set_cpuid(struct vm *vm, uint64_t address, uint64_t count) {
    if (count > ABI_CPUID_MAX)
        return ABI_ERROR_ARGUMENT;
    struct abi_cpuid *table = quota_alloc_page(vm->quota);
    if (table == NULL)
        return ABI_ERROR_MEMORY;
    int error = ABI_ERROR_ADDRESS;
    if (user_read(table, address, count * sizeof(*table)))
        error = vm_set_cpuid(vm, table, (uint32_t)count);
    if (error != ABI_OK)
        quota_free_page(vm->quota, table);
    return error;
}

int64_t call_vm_cpuid(const struct syscall *c) {
    struct vm *vm;
    int error = get_vm(c->a[0], ABI_RIGHT_MANAGE, &vm);
    if (error != ABI_OK)
        return -error;
    error = set_cpuid(vm, c->a[1], c->a[2]);
    object_unref(&vm->object);
    return -error;
}

int64_t call_vm_interrupt(const struct syscall *c) {
    struct vm *vm;
    int error = get_vm(c->a[0], ABI_RIGHT_WRITE, &vm);
    if (error != ABI_OK)
        return -error;
    int64_t result = -ABI_ERROR_ARGUMENT;
    if (c->a[2] <= UINT32_MAX)
        result = vlapic_deliver_message(vm, c->a[1], (uint32_t)c->a[2]);
    object_unref(&vm->object);
    return result;
}

int64_t call_vm_doorbell(const struct syscall *c) {
    struct vm *vm;
    struct event *event;
    int error = get_vm(c->a[0], ABI_RIGHT_MANAGE, &vm);
    if (error != ABI_OK)
        return -error;
    error = syscall_get_event(c->a[2], c->a[3], &event);
    if (error == ABI_OK) {
        error = ABI_ERROR_ARGUMENT;
        if (c->a[1] <= UINT16_MAX)
            error = vm_bind_doorbell(vm, (uint16_t)c->a[1], event, c->a[3]);
        syscall_drop_event(event);
    }
    object_unref(&vm->object);
    return -error;
}

int64_t call_vcpu_create(const struct syscall *c) {
    struct vm *vm;
    int error = get_vm(c->a[0], ABI_RIGHT_CREATE, &vm);
    if (error != ABI_OK)
        return -error;
    struct vcpu *vcpu = NULL;
    error = ABI_ERROR_ARGUMENT;
    if (c->a[1] < VM_VCPUS_MAX)
        vcpu = vcpu_create(vm, (uint32_t)index_mask(c->a[1], VM_VCPUS_MAX), &error);
    object_unref(&vm->object);
    return vcpu != NULL ? syscall_give(&vcpu->object) : -error;
}

int64_t call_vcpu_page(const struct syscall *c) {
    struct vcpu *vcpu;
    int error = get_vcpu(c->a[0], ABI_RIGHT_RUN, &vcpu);
    if (error != ABI_OK)
        return -error;
    struct memory *memory = memory_create_page(vcpu->vm->quota, vcpu->page, &vcpu->object);
    object_unref(&vcpu->object);
    return memory != NULL ? syscall_give(&memory->object) : -ABI_ERROR_MEMORY;
}

int64_t call_vcpu_run(const struct syscall *c) {
    struct vcpu *vcpu;
    int error = get_vcpu(c->a[0], ABI_RIGHT_RUN, &vcpu);
    if (error != ABI_OK)
        return -error;
    error = vcpu_run(vcpu);
    object_unref(&vcpu->object);
    return -error;
}

int64_t call_vcpu_signal(const struct syscall *c) {
    struct vcpu *vcpu;
    int error = get_vcpu(c->a[0], ABI_RIGHT_WRITE, &vcpu);
    if (error != ABI_OK)
        return -error;
    error = vcpu_signal(vcpu, c->a[1], c->a[2]);
    object_unref(&vcpu->object);
    return -error;
}

static int state_out(struct vcpu *vcpu, const struct syscall *c, void *page, size_t size) {
    int error = vcpu_read_state(vcpu, c->a[1], page);
    return error == ABI_OK && !user_write(c->a[2], page, size) ? ABI_ERROR_ADDRESS : error;
}

static int state_in(struct vcpu *vcpu, const struct syscall *c, void *page, size_t size) {
    return user_read(page, c->a[2], size) ? vcpu_write_state(vcpu, c->a[1], page)
                                          : ABI_ERROR_ADDRESS;
}

// State passes through a kernel page: user memory may fault, and the vCPU is claimed meanwhile.
static int64_t move_state(const struct syscall *c, uint64_t right,
                          int (*move)(struct vcpu *, const struct syscall *, void *, size_t)) {
    struct vcpu *vcpu;
    int error = get_vcpu(c->a[0], right, &vcpu);
    if (error != ABI_OK)
        return -error;
    size_t size = vcpu_state_size(c->a[1]);
    error = ABI_ERROR_ARGUMENT;
    if (size != 0 && size == c->a[3]) {
        void *page = kernel_page_alloc();
        error = page != NULL ? move(vcpu, c, page, size) : ABI_ERROR_MEMORY;
        if (page != NULL)
            kernel_page_free(page);
    }
    object_unref(&vcpu->object);
    return -error;
}

int64_t call_vcpu_read(const struct syscall *c) {
    return move_state(c, ABI_RIGHT_READ, state_out);
}

int64_t call_vcpu_write(const struct syscall *c) {
    return move_state(c, ABI_RIGHT_WRITE, state_in);
}

static bool is_apic_offset(uint64_t offset) {
    return offset < 0x400 && is_aligned(offset, 16);
}

// The registers are the owner thread's: only it may ask, between two runs.
static int get_own_vcpu(uint64_t number, struct vcpu **vcpu) {
    int error = get_vcpu(number, ABI_RIGHT_RUN, vcpu);
    if (error == ABI_OK && thread_current()->vcpu != *vcpu) {
        object_unref(&(*vcpu)->object);
        error = ABI_ERROR_AGAIN;
    }
    return error;
}

int64_t call_vcpu_apic_read(const struct syscall *c) {
    struct vcpu *vcpu;
    int error = get_own_vcpu(c->a[0], &vcpu);
    if (error != ABI_OK)
        return -error;
    int64_t value = -ABI_ERROR_ARGUMENT;
    if (!vcpu_claim(vcpu)) {
        value = -ABI_ERROR_AGAIN;
    } else {
        if (is_apic_offset(c->a[1]))
            value = (int64_t)(uint64_t)vlapic_mmio_read(vcpu, (uint32_t)c->a[1]);
        vcpu_unclaim(vcpu);
    }
    object_unref(&vcpu->object);
    return value;
}

int64_t call_vcpu_apic_write(const struct syscall *c) {
    struct vcpu *vcpu;
    int error = get_own_vcpu(c->a[0], &vcpu);
    if (error != ABI_OK)
        return -error;
    error = ABI_ERROR_ARGUMENT;
    if (!vcpu_claim(vcpu)) {
        error = ABI_ERROR_AGAIN;
    } else {
        if (is_apic_offset(c->a[1]) && c->a[2] <= UINT32_MAX) {
            vlapic_mmio_write(vcpu, (uint32_t)c->a[1], (uint32_t)c->a[2]);
            error = ABI_OK;
        }
        vcpu_unclaim(vcpu);
    }
    object_unref(&vcpu->object);
    return -error;
}
