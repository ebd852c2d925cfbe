// SPDX-License-Identifier: Apache-2.0
// Lines for the preflight report: what the boot application finds when nobody can read it any more.
// The kernel prints them. No UEFI calls, so that the host's tests can link it.
#pragma once

#include "include/boot.h"

// Adds one line. A line that does not fit is left out whole.
__attribute__((format(printf, 2, 3))) void boot_report(struct boot_info *info, const char *format,
                                                       ...);
