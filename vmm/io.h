// SPDX-License-Identifier: Apache-2.0
// The I/O thread: everything in a VMM that no vCPU asked for just now.
#pragma once

#include "vmm/process.h"

// Serves device deadlines, console input and what the supervisor wants until the process ends.
_Noreturn void io_loop(struct vmm *vmm);
