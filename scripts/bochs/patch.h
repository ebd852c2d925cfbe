// SPDX-License-Identifier: Apache-2.0
//
// How the libraries beside this change the emulator's code: a jump over whole instructions to what
// runs instead of them. They find the place by its bytes, and try what they put there first.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct __attribute__((packed)) jump {
    uint8_t opcode[6]; // jmp *0(%rip)
    uint64_t target;
};

static inline struct jump make_jump(const void *target) {
    return (struct jump){{0xff, 0x25, 0, 0, 0, 0}, (uintptr_t)target};
}

// `size` bytes of code at `at`.
static inline bool install_code(void *at, const void *code, size_t size) {
    const uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(page_size - 1));
    const size_t length = (size_t)((uint8_t *)at + size - page);
    if (mprotect(page, length, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return false;
    memcpy(at, code, size);
    return mprotect(page, length, PROT_READ | PROT_EXEC) == 0;
}

// A jump at `at` to a copy of `detour`, which is of `size` bytes.
static inline bool install(void *at, const void *detour, size_t size) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    void *copy = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return false;
    memcpy(copy, detour, size);
    const struct jump there = make_jump(copy);
    return mprotect(copy, page_size, PROT_READ | PROT_EXEC) == 0 &&
           install_code(at, &there, sizeof(there));
}

// Where in `length` bytes of code stand the `size` bytes of `known`; bits that are set in `any` may
// be what they like. NULL: nowhere.
static inline void *find_code(const void *code, size_t length, const void *known, const void *any,
                              size_t size) {
    const uint8_t *bytes = code, *wanted = known, *is_any = any;
    for (size_t i = 0; i + size <= length; i++) {
        size_t same = 0;
        while (same < size && ((bytes[i + same] ^ wanted[same]) & ~is_any[same]) == 0)
            same++;
        if (same == size)
            return (void *)(uintptr_t)(bytes + i);
    }
    return NULL;
}

// A page with a detour that ends with a jump back, and a RET instead of that. NULL: there is none.
static inline void *begin_trial(const void *detour, size_t size) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *code =
        mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return NULL;
    memcpy(code, detour, size);
    code[size - sizeof(struct jump)] = 0xc3;
    if (mprotect(code, page_size, PROT_READ | PROT_EXEC) == 0)
        return code;
    (void)munmap(code, page_size);
    return NULL;
}

static inline bool end_trial(void *code) {
    return munmap(code, (size_t)sysconf(_SC_PAGESIZE)) == 0;
}
