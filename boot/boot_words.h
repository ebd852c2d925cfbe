// SPDX-License-Identifier: Apache-2.0
// What the command line tells the kernel. No UEFI calls, so that the host's tests can link it.
#pragma once

#include "include/boot.h"

// What the kernel is told by info->platform->start.cmdline: fills info->words.
void boot_words_read(struct boot_info *info);
