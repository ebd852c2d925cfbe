// SPDX-License-Identifier: Apache-2.0
// One-member types for the four kinds of address, so that the compiler refuses to mix them, and the
// few arithmetic helpers everything uses.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t v;
} hpa_t; // host-physical
typedef struct {
    uint64_t v;
} gpa_t; // guest-physical
typedef struct {
    uint64_t v;
} hva_t; // host-virtual, kernel or ring 3

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ULL
#define SIZE_2M    (1ULL << 21)
#define SIZE_1G    (1ULL << 30)

#define BIT(n)         (1ULL << (n))
#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))

#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

// `align` is a power of two.
/*@ assigns \nothing;
    ensures \result == (value & (uint64_t)~(uint64_t)(align - 1)); */
static inline uint64_t align_down(uint64_t value, uint64_t align) {
    return value & ~(align - 1);
}
/*@ assigns \nothing;
    ensures \result == ((uint64_t)((uint64_t)(value + align) - 1) & (uint64_t)~(uint64_t)(align - 1)); */
static inline uint64_t align_up(uint64_t value, uint64_t align) {
    return (value + align - 1) & ~(align - 1);
}
/*@ assigns \nothing;
    ensures \result <==> (value & (uint64_t)(align - 1)) == 0; */
static inline bool is_aligned(uint64_t value, uint64_t align) {
    return (value & (align - 1)) == 0;
}
// True when [base, base+size) wraps or does not lie within [0, limit).
/*@ assigns \nothing;
    ensures \result <==> base + size > limit; */
static inline bool range_exceeds(uint64_t base, uint64_t size, uint64_t limit) {
    return base > limit || size > limit - base;
}
