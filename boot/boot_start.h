// SPDX-License-Identifier: Apache-2.0
// The supervisor's start page (include/start.h), in info->platform->start. Its parts come from
// whoever finds them; this is what is known of others. No UEFI calls, so that the host's tests can
// link it.
#pragma once

#include "boot/boot_platform.h"

// One more module, in `size` bytes at `data`, page-aligned: into info->module, and with its name,
// which fits, and its handle onto the page.
void boot_start_module(struct boot_info *info, const char *name, const void *data, uint64_t size);

// What else stands in *info, and the handles that the kernel gives. Behind all that changes *info.
// A machine without a date is told of in the report.
void boot_start_finish(struct boot_info *info);
