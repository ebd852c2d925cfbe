// SPDX-License-Identifier: Apache-2.0
// The end of everything. Both send first what the log holds. Context: any, at best with the other
// CPUs stopped; no lock held (in a panic: whatever).
#pragma once

// ACPI S5 without executing _PTS. Returns where the tables name no way, or the machine is still
// there after a second.
void power_off(void);
// FADT reset register where it is a port, port 0xcf9, keyboard controller, triple fault. Does not
// return in practice.
void power_reset(void);
