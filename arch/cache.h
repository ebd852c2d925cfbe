// SPDX-License-Identifier: Apache-2.0
// Parts of the last-level cache: which of its ways a group may fill, so that it cannot push out,
// and so learn from, what others keep there. Intel's Cache Allocation Technology: SDM 3B 18.19.4
// "Cache Allocation Technology: Cache Mask Configuration" and SDM 2A "CPUID", leaf 10H.
//
// The processor has a few classes of service, each a mask of ways; class 0 is all ways. Who gets
// which is the supervisor's to say (supervisor/cache.h). The masks are each package's own
// registers: a CPU that has not seen the last change writes them when it next switches, so nobody
// has to be interrupted.
//
// How many ways and classes there are, boot/ finds out (cpu_features). Context: any CPU.
#pragma once

#include "arch/cpu.h"

// Whether this CPU has the class and the mask, a row of its ways; of class 0: no mask.
bool cache_is_valid(uint32_t class, uint32_t mask);
void cache_set(uint32_t class, uint32_t mask);

// What this CPU brings into the cache from now on belongs to the class.
void cache_switch(struct cpu *cpu, uint32_t class);
