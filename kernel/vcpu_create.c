// SPDX-License-Identifier: Apache-2.0
// How a vCPU begins and ends: its six pages, and its place in the VM.
#include "kernel/quota.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

_Static_assert(sizeof(struct vcpu) <= PAGE_SIZE, "one page");

// The FPU after power-on: FCW 0x37f, MXCSR 0x1f80 (SDM 3A 10.1.1 "Processor State After Reset").
#define XSAVE_FCW   0
#define XSAVE_MXCSR 24

void vcpu_free(struct vcpu *vcpu) {
    struct quota *quota = vcpu->vm->object.quota;
    quota_free_page(quota, vcpu->page);
    quota_free_page(quota, vcpu->xsave);
    quota_free_page(quota, vcpu->vlapic.page);
    quota_free_page(quota, vcpu->backend);
    quota_free_page(quota, vcpu->control);
    quota_free_page(quota, vcpu);
}

static bool alloc_parts(struct vcpu *vcpu) {
    struct quota *quota = vcpu->vm->object.quota;
    vcpu->page = quota_alloc_page(quota);
    vcpu->xsave = quota_alloc_page(quota);
    vcpu->vlapic.page = quota_alloc_page(quota);
    vcpu->backend = quota_alloc_page(quota);
    vcpu->control = quota_alloc_page(quota);
    if (vcpu->page == NULL || vcpu->xsave == NULL || vcpu->vlapic.page == NULL ||
        vcpu->backend == NULL || vcpu->control == NULL)
        return false;
    *(uint16_t *)((uint8_t *)vcpu->xsave + XSAVE_FCW) = 0x37f;
    *(uint32_t *)((uint8_t *)vcpu->xsave + XSAVE_MXCSR) = 0x1f80;
    return true;
}

static int publish(struct vm *vm, struct vcpu *vcpu) {
    lock_take(&vm->lock);
    bool is_free = vm->vcpus[vcpu->index] == NULL;
    if (is_free) {
        __atomic_store_n(&vm->vcpus[vcpu->index], vcpu, __ATOMIC_RELEASE);
        vm->vcpu_count++;
    }
    lock_drop(&vm->lock);
    return is_free ? ABI_OK : ABI_ERROR_EXISTS;
}

struct vcpu *vcpu_create(struct vm *vm, uint32_t index, int *error) {
    *error = ABI_ERROR_MEMORY;
    struct vcpu *vcpu = quota_alloc_page(vm->object.quota);
    if (vcpu == NULL)
        return NULL;
    object_init(&vcpu->object, &vcpu_kind);
    lock_init(&vcpu->lock, LOCK_VCPU);
    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->activity = index == 0 ? VCPU_ACTIVE : VCPU_WAIT_SIPI;
    vcpu->xcr0 = XCR0_X87;
    vcpu->tsc_offset = vm->tsc_offset;
    vcpu->space_generation_seen = vm->space.generation;
    if (alloc_parts(vcpu)) {
        vlapic_init(vcpu);
        vcpu_backend->vcpu_create(vcpu);
        *error = publish(vm, vcpu);
    }
    if (*error != ABI_OK) {
        vcpu_free(vcpu);
        return NULL;
    }
    object_ref(&vm->object);
    return vcpu;
}

static bool vcpu_destroy(struct object *object) {
    struct vcpu *vcpu = CONTAINER_OF(object, struct vcpu, object);
    vcpu_unload(vcpu);
    vlapic_timer_stop(vcpu);
    object_unref(&vcpu->vm->object);
    return true;
}

const struct object_kind vcpu_kind = {OBJECT_VCPU, vcpu_destroy};
