// SPDX-License-Identifier: Apache-2.0
// See kernel/withdrawn.h.
#include "kernel/withdrawn.h"

#include "kernel/kspace.h"
#include "kernel/machine.h"

#define GIVEN (BIT(BOOT_MEMORY_FREE) | BIT(BOOT_MEMORY_LOADER) | BIT(BOOT_MEMORY_MODULE))

static uint64_t withdrawn[WITHDRAWN_MAX]; // 0: none (atomic)

bool withdrawn_add(hpa_t frame) {
    bool is_given = false;
    for (const struct boot_memory *r = machine_memory; r < machine_memory + machine.memory_count;
         r++)
        is_given |= frame.v - r->base < r->length && (GIVEN >> r->type & 1) != 0;
    for (uint32_t i = 0; is_given && !kspace_is_direct(frame) && i < WITHDRAWN_MAX; i++) {
        uint64_t there = 0;
        if (__atomic_compare_exchange_n(&withdrawn[i], &there, frame.v, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE) ||
            there == frame.v)
            return true;
    }
    return false;
}

uint64_t withdrawn_next(uint64_t begin, uint64_t end) {
    for (uint32_t i = 0; i < WITHDRAWN_MAX; i++) {
        uint64_t frame = __atomic_load_n(&withdrawn[i], __ATOMIC_ACQUIRE);
        if (frame >= begin && frame < end && frame != 0)
            end = frame;
    }
    return end;
}
