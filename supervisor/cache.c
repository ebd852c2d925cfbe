// SPDX-License-Identifier: Apache-2.0
// The partition follows from the manifest alone, whichever VMs run: so no VM's share changes when
// another one starts.
#include "supervisor/cache.h"

#define LEAF_MAX       0u
#define LEAF_RDT       0x10u // SDM 2A 3.3 "Instructions (A-L)", CPUID
#define RDT_EBX_L3     (1u << 1)
#define RDT_L3         1u
#define RDT_EAX_LENGTH 0x1fu // ways, less one

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *eax, uint32_t *ebx) {
    uint32_t ecx = subleaf;
    uint32_t edx;
    __asm__ volatile("cpuid" : "=a"(*eax), "=b"(*ebx), "+c"(ecx), "=d"(edx) : "0"(leaf));
}

uint32_t cache_ways(void) {
    uint32_t eax;
    uint32_t ebx;
    cpuid(LEAF_MAX, 0, &eax, &ebx);
    if (eax < LEAF_RDT) {
        return 0;
    }
    cpuid(LEAF_RDT, 0, &eax, &ebx);
    if ((ebx & RDT_EBX_L3) == 0) {
        return 0;
    }
    cpuid(LEAF_RDT, RDT_L3, &eax, &ebx);
    return (eax & RDT_EAX_LENGTH) + 1;
}

static uint32_t low_bits(uint32_t count) {
    return (uint32_t)((1ULL << count) - 1);
}

bool cache_mask(const struct manifest *manifest, uint32_t index, uint32_t ways, uint32_t *mask) {
    uint32_t left = ways; // the low ones
    *mask = 0;
    for (uint32_t i = 0; i < manifest->vm_count && ways != 0; i++) {
        uint32_t wanted = manifest->vm[i].scheduling.cache;
        if (wanted >= left) { // one way stays for the others
            if (i == index) {
                return false;
            }
            continue;
        }
        left -= wanted;
        if (i == index && wanted != 0) {
            *mask = low_bits(wanted) << left;
        }
    }
    if (left != ways && manifest->vm[index].scheduling.cache == 0) {
        *mask = low_bits(left);
    }
    return true;
}
