// SPDX-License-Identifier: Apache-2.0
// Device registers by many instructions and in several sizes: what reads, writes, and does both at
// once; flags and destinations are as they would be with RAM.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define WINDOW   (IOAPIC_BASE + 0x10)
#define REGISTER IOAPIC_ENTRY(23u) // a redirection entry that nobody uses
#define HIGH     (REGISTER + 1)    // whose upper half holds 8 bits of destination
#define MASKED   0x10000u

#define FLAG_CF 1u
#define FLAG_ZF 0x40u

// The entry's low half keeps vector, mode, polarity, trigger and mask.
static void set(uint32_t value) {
    ioapic_write(REGISTER, MASKED | value);
}
static uint32_t get(void) {
    return ioapic_read(REGISTER) & ~MASKED;
}

// `code` works on the window (%0), with RAX in and out.
#define ON_WINDOW(code, rax)                                                                       \
    __asm__ volatile(code : "+a"(rax) : "D"(WINDOW) : "rcx", "rdx", "memory", "cc")

static void check_reads(void) {
    uint64_t rax = UINT64_MAX;
    set(0x2a);
    ON_WINDOW("movl (%1), %k0", rax);
    CHECK_EQ(rax, MASKED | 0x2a);
    rax = UINT64_MAX;
    ON_WINDOW("movzbl (%1), %k0", rax);
    CHECK_EQ(rax, 0x2a);
    set(0x81);
    rax = 0;
    ON_WINDOW("movsbq (%1), %q0", rax);
    CHECK_EQ(rax, 0xffffffffffffff81ULL);
    rax = 0x1111111111111111ULL;
    ON_WINDOW("movb (%1), %b0", rax);
    CHECK_EQ(rax, 0x1111111111111181ULL);
    rax = 1;
    ON_WINDOW("addl (%1), %k0", rax);
    CHECK_EQ(rax, MASKED | 0x82);
    rax = UINT32_MAX;
    ON_WINDOW("andl (%1), %k0", rax);
    CHECK_EQ(rax, MASKED | 0x81);
    rax = 0;
    ON_WINDOW("xorl (%1), %k0; notl %k0", rax);
    CHECK_EQ(rax, (uint32_t) ~(MASKED | 0x81));
}

static void check_flags(void) {
    uint64_t rax = MASKED | 0x33, flags;
    set(0x33);
    ON_WINDOW("cmpl %k0, (%1); pushfq; pop %0", rax);
    CHECK(rax & FLAG_ZF);
    rax = MASKED | 0x34;
    ON_WINDOW("cmpl %k0, (%1); pushfq; pop %0", rax); // memory is below
    CHECK(!(rax & FLAG_ZF) && (rax & FLAG_CF));
    rax = 0;
    ON_WINDOW("testl $0x30, (%1); pushfq; pop %0", rax);
    CHECK(!(rax & FLAG_ZF));
    ON_WINDOW("testb $0x44, (%1); pushfq; pop %0", rax);
    CHECK(rax & FLAG_ZF);
    ON_WINDOW("btl $1, (%1); pushfq; pop %0", rax);
    CHECK(rax & FLAG_CF);
    flags = 0;
    ON_WINDOW("btl $2, (%1); pushfq; pop %0", flags);
    CHECK(!(flags & FLAG_CF));
}

static void check_writes(void) {
    uint64_t rax = MASKED | 0x44;
    set(0);
    ON_WINDOW("movl %k0, (%1)", rax);
    CHECK_EQ(get(), 0x44);
    ON_WINDOW("movl $0x10055, (%1)", rax);
    CHECK_EQ(get(), 0x55);
}

static void check_both(void) {
    uint64_t rax = 0x02;
    set(0x40);
    ON_WINDOW("orl %k0, (%1)", rax);
    CHECK_EQ(get(), 0x42);
    ON_WINDOW("andl $0x1000f, (%1)", rax);
    CHECK_EQ(get(), 0x02);
    ON_WINDOW("xorl $0x30, (%1)", rax);
    CHECK_EQ(get(), 0x32);
    ON_WINDOW("addl %k0, (%1)", rax);
    CHECK_EQ(get(), 0x34);
    ON_WINDOW("subl $4, (%1)", rax);
    CHECK_EQ(get(), 0x30);
    ON_WINDOW("incl (%1)", rax);
    CHECK_EQ(get(), 0x31);
    ON_WINDOW("decl (%1)", rax);
    CHECK_EQ(get(), 0x30);
    ON_WINDOW("btsl $0, (%1)", rax);
    CHECK_EQ(get(), 0x31);
    ON_WINDOW("btrl $4, (%1)", rax);
    CHECK_EQ(get(), 0x21);
    ON_WINDOW("lock btcl $1, (%1)", rax);
    CHECK_EQ(get(), 0x23);
}

static void check_exchanges(void) {
    uint64_t rax = MASKED | 0x77;
    set(0x70);
    ON_WINDOW("xchgl %k0, (%1)", rax);
    CHECK_EQ(rax, MASKED | 0x70);
    CHECK_EQ(get(), 0x77);
    rax = MASKED | 0x77;
    ON_WINDOW("movl $0x10078, %%ecx; lock cmpxchgl %%ecx, (%1)", rax);
    CHECK_EQ(get(), 0x78);
    rax = MASKED | 0x77; // does not match: RAX gets what is there
    ON_WINDOW("movl $0x10079, %%ecx; lock cmpxchgl %%ecx, (%1)", rax);
    CHECK_EQ(get(), 0x78);
    CHECK_EQ(rax, MASKED | 0x78);
    rax = 1;
    ON_WINDOW("lock xaddl %k0, (%1)", rax);
    CHECK_EQ(get(), 0x79);
    CHECK_EQ(rax, MASKED | 0x78);
}

static void check_strings(void) {
    static uint32_t words[4];
    uint64_t from = WINDOW, to = (uintptr_t)words, count = 1;
    set(0x4a);
    __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    CHECK_EQ(words[0], MASKED | 0x4a);
    CHECK(from == WINDOW + 4 && to == (uintptr_t)&words[1] && count == 0);
    words[0] = MASKED | 0x4b;
    from = (uintptr_t)words;
    to = WINDOW;
    __asm__ volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
    CHECK_EQ(get(), 0x4b);
    from = WINDOW;
    uint64_t rax = 0;
    __asm__ volatile("lodsl" : "+S"(from), "+a"(rax) : : "memory");
    CHECK_EQ(rax, MASKED | 0x4b);
    to = WINDOW;
    rax = MASKED | 0x4c;
    __asm__ volatile("stosl" : "+D"(to) : "a"(rax) : "memory");
    CHECK_EQ(get(), 0x4c);
    CHECK_EQ(to, WINDOW + 4);
}

static void check_local_apic(void) {
    lapic_init(false);
    uint64_t address = LAPIC_BASE + LAPIC_TPR, rax = 0x20;
    __asm__ volatile("movl %k0, (%1)" : : "a"(rax), "D"(address) : "memory");
    CHECK_EQ(read_cr8(), 2);
    __asm__ volatile("orl $0x50, (%0)" : : "D"(address) : "memory");
    CHECK_EQ(lapic_read(LAPIC_TPR), 0x70);
    __asm__ volatile("addl (%1), %k0" : "+a"(rax) : "D"(address) : "memory");
    CHECK_EQ(rax, 0x90);
    lapic_write(LAPIC_TPR, 0);
    CHECK_EQ(lapic_read(LAPIC_VERSION) & 0xff, 0x14);
    CHECK_EQ(lapic_read(LAPIC_ID), 0);
}

static void check_operands(void) {
    uint64_t base = WINDOW - 0x40, index = 4, value = 0;
    set(0x5d);
    __asm__ volatile("movl 0x20(%1,%2,8), %k0" : "+a"(value) : "r"(base), "r"(index) : "memory");
    CHECK_EQ(value, MASKED | 0x5d);
    __asm__ volatile("movl %k1, %%r13d; movl (%%r13), %k0" : "=a"(value) : "r"(WINDOW) : "r13");
    CHECK_EQ(value, MASKED | 0x5d);
    wrmsr(MSR_GS_BASE, WINDOW - 8);
    __asm__ volatile("movl %%gs:8, %k0" : "=a"(value));
    CHECK_EQ(value, MASKED | 0x5d);
    __asm__ volatile("movabsl 0xfec00010, %%eax" : "=a"(value));
    CHECK_EQ((uint32_t)value, MASKED | 0x5d);
}

void test(void) {
    CHECK_EQ((ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1, IOAPIC_INPUTS);
    ioapic_write(HIGH, 0);
    check_reads();
    check_flags();
    check_writes();
    check_both();
    check_exchanges();
    check_strings();
    check_operands();
    check_local_apic();
}
