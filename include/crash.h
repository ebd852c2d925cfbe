// SPDX-License-Identifier: Apache-2.0
// The crash record: the last lines of a kernel that could not go on, in a page of memory that
// outlives a reset. The boot application chooses the page, the same at each boot where it can, and
// tells what stands there; the kernel writes it (kernel/log.c).
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CRASH_MAGIC 0x6873617263687562ULL // "buhcrash", little endian

struct crash_record {
    uint64_t magic;
    uint32_t size; // bytes of text
    uint32_t sum;  // crash_add of each of them, from 0 on
    char text[4096 - 16];
};
_Static_assert(sizeof(struct crash_record) == 4096, "one page");

static inline uint32_t crash_add(uint32_t sum, char byte) {
    return sum * 31 + (uint8_t)byte;
}
