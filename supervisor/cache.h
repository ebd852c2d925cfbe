// SPDX-License-Identifier: Apache-2.0
// How the VMs share the last-level cache, where the CPU can partition it: SDM 3B 18.19 "Intel
// Resource Director Technology (Intel RDT) Allocation Features". A VM with the key "cache" has so
// many ways and a class of service for itself, from the highest way down in the manifest's order;
// all others share class 1 and what is left.
#pragma once

#include "supervisor/manifest.h"

struct cache {
    uint32_t ways;    // 0: it cannot be partitioned
    uint32_t classes; // of service, with class 0
};
struct cache cache_read(void);

// What VM number `index` has of it, as struct abi_group wants it.
struct cache_part {
    uint32_t class; // 0: all ways
    uint32_t mask;
};
// False: ways or classes are not enough for it.
bool cache_divide(const struct manifest *manifest, uint32_t index, struct cache cache,
                  struct cache_part *part);
