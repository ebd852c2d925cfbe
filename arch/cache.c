// SPDX-License-Identifier: Apache-2.0
// See arch/cache.h. A class that nobody has any more keeps its mask until another mask needs it; a
// CPU's register may name it still, until the next switch.
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
static struct {
    uint32_t mask;
    uint32_t users;
} classes[CLASS_COUNT_MAX];
static uint32_t generation; // counts changes of masks (atomic)

void cache_init(void) {
    if (x86_cpuid(LEAF_BASIC, 0).eax < LEAF_ALLOCATION ||
        (x86_cpuid(LEAF_STRUCTURED, 0).ebx & EBX_ALLOCATION) == 0 ||
        (x86_cpuid(LEAF_ALLOCATION, 0).ebx & EBX_L3) == 0)
        return;
    struct cpuid_result r = x86_cpuid(LEAF_ALLOCATION, SUBLEAF_L3);
    ways = WAYS(r.eax);
    class_count = MIN(CLASSES(r.edx), CLASS_COUNT_MAX);
    classes[0].mask = (uint32_t)(BIT(ways) - 1);
    classes[0].users = 1;
}

uint32_t cache_ways(void) {
    return ways;
}

// Ways side by side: with the lowest bit added, one bit is left, above them.
bool cache_is_mask(uint32_t mask) {
    uint64_t above = (uint64_t)mask + (mask & -mask);
    return mask == 0 || (ways != 0 && (above & (above - 1)) == 0 && mask >> (ways - 1) <= 1);
}

int32_t cache_take(uint32_t mask) {
    if (mask == 0)
        return 0;
    uint32_t free = 0;
    for (uint32_t i = 0; i < class_count; i++) {
        if (classes[i].users > 0 && classes[i].mask == mask) {
            classes[i].users++;
            return (int32_t)i;
        }
        if (classes[i].users == 0 && free == 0)
            free = i;
    }
    if (free == 0)
        return -1;
    classes[free].users = 1;
    __atomic_store_n(&classes[free].mask, mask, __ATOMIC_RELAXED);
    __atomic_fetch_add(&generation, 1, __ATOMIC_RELEASE);
    return (int32_t)free;
}

void cache_drop(int32_t class) {
    if (class > 0)
        classes[class].users--;
}

// The masks that this CPU's package may not have yet.
static __attribute__((noinline)) void write_masks(struct cpu *cpu, uint32_t seen) {
    for (uint32_t i = 1; i < class_count; i++) {
        uint32_t mask = __atomic_load_n(&classes[i].mask, __ATOMIC_RELAXED);
        if (mask != 0)
            x86_wrmsr(MSR_L3_MASK_0 + i, mask);
    }
    cpu->cache_generation = seen;
}

void cache_switch(struct cpu *cpu, int32_t class) {
    uint32_t now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
    if (cpu->cache_generation != now)
        write_masks(cpu, now);
    if (cpu->cache_class == class)
        return;
    cpu->cache_class = class;
    x86_wrmsr(MSR_PQR_ASSOC, (uint64_t) class << PQR_CLASS_SHIFT);
}
