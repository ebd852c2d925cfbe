// SPDX-License-Identifier: Apache-2.0
// The system calls on VMs and vCPUs (include/calls.h).
#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/memory.h"
#include "kernel/quota.h"
#include "kernel/syscall.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"
#include "lib/index.h"

int64_t call_vm_create(struct call *c) {
    int error;
    struct vm *vm = vm_create(CALL_OBJECT(c, 0, quota), c->a[1], &error);
    return vm != NULL ? call_give(&vm->object) : -error;
}

int64_t call_vm_map(struct call *c) {
    struct memory *memory = CALL_OBJECT(c, 1, memory);
    if (memory->kind == MEMORY_DEVICE)
        return -ABI_ERROR_ARGUMENT;
    return -space_map(&CALL_OBJECT(c, 0, vm)->space, memory, c->a[2], c->a[3], c->a[4], c->a[5]);
}

int64_t call_vm_unmap(struct call *c) {
    return -space_unmap(&CALL_OBJECT(c, 0, vm)->space, c->a[1], c->a[2]);
}

int64_t call_vm_cpuid(struct call *c) {
    struct vm *vm = CALL_OBJECT(c, 0, vm);
    uint64_t count = c->a[2];
    if (count > ABI_CPUID_MAX)
        return -ABI_ERROR_ARGUMENT;
    struct abi_cpuid *table = quota_alloc_page(vm->object.quota);
    if (table == NULL)
        return -ABI_ERROR_MEMORY;
    int error = ABI_ERROR_ADDRESS;
    if (user_read(table, c->a[1], count * sizeof(*table)))
        error = vm_set_cpuid(vm, table, (uint32_t)count);
    if (error != ABI_OK)
        quota_free_page(vm->object.quota, table);
    return -error;
}

int64_t call_vm_interrupt(struct call *c) {
    return vlapic_deliver_message(CALL_OBJECT(c, 0, vm), c->a[1], (uint32_t)c->a[2]);
}

int64_t call_vm_doorbell(struct call *c) {
    return -vm_bind_doorbell(CALL_OBJECT(c, 0, vm), (uint16_t)c->a[1], call_event(c, 2), c->a[3]);
}

int64_t call_vcpu_create(struct call *c) {
    int error;
    if (c->a[1] >= VM_VCPUS_MAX)
        return -ABI_ERROR_ARGUMENT;
    struct vcpu *vcpu =
        vcpu_create(CALL_OBJECT(c, 0, vm), (uint32_t)index_mask(c->a[1], VM_VCPUS_MAX), &error);
    return vcpu != NULL ? call_give(&vcpu->object) : -error;
}

int64_t call_vcpu_page(struct call *c) {
    struct vcpu *vcpu = CALL_OBJECT(c, 0, vcpu);
    struct memory *memory = memory_create_page(vcpu->vm->object.quota, vcpu->page, &vcpu->object);
    return memory != NULL ? call_give(&memory->object) : -ABI_ERROR_MEMORY;
}

int64_t call_vcpu_signal(struct call *c) {
    return -vcpu_signal(CALL_OBJECT(c, 0, vcpu), c->a[1], c->a[2]);
}

// Through a kernel page: user memory may fault, and the vCPU is claimed meanwhile.
static int64_t move_state(const struct call *c, bool is_write) {
    struct vcpu *vcpu = CALL_OBJECT(c, 0, vcpu);
    size_t size = vcpu_state_size(c->a[1]);
    if (size == 0 || size != c->a[3])
        return -ABI_ERROR_ARGUMENT;
    void *page = kernel_page_alloc();
    if (page == NULL)
        return -ABI_ERROR_MEMORY;
    int error = ABI_ERROR_ADDRESS;
    if (!is_write)
        error = vcpu_read_state(vcpu, c->a[1], page);
    else if (user_read(page, c->a[2], size))
        error = vcpu_write_state(vcpu, c->a[1], page);
    if (!is_write && error == ABI_OK && !user_write(c->a[2], page, size))
        error = ABI_ERROR_ADDRESS;
    kernel_page_free(page);
    return -error;
}

int64_t call_vcpu_read(struct call *c) {
    return move_state(c, false);
}

int64_t call_vcpu_write(struct call *c) {
    return move_state(c, true);
}

// The APIC's registers are the owner thread's: only it may ask, between two runs.
static int64_t use_apic(const struct call *c, bool is_write) {
    struct vcpu *vcpu = CALL_OBJECT(c, 0, vcpu);
    int64_t value = 0;
    if (c->a[1] >= 0x400 || !is_aligned(c->a[1], 16))
        return -ABI_ERROR_ARGUMENT;
    if (thread_current()->vcpu != vcpu || !vcpu_claim(vcpu))
        return -ABI_ERROR_AGAIN;
    if (is_write)
        vlapic_mmio_write(vcpu, (uint32_t)c->a[1], (uint32_t)c->a[2]);
    else
        value = vlapic_mmio_read(vcpu, (uint32_t)c->a[1]);
    vcpu_unclaim(vcpu);
    return value;
}

int64_t call_vcpu_apic_read(struct call *c) {
    return use_apic(c, false);
}

int64_t call_vcpu_apic_write(struct call *c) {
    return use_apic(c, true);
}
