// SPDX-License-Identifier: Apache-2.0
// The words of the command line, which stand between spaces. No UEFI calls, so that the host's
// tests can link it.
#pragma once

#include "include/boot.h"

// What follows `start` in the first word that begins with it, and its size; NULL: no word does.
const char *boot_words_find(const char *cmdline, const char *start, uint64_t *size);
// Does `word` stand in the command line?
bool boot_words_have(const char *cmdline, const char *word);

// What the kernel is told by info->cmdline: fills info->words.
void boot_words_read(struct boot_info *info);
