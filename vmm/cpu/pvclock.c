// SPDX-License-Identifier: Apache-2.0
// Paravirtual time; the interface is told in pvclock.h.
#include "vmm/cpu/pvclock.h"

#include "lib/types.h"

#define NS_PER_SECOND    1000000000ULL
#define CLOCK_RESERVED   2u
#define STEAL_RESERVED   0x3eu
#define CLOCK_TSC_STABLE 1u

// All have a version, which is odd while they are being written. MSR_KVM_WALL_CLOCK_NEW:
struct wall {
    uint32_t version;
    uint32_t seconds;
    uint32_t nanoseconds;
};

// MSR_KVM_SYSTEM_TIME_NEW:
struct __attribute__((packed, aligned(4))) clock_page {
    uint32_t version;
    uint32_t reserved0;
    uint64_t tsc; // at which the clock shows `ns`
    uint64_t ns;
    uint32_t multiplier; // pvclock_scale
    int8_t shift;
    uint8_t flags;
    uint8_t reserved1[2];
};
_Static_assert(sizeof(struct clock_page) == 32, "msr.rst, MSR_KVM_SYSTEM_TIME_NEW");

// MSR_KVM_STEAL_TIME:
struct steal {
    uint64_t ns;
    uint32_t version;
    uint32_t flags;
    uint8_t is_preempted;
    uint8_t reserved[47];
};
_Static_assert(sizeof(struct steal) == 64, "msr.rst, MSR_KVM_STEAL_TIME");

// Around a change: odd before, even after, whatever it was.
static void begin(uint32_t *version) {
    __atomic_store_n(version, __atomic_load_n(version, __ATOMIC_RELAXED) | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end(uint32_t *version) {
    __atomic_store_n(version, (__atomic_load_n(version, __ATOMIC_RELAXED) | 1) + 1,
                     __ATOMIC_RELEASE);
}

void pvclock_scale(uint64_t hz, uint32_t *multiplier, int8_t *shift) {
    // So that the multiplier has all its 32 bits: ns a shifted tick are from 1/2 to 1.
    unsigned left = 0, right = 0;
    while (hz << left <= NS_PER_SECOND)
        left++;
    while (hz > 2 * NS_PER_SECOND << right)
        right++;
    *multiplier = (uint32_t)((NS_PER_SECOND << (32 + right)) / (hz << left));
    *shift = (int8_t)(left > 0 ? (int)left : -(int)right);
}

bool pvclock_write_clock(const struct memory *memory, const struct pvclock_rate *rate,
                         uint64_t value, uint64_t tsc_adjust) {
    uint64_t gpa = value & ~(uint64_t)PVCLOCK_ENABLE;
    if (value & CLOCK_RESERVED || gpa % PAGE_SIZE > PAGE_SIZE - sizeof(struct clock_page))
        return false;
    if (!(value & PVCLOCK_ENABLE))
        return true;
    struct clock_page *clock = memory_writable(memory, gpa, sizeof(*clock));
    if (clock == NULL)
        return false;
    uint32_t multiplier;
    int8_t shift;
    pvclock_scale(rate->tsc_hz, &multiplier, &shift);
    begin(&clock->version);
    clock->tsc = tsc_adjust;
    clock->ns = 0;
    clock->multiplier = multiplier;
    clock->shift = shift;
    clock->flags = rate->is_stable ? CLOCK_TSC_STABLE : 0;
    end(&clock->version);
    return true;
}

bool pvclock_write_wall(const struct memory *memory, uint64_t value, uint64_t ns_since_1970) {
    struct wall *wall = memory_writable(memory, value, sizeof(*wall));
    if (wall == NULL || value % sizeof(wall->version) != 0)
        return false;
    begin(&wall->version);
    wall->seconds = (uint32_t)(ns_since_1970 / NS_PER_SECOND);
    wall->nanoseconds = (uint32_t)(ns_since_1970 % NS_PER_SECOND);
    end(&wall->version);
    return true;
}

bool pvclock_begin_steal(const struct memory *memory, uint64_t value) {
    if (value & STEAL_RESERVED)
        return false;
    if (!(value & PVCLOCK_ENABLE))
        return true;
    struct steal *steal =
        memory_writable(memory, value & ~(uint64_t)PVCLOCK_ENABLE, sizeof(*steal));
    if (steal == NULL)
        return false;
    begin(&steal->version);
    steal->is_preempted = false;
    end(&steal->version);
    return true;
}
