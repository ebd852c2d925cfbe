// SPDX-License-Identifier: Apache-2.0
// How the VMs share the last-level cache, where the CPU can partition it: SDM 3B 18.19 "Intel
// Resource Director Technology (Intel RDT) Allocation Features". A VM with the key "cache" has so
// many ways for itself, from the highest down in the manifest's order; all others share what is
// left.
#pragma once

#include "supervisor/manifest.h"

// Ways of the last-level cache; 0: it cannot be partitioned.
uint32_t cache_ways(void);

// The ways of VM number `index` on a CPU that has `ways`, as struct abi_group.cache_mask wants
// them: 0: all. False: they are not enough for it.
bool cache_mask(const struct manifest *manifest, uint32_t index, uint32_t ways, uint32_t *mask);
