// SPDX-License-Identifier: Apache-2.0
//
// How the libraries beside this change the emulator's code: a jump over whole instructions to what
// runs instead of them.
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

// A jump at `at` to a copy of `detour`, which is of `size` bytes.
static inline bool install(void *at, const void *detour, size_t size) {
    const uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(page_size - 1));
    const size_t length = (size_t)((uint8_t *)at + sizeof(struct jump) - page);
    void *copy = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED || mprotect(page, length, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        return false;
    memcpy(copy, detour, size);
    const struct jump there = make_jump(copy);
    memcpy(at, &there, sizeof(there));
    return mprotect(page, length, PROT_READ | PROT_EXEC) == 0 &&
           mprotect(copy, page_size, PROT_READ | PROT_EXEC) == 0;
}
