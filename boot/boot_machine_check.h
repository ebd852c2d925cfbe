// SPDX-License-Identifier: Apache-2.0
// What of the machine-check architecture is used, and by which rules an error is judged
// (include/machine_check.h). No instructions but what is passed in, so that the host's tests can
// link it.
#pragma once

#include "boot/boot_features.h"
#include "include/machine_check.h"

// Fills info->machine_check, and adds to info->word what of it the other CPUs must have, too.
// Behind boot_features_read.
void boot_machine_check_read(const struct boot_processor *cpu, struct boot_info *info);
