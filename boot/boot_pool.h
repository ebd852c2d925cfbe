// SPDX-License-Identifier: Apache-2.0
// How much memory the kernel needs to keep account of all memory. No UEFI calls, so that the host's
// tests can link it.
#pragma once

#include "include/boot.h"

// Behind the last of the `count` sorted ranges that are RAM of the types up to MODULE.
uint64_t boot_pool_memory_end(const struct boot_memory *map, uint32_t count);

// Bytes of the pool, a multiple of BOOT_POOL_ALIGN: for what kernel/frame.c keeps of each frame
// below `memory_end`, and 1.5 MiB or more for its first pages.
uint64_t boot_pool_size(uint64_t memory_end);
