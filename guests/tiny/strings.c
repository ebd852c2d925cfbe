// SPDX-License-Identifier: Apache-2.0
// Interrupts come within a string instruction that would take hours: between two iterations, with
// the registers of what is done and RIP on the instruction (SDM 2B "REP/REPE/REPZ/REPNE/REPNZ").
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR 0x60
#define PDPT   0xa000ULL // the loader's
#define P_RW   3ULL

#define BASE  0x100000000ULL // behind the identical map: one page, again and again
#define END   0x8000000000ULL
#define COUNT ((END - BASE) / sizeof(uint64_t))

static uint64_t directory[512] __attribute__((aligned(4096)));
static uint64_t entries[512] __attribute__((aligned(4096)));
static uint8_t page[4096] __attribute__((aligned(4096)));

static struct trap_frame seen;

static void on_timer(struct trap_frame *frame) {
    lapic_eoi();
    // The deadline may have come before the instruction was reached, or its first iteration done.
    if (frame->rcx == COUNT || frame->rdi < BASE) {
        wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() / 10000);
        return;
    }
    seen = *frame;
    frame->rcx = 1;
}

static void set_up(void) {
    for (size_t i = 0; i < 512; i++) {
        entries[i] = (uintptr_t)page | P_RW;
        directory[i] = (uintptr_t)entries | P_RW;
    }
    for (uint64_t address = BASE; address < END; address += SIZE_1G)
        ((volatile uint64_t *)PDPT)[address / SIZE_1G] = (uintptr_t)directory | P_RW;
    write_cr3(read_cr3());
    lapic_init(true);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_TSC | VECTOR);
    trap_set_handler(VECTOR, on_timer);
}

static void begin(void) {
    memset(&seen, 0, sizeof(seen));
    wrmsr(MSR_TSC_DEADLINE, rdtsc() + tsc_hz() / 1000);
}

static void check_seen(uint64_t rip, uint64_t rcx, uint64_t rdi) {
    CHECK(seen.rcx > 0 && seen.rcx < COUNT);
    CHECK_EQ(seen.rip, rip);
    CHECK_EQ(seen.rdi, BASE + (COUNT - seen.rcx) * sizeof(uint64_t));
    CHECK_EQ(rcx, 0); // and it goes on: one iteration more
    CHECK_EQ(rdi, seen.rdi + sizeof(uint64_t));
}

// (NOP: in the shadow of STI QEMU 7.2 takes no interrupt until the whole instruction is done.)
static void check_store(void) {
    uint64_t rcx = COUNT, rdi = BASE, rip;
    begin();
    __asm__ volatile("lea 1f(%%rip), %2\n\tsti\n\tnop\n1:\trep stosq\n\tcli"
                     : "+c"(rcx), "+D"(rdi), "=&r"(rip)
                     : "a"(0x0123456789abcdefULL)
                     : "memory", "cc");
    check_seen(rip, rcx, rdi);
}

static void check_compare(void) {
    uint64_t rcx = COUNT, rdi = BASE, rsi = BASE, rip;
    begin();
    __asm__ volatile("lea 1f(%%rip), %3\n\tsti\n\tnop\n1:\trepe cmpsq\n\tcli"
                     : "+c"(rcx), "+D"(rdi), "+S"(rsi), "=&r"(rip)
                     :
                     : "memory", "cc");
    check_seen(rip, rcx, rdi);
    CHECK_EQ(rsi, rdi);
}

void test(void) {
    set_up();
    check_store();
    check_compare();
}
