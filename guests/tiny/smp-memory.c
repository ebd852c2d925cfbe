// SPDX-License-Identifier: Apache-2.0
// Memory that processors share: locked operations of all widths lose nothing; memory that all touch
// for the first time at once is one memory; locks exclude; stores are seen in order, and after a
// fence by everybody (SDM 3A 8.2.2 "Memory Ordering in P6 and More Recent Processor Families").
#include "lib/string.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define STEPS       3000u
#define FRESH_PAGES 512u
#define FRESH_BASE  0x600000ULL // RAM that nobody has touched before
#define DEKKER      500u
#define MESSAGES    2000u

static struct smp_barrier barrier;

static volatile uint8_t sum8 __attribute__((aligned(64)));
static volatile uint16_t sum16 __attribute__((aligned(64)));
static volatile uint32_t sum32 __attribute__((aligned(64)));
static volatile uint64_t sum64 __attribute__((aligned(64)));
static uint64_t pair[2] __attribute__((aligned(16)));
static uint8_t across[128] __attribute__((aligned(64))); // a counter that lies in two cache lines

#define ACROSS 61u

static void add_pair(void) {
    uint64_t low = pair[0], high = pair[1];
    bool is_done;
    do
        __asm__ volatile("lock cmpxchg16b %1"
                         : "=@ccz"(is_done), "+m"(pair), "+a"(low), "+d"(high)
                         : "b"(low + 1), "c"(high + 2)
                         : "memory");
    while (!is_done);
}

static void count_all(void) {
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < STEPS; i++) {
        __asm__ volatile("lock incb %0" : "+m"(sum8));
        __asm__ volatile("lock addw $3, %0" : "+m"(sum16));
        uint32_t one = 1;
        __asm__ volatile("lock xaddl %1, %0" : "+m"(sum32), "+r"(one));
        uint64_t old = sum64;
        while (!__atomic_compare_exchange_n(&sum64, &old, old + 5, false, __ATOMIC_SEQ_CST,
                                            __ATOMIC_SEQ_CST))
            smp_pause();
        add_pair();
        __asm__ volatile("lock incl %0" : "+m"(*(volatile uint32_t *)(void *)(across + ACROSS)));
    }
}

static void check_locked(void) {
    uint32_t total = STEPS * smp_count;
    smp_run_all(count_all);
    CHECK_EQ(sum8, (uint8_t)total);
    CHECK_EQ(sum16, (uint16_t)(3 * total));
    CHECK_EQ(sum32, total);
    CHECK_EQ(sum64, 5 * (uint64_t)total);
    CHECK_EQ(pair[0], total);
    CHECK_EQ(pair[1], 2 * (uint64_t)total);
    uint32_t seen;
    memcpy(&seen, across + ACROSS, sizeof(seen));
    CHECK_EQ(seen, total);
}

// ---- fresh memory -------------------------------------------------------------------------------

static volatile uint32_t *fresh(uint32_t page) {
    return (volatile uint32_t *)(uintptr_t)(FRESH_BASE + page * (uint64_t)PAGE_SIZE);
}

// From another place each, so that they meet everywhere.
static void touch_fresh(void) {
    uint32_t self = smp_self();
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < FRESH_PAGES; i++) {
        uint32_t page = self % 2 ? FRESH_PAGES - 1 - i : i;
        smp_add(fresh(page));
        fresh(page)[1 + self] = self + 1;
    }
}

static void check_fresh(void) {
    smp_run_all(touch_fresh);
    for (uint32_t page = 0; page < FRESH_PAGES; page++) {
        CHECK_EQ(fresh(page)[0], smp_count);
        for (uint32_t i = 0; i < smp_count; i++)
            CHECK_EQ(fresh(page)[1 + i], i + 1);
        CHECK_EQ(fresh(page)[1 + smp_count], 0);
    }
}

// ---- locks --------------------------------------------------------------------------------------

static volatile uint32_t lock, inside, held_count, violations;

static void exclude(void) {
    smp_barrier(&barrier, smp_count);
    for (uint32_t i = 0; i < STEPS / 4; i++) {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_SEQ_CST) != 0)
            while (lock)
                smp_pause();
        if (inside++ != 0)
            violations++;
        held_count++; // not atomic: the lock has to make it so
        inside--;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    }
}

static void check_exclusion(void) {
    smp_run_all(exclude);
    CHECK_EQ(held_count, STEPS / 4 * smp_count);
    CHECK_EQ(violations, 0);
}

// ---- order --------------------------------------------------------------------------------------

// Two processors store, fence, and look at the other's: at least one must see it.
static volatile uint32_t mine[2], seen_other[2];
static volatile uint32_t both_missed;
static struct smp_barrier pair_barrier;

static void dekker(void) {
    uint32_t self = smp_self();
    for (uint32_t i = 1; i <= DEKKER; i++) {
        smp_barrier(&pair_barrier, 2);
        mine[self] = i;
        __asm__ volatile("mfence" ::: "memory");
        seen_other[self] = mine[1 - self] == i;
        smp_barrier(&pair_barrier, 2);
        if (self == 0 && !seen_other[0] && !seen_other[1])
            both_missed++;
    }
}

// One writes data and then a number; who sees the number sees the data.
static volatile uint32_t number, data[MESSAGES + 1], early;

static void write_messages(void) {
    for (uint32_t i = 1; i <= MESSAGES; i++) {
        data[i] = i * 3;
        __asm__ volatile("" ::: "memory");
        number = i;
    }
}

static void read_messages(void) {
    uint32_t newest = 0;
    while (newest < MESSAGES) {
        newest = number;
        __asm__ volatile("" ::: "memory");
        if (data[newest] != newest * 3)
            smp_add(&early);
    }
}

static void check_order(void) {
    smp_run(1, dekker);
    dekker();
    smp_join(1);
    CHECK_EQ(both_missed, 0);
    smp_run_others(read_messages);
    write_messages();
    smp_join_others();
    CHECK_EQ(early, 0);
}

void test(void) {
    smp_start(cmdline_has("x2apic"));
    check_locked();
    check_fresh();
    check_exclusion();
    check_order();
}
