// SPDX-License-Identifier: Apache-2.0
// Starts the first process: the supervisor, from its boot module, with the handles of everything.
#pragma once

#include "include/boot.h"
#include "kernel/object.h"

// Halts the machine when supervisor.elf is missing or damaged.
void supervisor_start(const struct boot_info *boot, struct object *system);
