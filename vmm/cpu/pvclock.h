// SPDX-License-Identifier: Apache-2.0
// Paravirtual time: structures in the guest's memory that it registers by WRMSR, which Linux and
// others know from KVM. Formats and MSRs: Linux, Documentation/virt/kvm/x86/msr.rst.
//
// The clock is the guest's TSC since power-on, in nanoseconds: TSC less TSC_ADJUST. So it is one
// clock on all vCPUs, it needs no update but when the guest moves its TSC, and a restored TSC
// restores it. The wall clock is the date when it showed 0. Steal time begins here; the kernel
// counts it (kernel/pvtime.h).
//
// A structure is looked up whenever it is written. What the guest makes of it meanwhile, from
// another vCPU, harms nobody else: its contents decide nothing here.
#pragma once

#include "vmm/memory.h"

#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_STEAL_TIME      0x4b564d03u

// MSR_KVM_SYSTEM_TIME_NEW and MSR_KVM_STEAL_TIME hold an address with bit 0 as its enable.
#define PVCLOCK_ENABLE 1u

struct pvclock_rate {
    uint64_t tsc_hz; // of the guest's TSCs, up to 8 GHz
    bool is_stable;  // the clock is one on all vCPUs
};

// Of values of the three MSRs. False: #GP, and nothing has changed: it has reserved bits, the
// structure crosses a page (of the clock only), or the guest has no memory there that it may write.
// Nothing is written, and no memory needed, where it is not enabled.
bool pvclock_write_clock(const struct memory *memory, const struct pvclock_rate *rate,
                         uint64_t value, uint64_t tsc_adjust);
bool pvclock_write_wall(const struct memory *memory, uint64_t value, uint64_t ns_since_1970);
bool pvclock_begin_steal(const struct memory *memory, uint64_t value);

// Pure: ns = (ticks shifted left by *shift, or right where it is negative) * *multiplier >> 32.
void pvclock_scale(uint64_t hz, uint32_t *multiplier, int8_t *shift);
