// SPDX-License-Identifier: Apache-2.0
// See lib/words.h.
#include "lib/words.h"

#include "lib/string.h"

const char *words_find(const char *cmdline, const char *start, size_t *size) {
    size_t skip = strlen(start);
    for (const char *at = cmdline; *at != '\0';) {
        const char *end = strchr(at, ' ');
        size_t length = end != NULL ? (size_t)(end - at) : strlen(at);
        *size = length - skip;
        if (length >= skip && memcmp(at, start, skip) == 0)
            return at + skip;
        at += length + (end != NULL ? 1 : 0);
    }
    return NULL;
}

bool words_have(const char *cmdline, const char *word) {
    size_t rest = 1;
    while (rest != 0 && (cmdline = words_find(cmdline, word, &rest)) != NULL)
        cmdline += rest;
    return cmdline != NULL;
}
