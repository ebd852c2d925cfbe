// SPDX-License-Identifier: Apache-2.0
// The rest of lib/string.h, for the boot application, ring 3, and libfdt there.
#include "lib/string.h"

#include <stdbool.h>
#include <stdint.h>

#if __STDC_HOSTED__
#include "lib/string_hosted.h"
#endif

void *memchr(const void *data, int value, size_t size) {
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == (uint8_t)value)
            return (void *)(uintptr_t)(bytes + i);
    return NULL;
}

int strcmp(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++;
        b++;
    }
    return (uint8_t)*a - (uint8_t)*b;
}

char *strchr(const char *text, int value) {
    for (;; text++) {
        if (*text == (char)value)
            return (char *)(uintptr_t)text;
        if (*text == '\0')
            return NULL;
    }
}

size_t strnlen(const char *text, size_t max) {
    size_t length = 0;
    while (length < max && text[length] != '\0')
        length++;
    return length;
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
