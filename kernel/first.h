// SPDX-License-Identifier: Apache-2.0
// Starts the first process: the supervisor, which the boot application has laid out, with the
// handles of everything.
#pragma once

#include "include/boot.h"
#include "kernel/object.h"

// `boot` within its bounds. Halts the machine when a segment cannot be mapped.
// The reference to `system` becomes the supervisor's.
void first_start(const struct boot_info *boot, struct object *system);
