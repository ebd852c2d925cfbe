// SPDX-License-Identifier: Apache-2.0
// What a VM gets when it starts, as the manifest says: CPUs, a share of their time, ways of the
// cache, and then its partition.
//
//   launch_open     once, when the table of VMs stands: chooses CPUs for those that start at boot
//   launch_carve    gives all of it
//   launch_release  takes the CPUs back
#pragma once

#include "supervisor/vm.h"

// The manifest must stay.
void launch_open(const struct manifest *from);

// False: nothing is left of it, and `why` says what did not work and what to change.
bool launch_carve(struct vm *vm, char why[PARTITION_WHY_MAX]);

// Others may have its CPUs.
void launch_release(struct vm *vm);
