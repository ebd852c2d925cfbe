// SPDX-License-Identifier: Apache-2.0
// Page tables that processors share: what one changes, no other sees as it was, once each has
// invalidated it and said so. A writer moves one virtual page from frame to frame, tells all others
// by an interrupt, and waits for their answers; they read that page all the time. By INVLPG, by MOV
// to CR3 and by CR4.PGE; pages of 4 KiB and of 2 MiB, global or not.
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR     0x61
#define ROUNDS     60u
#define FRAMES     4u
#define WINDOW     (1ULL << 39) // by entry 1 of the top table
#define LARGE_BASE 0x400000ULL  // frames of 2 MiB lie from here on

#define PTE_PRESENT BIT(0)
#define PTE_WRITE   BIT(1)
#define PTE_LARGE   BIT(7)
#define PTE_GLOBAL  BIT(8)

enum method { BY_INVLPG, BY_CR3, BY_PGE };

static uint64_t pointers[512] __attribute__((aligned(4096)));
static uint64_t directory[512] __attribute__((aligned(4096)));
static uint64_t table[512] __attribute__((aligned(4096)));
static uint8_t small_frames[FRAMES][4096] __attribute__((aligned(4096)));

static enum method method;
static bool is_large, is_global;
static volatile uint32_t published; // every processor has dropped what stood there before
static volatile uint32_t answers, is_over, stale_count, read_count[SMP_CPUS_MAX];
static volatile uint32_t fault_count[SMP_CPUS_MAX], expects_fault;

static volatile uint32_t *frame_at(uint32_t epoch) {
    uint64_t at =
        is_large ? LARGE_BASE + epoch % FRAMES * SIZE_2M : (uintptr_t)small_frames[epoch % FRAMES];
    return (volatile uint32_t *)(uintptr_t)at;
}

static void set_entry(uint32_t epoch, uint64_t flags) {
    volatile uint64_t *entry = is_large ? &directory[0] : &table[0];
    uint64_t value = (uintptr_t)frame_at(epoch) | flags;
    value |= is_large ? PTE_LARGE : 0;
    value |= is_global ? PTE_GLOBAL : 0;
    *entry = value;
}

static void make_tables(void) {
    uint64_t *top = (uint64_t *)(uintptr_t)read_cr3();
    top[1] = (uintptr_t)pointers | PTE_PRESENT | PTE_WRITE;
    pointers[0] = (uintptr_t)directory | PTE_PRESENT | PTE_WRITE;
    directory[0] = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
}

static void invalidate(void) {
    if (method == BY_INVLPG) {
        invlpg(WINDOW);
    } else if (method == BY_CR3) {
        write_cr3(read_cr3());
    } else {
        write_cr4(read_cr4() & ~CR4_PGE);
        write_cr4(read_cr4() | CR4_PGE);
    }
}

static void on_shootdown(struct trap_frame *frame) {
    (void)frame;
    invalidate();
    smp_add(&answers);
    lapic_eoi();
}

// The page is not there, or may not be written: only when it should be so.
static void on_page_fault(struct trap_frame *frame) {
    CHECK(expects_fault);
    CHECK_EQ(read_cr2(), WINDOW);
    smp_add(&fault_count[smp_self()]);
    frame->rip += 2; // both accesses below are of two bytes
}

static uint32_t read_window(void) {
    uint32_t value = UINT32_MAX;
    __asm__ volatile("movl (%%rcx), %%eax" : "+a"(value) : "c"(WINDOW) : "memory");
    return value;
}

static void write_window(uint32_t value) {
    __asm__ volatile("movl %%eax, (%%rcx)" : : "a"(value), "c"(WINDOW) : "memory");
}

// What was published before the look is the oldest that may be seen after it.
static void read_on(void) {
    uint32_t self = smp_self();
    while (!is_over) {
        uint32_t oldest = published;
        uint32_t seen = read_window();
        if (seen < oldest)
            smp_add(&stale_count);
        smp_add(&read_count[self]);
    }
}

static void shoot_down(void) {
    answers = 0;
    lapic_send(0, LAPIC_ICR_OTHERS | LAPIC_ICR_ASSERT | VECTOR);
    invalidate();
    CHECK(smp_wait_for(&answers, smp_count - 1));
}

static void check_moves(enum method by, bool large, bool global) {
    method = by;
    is_large = large;
    is_global = global;
    directory[0] = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
    is_over = published = 0;
    *frame_at(0) = 0;
    set_entry(0, PTE_PRESENT | PTE_WRITE);
    shoot_down();
    for (uint32_t i = 0; i < smp_count; i++)
        read_count[i] = 0;
    smp_run_others(read_on);
    for (uint32_t i = 1; i < smp_count; i++)
        CHECK(smp_wait_for(&read_count[i], 1));
    for (uint32_t epoch = 1; epoch <= ROUNDS; epoch++) {
        *frame_at(epoch) = epoch;
        set_entry(epoch, PTE_PRESENT | PTE_WRITE);
        shoot_down();
        *frame_at(epoch - 1) = 0; // who still sees it sees what is older than all
        published = epoch;
        CHECK_EQ(read_window(), epoch);
    }
    is_over = 1;
    smp_join_others();
    CHECK_EQ(stale_count, 0);
}

static void touch(void) {
    CHECK_EQ(read_window(), UINT32_MAX);
    write_window(1);
}

static void write_only(void) {
    write_window(1);
}

static void expect_faults(smp_function *function, uint32_t count) {
    for (uint32_t i = 0; i < smp_count; i++)
        fault_count[i] = 0;
    shoot_down();
    expects_fault = 1;
    smp_run_all(function);
    expects_fault = 0;
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK_EQ(fault_count[i], count);
}

// A page that goes, and one that may only be read any more (CR0.WP is on everywhere).
static void check_rights(void) {
    method = BY_INVLPG;
    is_large = is_global = false;
    directory[0] = (uintptr_t)table | PTE_PRESENT | PTE_WRITE;
    *frame_at(0) = 77;
    set_entry(0, PTE_PRESENT);
    expect_faults(write_only, 1);
    CHECK_EQ(read_window(), 77);
    set_entry(0, 0);
    expect_faults(touch, 2);
    CHECK_EQ(*frame_at(0), 77);
}

static void protect(void) {
    write_cr0(read_cr0() | CR0_WP);
}

void test(void) {
    trap_set_handler(VECTOR, on_shootdown);
    trap_set_handler(EXC_PF, on_page_fault);
    make_tables();
    smp_start(cmdline_has("x2apic"));
    smp_run_all(protect);
    check_moves(BY_INVLPG, false, false);
    check_moves(BY_INVLPG, true, false);
    check_moves(BY_CR3, false, false);
    check_moves(BY_PGE, false, true);
    check_moves(BY_INVLPG, false, true);
    check_rights();
}
