// SPDX-License-Identifier: Apache-2.0
// A bound on how long a guest runs with its interrupts off.
//
// VT-x leaves the guest for a host interrupt whatever the guest's RFLAGS.IF is (SDM 3C 26.2 "Other
// Causes of VM Exits"). Bochs 3.1 does not when IF was 0 at VM entry: it keeps the interrupt until
// the guest changes IF, so a guest that spins with interrupts off would have the CPU for ever.
// While a guest enters with IF clear, the VMX-preemption timer (SDM 3C 26.5.1) ends its run after a
// millisecond, and the host takes what is pending. The millisecond goes on over other exits, or a
// guest could avoid its end by them. A guest with IF set is never disturbed, so a CPU of its own
// stays tickless.
#pragma once

#include "vmx/exit.h"
#include "vmx/vmx.h"

// For a fresh VMCS, once the controls are written: not armed.
void guard_init(void);
// For the entries from now on.
void guard_set(bool is_armed);
