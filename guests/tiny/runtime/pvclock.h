// SPDX-License-Identifier: Apache-2.0
// The paravirtual clock and steal time as a guest sees them. Linux,
// Documentation/virt/kvm/x86/msr.rst and cpuid.rst.
#pragma once

#include "lib/types.h"

#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u
#define MSR_KVM_STEAL_TIME      0x4b564d03u
#define PVCLOCK_ENABLE          1u

#define CPUID_KVM_FEATURES 0x40000001u
#define KVM_CLOCKSOURCE2   BIT(3)
#define KVM_STEAL_TIME     BIT(5)
#define KVM_CLOCK_STABLE   BIT(24)

struct pvclock {
    uint32_t version;
    uint32_t reserved;
    uint64_t tsc;
    uint64_t ns;
    uint32_t multiplier;
    int8_t shift;
    uint8_t flags;
    uint8_t padding[2];
};
#define PVCLOCK_TSC_STABLE 1u

struct pvclock_steal {
    uint64_t ns;
    uint32_t version;
    uint32_t flags;
    uint8_t preempted;
    uint8_t padding[47];
};

struct pvclock_wall {
    uint32_t version, seconds, nanoseconds;
};

// The clock at a TSC value of this vCPU's. 32 bits suffice for what stands behind the point.
static inline uint64_t pvclock_ns(const volatile struct pvclock *clock, uint64_t tsc) {
    uint64_t delta = tsc - clock->tsc;
    delta = clock->shift >= 0 ? delta << clock->shift : delta >> -clock->shift;
    return clock->ns + (uint64_t)((unsigned __int128)delta * clock->multiplier >> 32);
}
