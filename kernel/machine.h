// SPDX-License-Identifier: Apache-2.0
// What the boot application found (include/boot.h), as kernel/main.c copied and checked it, once.
// Constant when the first CPU starts. Before, all of it is zero: nothing was found.
#pragma once

#include "include/boot.h"

extern struct boot_info machine;
extern struct boot_memory machine_memory[BOOT_MEMORY_MAX]; // machine.memory_count of them
