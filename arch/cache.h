// SPDX-License-Identifier: Apache-2.0
// Parts of the last-level cache: which of its ways a group may fill, so that it cannot push out,
// and so learn from, what others keep there. Intel's Cache Allocation Technology: SDM 3B 18.19.4
// "Cache Allocation Technology: Cache Mask Configuration" and SDM 2A "CPUID", leaf 10H.
//
// The processor has a few classes of service, each a mask of ways; a class is shared by all who ask
// for the same mask, and class 0 is all ways. The masks are each package's own registers: a CPU
// that has not seen the last change writes them when it next switches, so nobody has to be
// interrupted.
//
// In call order: cache_init; cache_take, cache_drop: one caller at a time; cache_switch: any CPU.
#pragma once

#include "arch/cpu.h"

// Boot CPU, once.
void cache_init(void);
// Ways of the last-level cache that masks have a bit for; 0: this CPU cannot divide it.
uint32_t cache_ways(void);

// Whether this CPU can have the mask: a row of its ways, or 0, all of them.
bool cache_is_mask(uint32_t mask);
// The class of service for such a mask; -1: none is left.
int32_t cache_take(uint32_t mask);
void cache_drop(int32_t class);

// What this CPU brings into the cache from now on belongs to the class.
void cache_switch(struct cpu *cpu, int32_t class);
