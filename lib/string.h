// SPDX-License-Identifier: Apache-2.0
// Memory and strings: the part of ISO C's <string.h> (and strtoul of <stdlib.h>) that freestanding
// programs of ours and libfdt need, under the standard names and contracts. In a hosted build (the
// unit tests) this is <string.h> itself, and ours are lib_memcpy and so on (lib/string_hosted.h).
// lib/string.c has what every program needs, lib/text.c (from memchr on) what the kernel does not.
#pragma once

#include <stddef.h>

#if __STDC_HOSTED__

#include <stdlib.h>
#include <string.h>

#else

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

void *memchr(const void *data, int value, size_t size);
int strcmp(const char *a, const char *b);
char *strchr(const char *text, int value);
size_t strnlen(const char *text, size_t max);
int strncmp(const char *a, const char *b, size_t max);
char *strrchr(const char *text, int value);
unsigned long strtoul(const char *restrict text, char **restrict end, int base);

#endif
