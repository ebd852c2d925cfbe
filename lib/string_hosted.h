// SPDX-License-Identifier: Apache-2.0
// Other names for lib/string.c and lib/text.c beside a C library, so that the unit tests can hold
// them against it.
#pragma once

#include <stddef.h>

#define memcpy  lib_memcpy
#define memmove lib_memmove
#define memset  lib_memset
#define memcmp  lib_memcmp
#define memchr  lib_memchr
#define strlen  lib_strlen
#define strcmp  lib_strcmp
#define strchr  lib_strchr
#define strnlen lib_strnlen
#define strncmp lib_strncmp
#define strrchr lib_strrchr
#define strtoul lib_strtoul

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
void *memchr(const void *data, int value, size_t size);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);
char *strchr(const char *text, int value);
size_t strnlen(const char *text, size_t max);
int strncmp(const char *a, const char *b, size_t max);
char *strrchr(const char *text, int value);
unsigned long strtoul(const char *restrict text, char **restrict end, int base);
