// SPDX-License-Identifier: Apache-2.0
// See kernel/pvtime.h. What the guest makes of its structures meanwhile, from another vCPU, harms
// nobody else: their contents decide nothing here.
#include "kernel/pvtime.h"

#include "arch/tsc.h"
#include "kernel/kspace.h"
#include "kernel/memory.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"

#define NS_PER_SECOND  1000000000ULL
#define CLOCK_RESERVED BIT(1)
#define STEAL_RESERVED 0x3eULL

void pvtime_scale(uint64_t hz, uint32_t *multiplier, int8_t *shift) {
    // So that the multiplier has all its 32 bits: ns a shifted tick are from 1/2 to 1.
    unsigned left = 0, right = 0;
    while (hz << left <= NS_PER_SECOND)
        left++;
    while (hz > 2 * NS_PER_SECOND << right)
        right++;
    *multiplier =
        (uint32_t)x86_div(NS_PER_SECOND >> (32 - right), NS_PER_SECOND << (32 + right), hz << left);
    *shift = (int8_t)(left > 0 ? (int)left : -(int)right);
}

static uint64_t ns_of(uint64_t ticks) {
    vmtime_wide product = (vmtime_wide)ticks * NS_PER_SECOND;
    if ((uint64_t)(product >> 64) >= tsc_hz)
        return 0; // no time that a machine was up: the TSCs of two CPUs differ
    return x86_div((uint64_t)(product >> 64), (uint64_t)product, tsc_hz);
}

// The structure at `gpa`, in this CPU's window, good as long as the lock of its space is held.
// NULL: the guest has no memory there that it may write.
static void *open_locked(struct vm *vm, uint64_t gpa) {
    const struct region *region = region_find(vm->space.regions, gpa);
    if (region == NULL || (region->rights & ABI_RIGHT_WRITE) == 0)
        return NULL;
    uint64_t offset = gpa - region->base + region->offset;
    struct memory_run run = memory_get(region->memory, offset, NULL);
    uint64_t at = run.frame.v + offset - run.offset;
    return (uint8_t *)kspace_window((hpa_t){align_down(at, PAGE_SIZE)}) + at % PAGE_SIZE;
}

// Around a change: odd before, even after, whatever it was.
static void begin(uint32_t *version) {
    __atomic_store_n(version, (__atomic_load_n(version, __ATOMIC_RELAXED) + 1) | 1,
                     __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end(uint32_t *version) {
    __atomic_store_n(version, (__atomic_load_n(version, __ATOMIC_RELAXED) | 1) + 1,
                     __ATOMIC_RELEASE);
}

static bool write_clock(struct vcpu *vcpu, uint64_t msr) {
    lock_take(&vcpu->vm->space.lock);
    struct pvtime_clock *clock = open_locked(vcpu->vm, msr & ~PVTIME_ENABLE);
    if (clock != NULL) {
        begin(&clock->version);
        clock->tsc = vcpu->tsc_adjust;
        clock->ns = 0;
        pvtime_scale(vmtime_hz(vcpu->vm, tsc_hz), &clock->multiplier, &clock->shift);
        clock->flags = cpu_features.has_tsc_invariant && tsc_is_common ? PVTIME_TSC_STABLE : 0;
        end(&clock->version);
    }
    kspace_window_close();
    lock_drop(&vcpu->vm->space.lock);
    return clock != NULL;
}

static bool write_steal(struct vcpu *vcpu, uint64_t msr, uint64_t ticks, bool is_preempted) {
    lock_take(&vcpu->vm->space.lock);
    struct pvtime_steal *steal = open_locked(vcpu->vm, msr & ~PVTIME_ENABLE);
    if (steal != NULL) {
        begin(&steal->version);
        steal->ns += ns_of(ticks);
        steal->is_preempted = is_preempted;
        end(&steal->version);
    }
    kspace_window_close();
    lock_drop(&vcpu->vm->space.lock);
    return steal != NULL;
}

bool pvtime_is_valid(uint32_t msr, uint64_t value) {
    if (msr == MSR_KVM_STEAL_TIME)
        return (value & STEAL_RESERVED) == 0;
    uint64_t offset = (value & ~PVTIME_ENABLE) % PAGE_SIZE;
    return (value & CLOCK_RESERVED) == 0 && offset <= PAGE_SIZE - sizeof(struct pvtime_clock);
}

static bool set_clock(struct vcpu *vcpu, uint64_t value) {
    if ((value & PVTIME_ENABLE) != 0 && !write_clock(vcpu, value))
        return false;
    vcpu->pvtime.clock = value;
    return true;
}

// What was waited before is nobody's.
static bool set_steal(struct vcpu *vcpu, uint64_t value) {
    if ((value & PVTIME_ENABLE) != 0 && !write_steal(vcpu, value, 0, false))
        return false;
    vcpu->pvtime.steal = value;
    vcpu->pvtime.waited = thread_current()->wait;
    vcpu->pvtime.is_preempted = false;
    return true;
}

bool pvtime_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    if (!pvtime_is_valid(msr, value))
        return false;
    return msr == MSR_KVM_STEAL_TIME ? set_steal(vcpu, value) : set_clock(vcpu, value);
}

void pvtime_restore(struct vcpu *vcpu, uint64_t clock, uint64_t steal) {
    vcpu->pvtime = (struct pvtime){.clock = clock, .steal = steal, .waited = UINT64_MAX};
    pvtime_tell_clock(vcpu);
}

void pvtime_reset(struct vcpu *vcpu) {
    vcpu->pvtime.clock = 0;
    vcpu->pvtime.steal = 0;
}

void pvtime_release(struct vcpu *vcpu) {
    vcpu->pvtime.waited = UINT64_MAX;
}

void pvtime_tell_clock(struct vcpu *vcpu) {
    if ((vcpu->pvtime.clock & PVTIME_ENABLE) != 0)
        write_clock(vcpu, vcpu->pvtime.clock);
}

void pvtime_preempt(struct vcpu *vcpu) {
    if ((vcpu->pvtime.steal & PVTIME_ENABLE) != 0)
        vcpu->pvtime.is_preempted = write_steal(vcpu, vcpu->pvtime.steal, 0, true);
}

void pvtime_resume(struct vcpu *vcpu) {
    struct pvtime *p = &vcpu->pvtime;
    if ((p->steal & PVTIME_ENABLE) == 0)
        return;
    uint64_t waited = thread_current()->wait;
    if (waited < p->waited)
        p->waited = waited;
    if (waited == p->waited && !p->is_preempted)
        return;
    write_steal(vcpu, p->steal, waited - p->waited, false);
    p->waited = waited;
    p->is_preempted = false;
}
