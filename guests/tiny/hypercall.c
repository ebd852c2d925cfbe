// SPDX-License-Identifier: Apache-2.0
// Hypercalls as KVM answers them, since CPUID says KVM: what is not known is -ENOSYS, and a pair of
// clocks tells the date at a time of the TSC. Other rings and modes: hostile-hypercall. Linux,
// Documentation/virt/kvm/x86/hypercalls.rst.
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/pvclock.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VAPIC_POLL_IRQ 1u
#define KICK_CPU       5u
#define CLOCK_PAIRING  9u
#define SEND_IPI       10u
#define SCHED_YIELD    11u

#define EFAULT     14
#define EOPNOTSUPP 95
#define ENOSYS     1000

#define NS_PER_SECOND 1000000000ULL
#define NOWHERE       0xd0000000ULL
#define UNTOUCHED     0xa5u

struct pair {
    int64_t seconds, nanoseconds;
    uint64_t tsc;
    uint32_t flags, padding[9];
};

static struct {
    struct pair pair;
    uint8_t behind[8];
} __attribute__((aligned(64))) there;

static bool has_vmmcall; // AMD's

static int64_t hypercall(uint64_t number, uint64_t a, uint64_t b) {
    int64_t answer;
    if (has_vmmcall)
        __asm__ volatile("vmmcall" : "=a"(answer) : "a"(number), "b"(a), "c"(b) : "memory");
    else
        __asm__ volatile("vmcall" : "=a"(answer) : "a"(number), "b"(a), "c"(b) : "memory");
    return answer;
}

static void check_numbers(void) {
    CHECK_EQ(hypercall(VAPIC_POLL_IRQ, 0, 0), 0);
    static const uint64_t unknown[] = {0,
                                       2,
                                       3,
                                       KICK_CPU,
                                       8,
                                       SEND_IPI,
                                       SCHED_YIELD,
                                       12,
                                       1000,
                                       UINT32_MAX,
                                       BIT(32) | CLOCK_PAIRING,
                                       UINT64_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        CHECK_EQ(hypercall(unknown[i], (uintptr_t)&there, 0), -ENOSYS);
}

static uint64_t ns_of(uint64_t ticks) {
    return ticks / tsc_hz() * NS_PER_SECOND + ticks % tsc_hz() * NS_PER_SECOND / tsc_hz();
}

static uint64_t date_of(const struct pair *pair) {
    return (uint64_t)pair->seconds * NS_PER_SECOND + (uint64_t)pair->nanoseconds;
}

// The same date as the wall clock's, and as far from the next as the TSC says.
static void check_pair(void) {
    static struct pvclock_wall wall __attribute__((aligned(4)));
    struct pair first;
    memset(&there, UNTOUCHED, sizeof(there));
    uint64_t before = rdtsc();
    CHECK_EQ(hypercall(CLOCK_PAIRING, (uintptr_t)&there, 0), 0);
    uint64_t after = rdtsc();
    first = there.pair;
    CHECK(first.tsc >= before && first.tsc <= after);
    CHECK(first.nanoseconds >= 0 && (uint64_t)first.nanoseconds < NS_PER_SECOND);
    CHECK_EQ(first.flags, 0);
    CHECK_EQ(there.behind[0], UNTOUCHED);
    wrmsr(MSR_KVM_WALL_CLOCK_NEW, (uintptr_t)&wall);
    uint64_t boot = wall.seconds * NS_PER_SECOND + wall.nanoseconds;
    uint64_t since = ns_of(first.tsc);
    int64_t off = (int64_t)(date_of(&first) - boot - since);
    CHECK(off > -1000000 && off < 1000000);
    wait_us(2000);
    CHECK_EQ(hypercall(CLOCK_PAIRING, (uintptr_t)&there, 0), 0);
    uint64_t ticks = there.pair.tsc - first.tsc;
    uint64_t ns = date_of(&there.pair) - date_of(&first);
    uint64_t want = ns_of(ticks);
    CHECK(ns + 2000 > want && want + 2000 > ns);
}

static void check_refused(void) {
    memset(&there, UNTOUCHED, sizeof(there));
    CHECK_EQ(hypercall(CLOCK_PAIRING, (uintptr_t)&there, 1), -EOPNOTSUPP);
    CHECK_EQ(hypercall(CLOCK_PAIRING, NOWHERE, 0), -EFAULT);
    CHECK_EQ(hypercall(CLOCK_PAIRING, low_ram_end() - 32, 0), -EFAULT);
    CHECK_EQ(hypercall(CLOCK_PAIRING, UINT64_MAX - 8, 0), -EFAULT);
    CHECK_EQ(*(uint8_t *)&there, UNTOUCHED);
}

void test(void) {
    has_vmmcall = is_amd();
    check_numbers();
    check_pair();
    check_refused();
}
