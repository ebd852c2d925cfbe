// SPDX-License-Identifier: Apache-2.0
// What the boot before left (include/crash.h). No UEFI calls, so that the host's tests can link it.
#pragma once

#include "include/boot.h"
#include "include/crash.h"

// Where a record may stand, best first; 0 ends them. Firmwares build from the top of memory or from
// its very bottom, and leave what lies between as it was.
extern const uint64_t boot_crash_places[];

// Is it whole? What a machine has in memory when it is switched on is not.
bool boot_crash_is_whole(const struct crash_record *record);
// Adds its lines to the preflight report.
void boot_crash_tell(const struct crash_record *record, struct boot_info *info);
