// SPDX-License-Identifier: Apache-2.0
// Memory and strings for programs without a C library; the interface is ISO C's.
//
// Copies and fills use the string instructions: fast on processors with ERMS (SDM 1 7.3.9.3
// "Fast-String Operation"), and in 8-byte units because emulators count every unit. No vector
// registers: the guest's FPU state stays loaded while ring-3 code runs.
#include "lib/string.h"

#include <stdint.h>

#if __STDC_HOSTED__
#include "lib/string_hosted.h"
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

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}
