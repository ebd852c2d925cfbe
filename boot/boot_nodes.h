// SPDX-License-Identifier: Apache-2.0
// The module that tells the supervisor of nodes (include/nodes.h).
#pragma once

#include "boot/boot_platform.h"
#include "include/nodes.h"

// Fills `nodes`, which is zeroed, from what was found, and from the sorted map of `count` ranges,
// each of one node. Ranges of one node are joined where no other RAM is between them; what is
// beyond NODES_RANGES_MAX of them is left off.
void boot_nodes_fill(struct nodes *nodes, const struct boot_info *info,
                     const struct boot_memory *map, uint32_t count);
