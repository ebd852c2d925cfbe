// SPDX-License-Identifier: Apache-2.0
// A guest that registers its clock and its steal time wherever it likes: what is no memory of its
// own is #GP and changes nothing; on its own memory the host writes the structure and no byte more,
// however often the place changes, and nothing at a place that was left.
#include "runtime/cpu.h"
#include "runtime/pvclock.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define ROUNDS  1000u
#define PATTERN 0x5aa5c33c0ff0f00fULL
#define WORDS   (PAGE_SIZE / sizeof(uint64_t))

static const uint32_t msrs[] = {MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_STEAL_TIME};
static const uint32_t sizes[] = {sizeof(struct pvclock), sizeof(struct pvclock_steal)};

static void check_refused(uint32_t msr, uint64_t value) {
    uint64_t before = rdmsr(msr);
    try_wrmsr(msr, value);
    CHECK_FAULT(EXC_GP, 0);
    CHECK_EQ(rdmsr(msr), before);
}

static void check_places(void) {
    const uint64_t places[] = {
        0xa0000,                               // video memory, where nothing is
        0xbffc0,    low_ram_end(),             // behind the end of RAM
        0xc0000000, 0xfebff000,                // PCI devices
        0xfec00000, 0xfed00000,    0xfee00000, // IOAPIC, HPET, local APIC
        0xffff0000, 0xffffffc0,                // firmware
        BIT(32),    BIT(39),       BIT(46),    BIT(52), BIT(63), ~63ULL,
    };
    for (size_t i = 0; i < ARRAY_COUNT(places); i++)
        for (size_t k = 0; k < ARRAY_COUNT(msrs); k++) {
            check_refused(msrs[k], places[i] | PVCLOCK_ENABLE);
            try_wrmsr(msrs[k], places[i]); // switched off it is a number
            CHECK_NO_FAULT();
        }
}

static void check_alignment(uint64_t page) {
    for (uint64_t offset = 2; offset < 64; offset *= 2)
        check_refused(MSR_KVM_STEAL_TIME, (page + offset) | PVCLOCK_ENABLE);
    check_refused(MSR_KVM_SYSTEM_TIME_NEW, (page + 2) | PVCLOCK_ENABLE);
    for (uint64_t size = 4; size < sizeof(struct pvclock); size += 4)
        check_refused(MSR_KVM_SYSTEM_TIME_NEW, (page + PAGE_SIZE - size) | PVCLOCK_ENABLE);
}

static void fill(volatile uint64_t *page) {
    for (size_t i = 0; i < WORDS; i++)
        page[i] = PATTERN;
}

// How many words are as they were filled.
static size_t count_kept(volatile uint64_t *page) {
    size_t kept = 0;
    for (size_t i = 0; i < WORDS; i++)
        kept += page[i] == PATTERN;
    return kept;
}

// Each time another page, and another place in it, up to the last one.
static void check_rounds(uint64_t first, uint64_t pages) {
    volatile uint64_t *last = NULL;
    uint32_t spilled = 0, late = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t k = i % ARRAY_COUNT(msrs);
        volatile uint64_t *page = (volatile uint64_t *)(first + i * 7 % pages * PAGE_SIZE);
        uint64_t offset = i * 192 % PAGE_SIZE;
        fill(page);
        if (last != NULL)
            fill(last);
        wrmsr(msrs[k], ((uintptr_t)page + offset) | PVCLOCK_ENABLE);
        wrmsr(MSR_TSC, rdtsc() + 1000); // has the clock written again
        wrmsr(msrs[k], 0);
        spilled += count_kept(page) < WORDS - sizes[k] / sizeof(uint64_t);
        late += last != NULL && last != page && count_kept(last) != WORDS;
        last = page;
    }
    CHECK_EQ(spilled, 0);
    CHECK_EQ(late, 0);
}

// Both in one place, where the time stolen is written over the clock's version: the guest's own
// affair.
static void check_overlap(uint64_t page) {
    wrmsr(MSR_KVM_STEAL_TIME, page | PVCLOCK_ENABLE);
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, page | PVCLOCK_ENABLE);
    for (uint32_t i = 0; i < ROUNDS; i++)
        wrmsr(MSR_TSC, rdtsc() + 1);
    const volatile struct pvclock *clock = (const volatile struct pvclock *)page;
    CHECK(clock->multiplier != 0);
    wrmsr(MSR_KVM_STEAL_TIME, 0);
    wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
}

void test(void) {
    uint64_t first = align_up((uintptr_t)image_end, PAGE_SIZE);
    uint64_t pages = (low_ram_end() - first) / PAGE_SIZE;
    check_places();
    check_alignment(first);
    check_rounds(first, pages);
    check_overlap(low_ram_end() - PAGE_SIZE);
}
