// SPDX-License-Identifier: Apache-2.0
// Steal time, of the paravirtual time that Linux and others know from KVM: how long a vCPU waited
// for its CPU, and that it waits now, in a structure in the guest's memory, one for each vCPU.
// These are the only bytes of a guest that the kernel ever writes: they change as it gives a CPU
// away, when no VMM is there to do it. Where they are, and the clocks, is the VMM's to decide
// (vmm/cpu/pvclock.h). Format: Linux, Documentation/virt/kvm/x86/msr.rst.
//
// Nothing but the address is kept: each write looks the memory up again, with its space's lock, as
// a region that the guest may write. So it goes nowhere else, no reference is held, and memory that
// is unmapped is not written any more once space_unmap has returned.
#pragma once

#include "arch/cpu.h"
#include "include/abi.h"

// In struct vcpu; all belongs to the owner thread.
struct pvtime {
    uint64_t steal;    // vcpu_registers.pvtime_steal
    uint64_t waited;   // what of the owner's waiting has been told; more than it waited: unknown
    bool is_preempted; // the guest was told so
};

struct pvtime_steal {
    uint64_t ns;      // that the vCPU would have run and did not
    uint32_t version; // odd while it is being written
    uint32_t flags;
    uint8_t is_preempted;
    uint8_t reserved[47];
};
_Static_assert(sizeof(struct pvtime_steal) == 64, "msr.rst, MSR_KVM_STEAL_TIME");

// The address is a multiple of the size, so the structure crosses no page.
#define PVTIME_ENABLE   BIT(0)
#define PVTIME_RESERVED 0x3eULL

// Takes an address without reserved bits, on any thread. What was waited before another one is
// nobody's.
void pvtime_set(struct vcpu *vcpu, uint64_t steal);

// The vCPU may have to wait now, though it would run on.
void pvtime_preempt(struct vcpu *vcpu);
// It goes on: tells the guest how long it waited since the last time.
void pvtime_resume(struct vcpu *vcpu);
