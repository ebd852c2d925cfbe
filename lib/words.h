// SPDX-License-Identifier: Apache-2.0
// The words of the hypervisor's command line, which stand between spaces.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// What follows `start` in the first word that begins with it, and its size; NULL: no word does. The
// next one is found from behind it.
const char *words_find(const char *cmdline, const char *start, size_t *size);
// Does `word` stand in the command line?
bool words_have(const char *cmdline, const char *word);
