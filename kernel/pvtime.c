// SPDX-License-Identifier: Apache-2.0
// See kernel/pvtime.h. What the guest makes of its structure meanwhile, from another vCPU, harms
// nobody else: its contents decide nothing here.
#include "kernel/pvtime.h"

#include "arch/tsc.h"
#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"

#define NS_PER_SECOND 1000000000ULL

static uint64_t ns_of(uint64_t ticks) {
    vmtime_wide product = (vmtime_wide)ticks * NS_PER_SECOND;
    if ((uint64_t)(product >> 64) >= tsc_hz)
        return 0; // no time that a machine was up: the TSCs of two CPUs differ
    return x86_div((uint64_t)(product >> 64), (uint64_t)product, tsc_hz);
}

// The structure at `gpa`, in this CPU's window, good as long as the lock of its space is held.
// NULL: the guest has no memory there that it may write, or nobody has used it yet: clearing a
// chunk here would take long.
static struct pvtime_steal *open_locked(struct vm *vm, uint64_t gpa) {
    const struct region *region = region_find(vm->space.regions, gpa);
    if (region == NULL || (region->rights & ABI_RIGHT_WRITE) == 0)
        return NULL;
    uint64_t offset = gpa - region->base + region->offset;
    bool is_cleared = true;
    struct memory_run run = memory_get(region->memory, offset, &is_cleared);
    if (!is_cleared)
        return NULL;
    uint64_t at = run.frame.v + offset - run.offset;
    uint8_t *page = kspace_window((hpa_t){align_down(at, PAGE_SIZE)});
    return (struct pvtime_steal *)(void *)(page + at % PAGE_SIZE);
}

// The version is odd before the change and even behind it, whatever it was.
static void tell(struct vcpu *vcpu, uint64_t ticks, bool is_preempted) {
    lock_take(&vcpu->vm->space.lock);
    struct pvtime_steal *steal = open_locked(vcpu->vm, vcpu->pvtime.steal & ~PVTIME_ENABLE);
    if (steal != NULL) {
        uint32_t odd = __atomic_load_n(&steal->version, __ATOMIC_RELAXED) | 1;
        __atomic_store_n(&steal->version, odd, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
        steal->ns += ns_of(ticks);
        steal->is_preempted = is_preempted;
        __atomic_store_n(&steal->version, odd + 1, __ATOMIC_RELEASE);
    }
    kspace_window_close();
    lock_drop(&vcpu->vm->space.lock);
    vcpu->pvtime.is_preempted = is_preempted;
}

void pvtime_set(struct vcpu *vcpu, uint64_t steal) {
    if (steal != vcpu->pvtime.steal)
        vcpu->pvtime = (struct pvtime){.steal = steal, .waited = UINT64_MAX};
}

void pvtime_preempt(struct vcpu *vcpu) {
    if ((vcpu->pvtime.steal & PVTIME_ENABLE) != 0)
        tell(vcpu, 0, true);
}

void pvtime_resume(struct vcpu *vcpu) {
    struct pvtime *p = &vcpu->pvtime;
    if ((p->steal & PVTIME_ENABLE) == 0)
        return;
    uint64_t waited = thread_current()->wait, before = MIN(p->waited, waited);
    p->waited = waited;
    if (waited != before || p->is_preempted)
        tell(vcpu, waited - before, false);
}
