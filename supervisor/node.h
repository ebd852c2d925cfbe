// SPDX-License-Identifier: Apache-2.0
// The nodes of this machine, as the boot application found them (include/nodes.h): which CPUs and
// which memory each has, and how far they are apart.
//
//   node_open     once; what the tables say that cannot be makes the machine one node
//
// Firmware describes what it likes: there are nodes without CPUs, nodes without memory, CPUs and
// memory of no node. The CPUs of a node without memory are near the next one that has some. CPUs
// of no node are near each.
#pragma once

#include "include/abi.h"
#include "include/nodes.h"
#include "supervisor/cpuset.h"

void node_open(void);

// 1: the machine has no nodes to choose from, and nothing else is asked.
uint32_t node_count(void);

// CPUs that the tables place there.
struct cpuset node_cpus(uint32_t node);
// CPUs whose memory it is.
struct cpuset node_near(uint32_t node);

// Bytes that the node has, and that are in no use right now.
uint64_t node_memory(uint32_t node);
uint64_t node_free(uint32_t node);

// The node that is `rank` steps from `node`, which itself is the first: by distance, then by
// number.
uint32_t node_by_distance(uint32_t node, uint32_t rank);

// All memory in this order, for sys_quota_home; of a node the highest addresses first.
void node_home(uint32_t node, struct abi_home *home);
