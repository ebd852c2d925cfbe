// SPDX-License-Identifier: Apache-2.0
// See arch/cache.h.
#include "arch/cache.h"

enum cache_msr {
    MSR_PQR_ASSOC = 0xc8f,
    MSR_L3_MASK_0 = 0xc90,
};

#define LEAF_BASIC      0x0u
#define LEAF_STRUCTURED 0x7u
#define LEAF_ALLOCATION 0x10u
#define EBX_ALLOCATION  BIT(15) // of leaf 7: RDT-A
#define EBX_L3          BIT(1)  // of LEAF_ALLOCATION, subleaf 0
#define SUBLEAF_L3      1u
#define WAYS(eax)       (((eax)&0x1f) + 1)
#define CLASSES(edx)    (((edx)&0xffff) + 1)
#define PQR_CLASS_SHIFT 32
#define CLASS_COUNT_MAX 16u

static uint32_t ways, class_count;
static uint32_t masks[CLASS_COUNT_MAX]; // 0: nobody has had it (atomic)
static uint32_t generation;             // counts changes of masks (atomic)

void cache_init(void) {
    if (x86_cpuid(LEAF_BASIC, 0).eax < LEAF_ALLOCATION ||
        (x86_cpuid(LEAF_STRUCTURED, 0).ebx & EBX_ALLOCATION) == 0 ||
        (x86_cpuid(LEAF_ALLOCATION, 0).ebx & EBX_L3) == 0)
        return;
    struct cpuid_result r = x86_cpuid(LEAF_ALLOCATION, SUBLEAF_L3);
    ways = WAYS(r.eax);
    class_count = MIN(CLASSES(r.edx), CLASS_COUNT_MAX);
}

// Ways side by side: with the lowest bit added, one bit is left, above them.
static bool is_row(uint32_t mask) {
    uint64_t above = (uint64_t)mask + (mask & -mask);
    return mask != 0 && (above & (above - 1)) == 0 && mask >> (ways - 1) <= 1;
}

bool cache_is_valid(uint32_t class, uint32_t mask) {
    return class == 0 ? mask == 0 : class < class_count && is_row(mask);
}

void cache_set(uint32_t class, uint32_t mask) {
    if (class == 0 || __atomic_exchange_n(&masks[class], mask, __ATOMIC_RELAXED) == mask)
        return;
    __atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
}

// The masks that this CPU's package may not have yet.
static __attribute__((noinline)) void write_masks(struct cpu *cpu, uint32_t seen) {
    for (uint32_t i = 1; i < class_count; i++) {
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
