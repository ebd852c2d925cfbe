// SPDX-License-Identifier: Apache-2.0
// Memory and strings for programs without a C library; the interface is ISO C's.
//
// Copies and fills use the string instructions: fast on processors with ERMS (SDM 1 7.3.9.3
// "Fast-String Operation"), and in 8-byte units because emulators count every unit. No vector
// registers: the guest's FPU state stays loaded while ring-3 code runs.
#include "lib/string.h"

#include <stdbool.h>
#include <stdint.h>

#if __STDC_HOSTED__ // beside a C library, for the unit tests
#define memcpy  lib_memcpy
#define memmove lib_memmove
#define memset  lib_memset
#define memcmp  lib_memcmp
#define memchr  lib_memchr
#define strlen  lib_strlen
#define strnlen lib_strnlen
#define strcmp  lib_strcmp
#define strncmp lib_strncmp
#define strchr  lib_strchr
#define strrchr lib_strrchr
#define strtoul lib_strtoul
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
void *memchr(const void *data, int value, size_t size);
size_t strlen(const char *text);
size_t strnlen(const char *text, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strchr(const char *text, int value);
char *strrchr(const char *text, int value);
unsigned long strtoul(const char *restrict text, char **restrict end, int base);
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    void *target = to;
    size_t words = size / 8;
    size_t bytes = size % 8;
    __asm__ volatile("rep movsq" : "+D"(target), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(target), "+S"(from), "+c"(bytes) : : "memory");
    return to;
}

// Upwards is right unless the target begins inside the source.
void *memmove(void *to, const void *from, size_t size) {
    if ((uintptr_t)to - (uintptr_t)from >= size)
        return memcpy(to, from, size);
    uint8_t *target = (uint8_t *)to + size - 1;
    const uint8_t *source = (const uint8_t *)from + size - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
    return to;
}

void *memset(void *to, int value, size_t size) {
    void *target = to;
    uint64_t pattern = 0x0101010101010101ULL * (uint8_t)value;
    size_t words = size / 8;
    size_t bytes = size % 8;
    __asm__ volatile("rep stosq" : "+D"(target), "+c"(words) : "a"(pattern) : "memory");
    __asm__ volatile("rep stosb" : "+D"(target), "+c"(bytes) : "a"(pattern) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const uint8_t *left = a;
    const uint8_t *right = b;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return left[i] - right[i];
    return 0;
}

void *memchr(const void *data, int value, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == (uint8_t)value)
            return (void *)(uintptr_t)(bytes + i);
    return NULL;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}

size_t strnlen(const char *text, size_t max) {
    size_t length = 0;
    while (length < max && text[length] != '\0')
        length++;
    return length;
}

int strcmp(const char *a, const char *b) {
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t max) {
    for (size_t i = 0; i < max; i++) {
        if (a[i] != b[i])
            return (uint8_t)a[i] - (uint8_t)b[i];
        if (a[i] == '\0')
            break;
    }
    return 0;
}

char *strchr(const char *text, int value) {
    for (;; text++) {
        if (*text == (char)value)
            return (char *)(uintptr_t)text;
        if (*text == '\0')
            return NULL;
    }
}

char *strrchr(const char *text, int value) {
    char *last = NULL;
    for (;; text++) {
        if (*text == (char)value)
            last = (char *)(uintptr_t)text;
        if (*text == '\0')
            return last;
    }
}

// 36 and more for what is no digit in any base.
static unsigned digit_value(char c) {
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'z')
        return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'Z')
        return (unsigned)(c - 'A') + 10;
    return UINT32_MAX;
}

static bool has_hex_prefix(const char *text) {
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') && digit_value(text[2]) < 16;
}

unsigned long strtoul(const char *restrict text, char **restrict end, int base) {
    const char *at = text;
    while (*at == ' ' || (*at >= '\t' && *at <= '\r'))
        at++;
    bool is_negative = *at == '-';
    if (*at == '-' || *at == '+')
        at++;
    if ((base == 0 || base == 16) && has_hex_prefix(at)) {
        at += 2;
        base = 16;
    } else if (base == 0) {
        base = *at == '0' ? 8 : 10;
    }
    const char *first = at;
    unsigned long value = 0;
    bool overflows = false;
    for (; digit_value(*at) < (unsigned)base; at++) {
        overflows |= __builtin_mul_overflow(value, (unsigned long)base, &value);
        overflows |= __builtin_add_overflow(value, (unsigned long)digit_value(*at), &value);
    }
    if (end != NULL)
        *end = (char *)(uintptr_t)(at == first ? text : at);
    if (overflows)
        return ~0UL;
    return is_negative ? 0 - value : value;
}
