// SPDX-License-Identifier: Apache-2.0
// See arch/cache.h.
#include "arch/cache.h"

enum cache_msr {
    MSR_PQR_ASSOC = 0xc8f,
    MSR_L3_MASK_0 = 0xc90,
};

#define PQR_CLASS_SHIFT 32

static uint32_t masks[CPU_CACHE_CLASSES_MAX]; // 0: nobody has had it (atomic)
static uint32_t generation;                   // counts changes of masks (atomic)

// Ways side by side: with the lowest bit added, one bit is left, above them.
static bool is_row(uint32_t mask) {
    uint64_t above = (uint64_t)mask + (mask & -mask);
    return mask != 0 && (above & (above - 1)) == 0 && mask >> (cpu_features.cache_ways - 1) <= 1;
}

bool cache_is_valid(uint32_t class, uint32_t mask) {
    return class == 0 ? mask == 0 : class < cpu_features.cache_classes && is_row(mask);
}

void cache_set(uint32_t class, uint32_t mask) {
    if (class == 0 || __atomic_exchange_n(&masks[class], mask, __ATOMIC_RELAXED) == mask)
        return;
    __atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
}

// The masks that this CPU's package may not have yet.
static __attribute__((noinline)) void write_masks(struct cpu *cpu, uint32_t seen) {
    for (uint32_t i = 1; i < cpu_features.cache_classes; i++) {
        uint32_t mask = __atomic_load_n(&masks[i], __ATOMIC_RELAXED);
        if (mask != 0)
            x86_wrmsr(MSR_L3_MASK_0 + i, mask);
    }
    cpu->cache_generation = seen;
}

void cache_switch(struct cpu *cpu, uint32_t class) {
    uint32_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    if (cpu->cache_generation != now)
        write_masks(cpu, now);
    if (cpu->cache_class == class)
        return;
    cpu->cache_class = class;
    x86_wrmsr(MSR_PQR_ASSOC, (uint64_t) class << PQR_CLASS_SHIFT);
}
