// SPDX-License-Identifier: Apache-2.0
// The partition follows from the manifest alone, whichever VMs run: so no VM's share changes when
// another one starts.
#include "supervisor/cache.h"

#define LEAF_MAX       0u
#define LEAF_FEATURES  7u // SDM 2A 3.3 "Instructions (A-L)", CPUID
#define LEAF_RDT       0x10u
#define FEATURES_EBX   (1u << 15) // RDT-A
#define RDT_EBX_L3     (1u << 1)
#define RDT_L3         1u
#define RDT_EAX_LENGTH 0x1fu // ways, less one
#define RDT_EDX_LAST   0xffffu

#define CLASSES_MAX 16u // that the kernel has a place for
#define CLASS_REST  1u

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *eax, uint32_t *ebx, uint32_t *edx) {
    uint32_t ecx = subleaf;
    __asm__ volatile("cpuid" : "=a"(*eax), "=b"(*ebx), "+c"(ecx), "=d"(*edx) : "0"(leaf));
}

struct cache cache_read(void) {
    uint32_t eax;
    uint32_t ebx;
    uint32_t edx;
    cpuid(LEAF_MAX, 0, &eax, &ebx, &edx);
    if (eax < LEAF_RDT) {
        return (struct cache){0};
    }
    cpuid(LEAF_FEATURES, 0, &eax, &ebx, &edx);
    if ((ebx & FEATURES_EBX) == 0) {
        return (struct cache){0};
    }
    cpuid(LEAF_RDT, 0, &eax, &ebx, &edx);
    if ((ebx & RDT_EBX_L3) == 0) {
        return (struct cache){0};
    }
    cpuid(LEAF_RDT, RDT_L3, &eax, &ebx, &edx);
    uint32_t classes = (edx & RDT_EDX_LAST) + 1;
    return (struct cache){(eax & RDT_EAX_LENGTH) + 1,
                          classes < CLASSES_MAX ? classes : CLASSES_MAX};
}

static uint32_t low_bits(uint32_t count) {
    return (uint32_t)((1ULL << count) - 1);
}

bool cache_divide(const struct manifest *manifest, uint32_t index, struct cache cache,
                  struct cache_part *part) {
    uint32_t left = cache.ways; // the low ones
    uint32_t class = CLASS_REST + 1;
    *part = (struct cache_part){0};
    for (uint32_t i = 0; i < manifest->vm_count && cache.ways != 0; i++) {
        uint32_t wanted = manifest->vm[i].scheduling.cache;
        if (wanted == 0) {
            continue;
        }
        // One way stays for the others.
        bool is_enough = wanted < left && class < cache.classes;
        if (i == index && !is_enough) {
            return false;
        }
        left -= is_enough ? wanted : 0;
        if (i == index) {
            *part = (struct cache_part){class, low_bits(wanted) << left};
        }
        class += is_enough ? 1 : 0;
    }
    if (left != cache.ways && manifest->vm[index].scheduling.cache == 0) {
        *part = (struct cache_part){CLASS_REST, low_bits(left)};
    }
    return true;
}
