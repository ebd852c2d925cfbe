// SPDX-License-Identifier: Apache-2.0
// Paravirtual time: the clock and the steal time that Linux and others know from KVM. The guest
// registers, for each vCPU, a structure in its memory; these are the only bytes of a guest that the
// kernel ever writes. Formats and MSRs: Linux, Documentation/virt/kvm/x86/msr.rst. (The third, the
// wall clock, is written once at boot, so the VMM does it.)
//
// The clock is the guest's TSC since power-on, in nanoseconds: TSC less TSC_ADJUST. So it is one
// clock on all vCPUs, it needs no update but when the guest moves its TSC, and a restored TSC
// restores it.
//
// Nothing but the address is kept: each write looks the memory up again, with its space's lock, as
// a region that the guest may write. So it goes nowhere else, no reference is held, and memory that
// is unmapped is not written any more once space_unmap has returned.
#pragma once

#include "arch/cpu.h"
#include "include/abi.h"

enum pvtime_msr {
    MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01,
    MSR_KVM_STEAL_TIME = 0x4b564d03,
};

// In struct vcpu; all belongs to the owner thread.
struct pvtime {
    uint64_t clock;    // MSR_KVM_SYSTEM_TIME_NEW
    uint64_t steal;    // MSR_KVM_STEAL_TIME
    uint64_t waited;   // what of the owner's waiting has been told; more than it waited: unknown
    bool is_preempted; // the guest was told so
};

// SYSTEM_TIME_NEW: address with bit 0 as its enable.
struct pvtime_clock {
    uint32_t version; // odd while it is being written
    uint32_t reserved0;
    uint64_t tsc; // at which the clock shows `ns`
    uint64_t ns;
    uint32_t multiplier; // of 2^-32 ns a tick ...
    int8_t shift;        // ... that were shifted left by this (negative: right)
    uint8_t flags;
    uint8_t reserved1[2];
};
_Static_assert(sizeof(struct pvtime_clock) == 32, "msr.rst, MSR_KVM_SYSTEM_TIME_NEW");
#define PVTIME_TSC_STABLE 1u // one clock on all vCPUs

struct pvtime_steal {
    uint64_t ns;      // that the vCPU would have run and did not
    uint32_t version; // odd while it is being written
    uint32_t flags;
    uint8_t is_preempted;
    uint8_t reserved[47];
};
_Static_assert(sizeof(struct pvtime_steal) == 64, "msr.rst, MSR_KVM_STEAL_TIME");

#define PVTIME_ENABLE BIT(0)

// Pure: ns = (ticks shifted by *shift) * *multiplier >> 32. hz is below 8 GHz.
void pvtime_scale(uint64_t hz, uint32_t *multiplier, int8_t *shift);

// Pure: no reserved bits, and the structure crosses no page.
bool pvtime_is_valid(uint32_t msr, uint64_t value);
// WRMSR of one of the two, on the owner thread. False: #GP, and nothing has changed: it is not
// valid, or the guest has no memory there that it may write.
bool pvtime_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);
// Sets both to valid values, on any thread.
void pvtime_restore(struct vcpu *vcpu, uint64_t clock, uint64_t steal);
// INIT: both are as after power-on, and no longer written.
void pvtime_reset(struct vcpu *vcpu);
// After TSC or TSC_ADJUST changed.
void pvtime_tell_clock(struct vcpu *vcpu);

// The vCPU may have to wait now, though it would run on.
void pvtime_preempt(struct vcpu *vcpu);
// It goes on: tells the guest how long it waited since the last time.
void pvtime_resume(struct vcpu *vcpu);
// Another thread will be the owner.
void pvtime_release(struct vcpu *vcpu);
