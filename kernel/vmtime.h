// SPDX-License-Identifier: Apache-2.0
// A VM's time. Its TSCs count at a rate of their own where the manifest, or the machine that it
// came from, says so: the processor scales the host's (SDM 3C 25.3 "Changes to Instruction Behavior
// in VMX Non-Root Operation", "use TSC scaling"; APM 2 15.30.5 "TSC Ratio MSR (C000_0104h)"). What
// all its vCPUs' TSCs are before each adds its offset is the VM's clock; the local APIC timers
// count it, too, as CPUID tells the guest.
//
// A ratio has 32 bits behind the point, which both vendors can hold. 0: the VM's clock is the
// host's TSC.
#pragma once

#include "kernel/vm.h"

#define VMTIME_RATIO_BITS 32

// The ratio of `hz` to `host_hz`, to the nearest; 0 where it is not from 1/256 to 256, which is
// what AMD-V can do.
uint64_t vmtime_ratio(uint64_t hz, uint64_t host_hz);

__extension__ typedef unsigned __int128 vmtime_wide;

// The VM's clock when the host's TSC is `host`, as the processor computes it.
static inline uint64_t vmtime_at(const struct vm *vm, uint64_t host) {
    vmtime_wide product = (vmtime_wide)host * vm->tsc_ratio;
    return vm->tsc_ratio == 0 ? host : (uint64_t)(product >> VMTIME_RATIO_BITS);
}

// The first host TSC at which the VM's clock shows `at` or more, seen from now; now itself if that
// has passed. So a host timer armed for it has expired when, and only when, the VM's clock has got
// there.
uint64_t vmtime_host(const struct vm *vm, uint64_t at);
