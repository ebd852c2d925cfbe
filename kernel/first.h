// SPDX-License-Identifier: Apache-2.0
// Starts the first process: the supervisor, which the boot application has laid out, with the
// handles of everything.
#pragma once

#include "kernel/object.h"

// Halts the machine when a segment cannot be mapped.
// The reference to `system` becomes the supervisor's.
void first_start(struct object *system);
