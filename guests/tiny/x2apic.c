// SPDX-License-Identifier: Apache-2.0
// The registers of a local APIC in x2APIC mode: which are there, and what they refuse; all of that
// whether the processor answers by itself or an exit does. Task priority by either of its
// registers, interrupts of all vectors at once, ends of interrupts that there were none, and an
// APIC that is switched off by software or altogether. SDM 3A 11.12 "Extended XAPIC (x2APIC)".
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define L1_EDX_APIC  BIT(9)
#define MSR_FIRST    0x800u
#define MSR_LAST     0x8ffu
#define MSR_OF(reg)  (MSR_FIRST + (reg) / 16u)
#define VECTOR_FIRST 0x30u
#define VECTOR_LAST  0xefu
#define MIDDLE       0x55u
#define ROUNDS       50u

static uint8_t order[256];
static volatile uint32_t taken;
static uint32_t priority; // of the processor, in the last handler

static void on_interrupt(struct trap_frame *frame) {
    order[taken++ % sizeof(order)] = (uint8_t)frame->vector;
    priority = lapic_read(LAPIC_PPR);
    lapic_eoi();
}

struct range {
    uint32_t first, last;
};

static bool is_in(const struct range *ranges, size_t count, uint32_t msr) {
    for (size_t i = 0; i < count; i++)
        if (msr >= ranges[i].first && msr <= ranges[i].last)
            return true;
    return false;
}

static void check_reads(void) {
    static const struct range readable[] = {{0x802, 0x803}, {0x808, 0x808}, {0x80a, 0x80a},
                                            {0x80d, 0x80d}, {0x80f, 0x828}, {0x830, 0x830},
                                            {0x832, 0x839}, {0x83e, 0x83e}};
    for (uint32_t msr = MSR_FIRST; msr <= MSR_LAST; msr++) {
        uint64_t value = try_rdmsr(msr);
        if (!is_in(readable, ARRAY_COUNT(readable), msr)) {
            CHECK_FAULT(EXC_GP, 0);
            continue;
        }
        CHECK_NO_FAULT();
        CHECK_EQ(value >> 32, 0);
    }
}

static void check_refused(uint32_t msr, uint64_t value) {
    try_wrmsr(msr, value);
    CHECK_FAULT(EXC_GP, 0);
}

static void check_writes(void) {
    static const struct range writable[] = {{0x808, 0x808}, {0x80b, 0x80b}, {0x80f, 0x80f},
                                            {0x828, 0x828}, {0x830, 0x830}, {0x832, 0x838},
                                            {0x83e, 0x83f}};
    for (uint32_t msr = MSR_FIRST; msr <= MSR_LAST; msr++) {
        if (!is_in(writable, ARRAY_COUNT(writable), msr))
            check_refused(msr, 0);
        else if (msr != MSR_OF(LAPIC_ICR)) // whose upper half is the destination
            check_refused(msr, BIT(32));
    }
    check_refused(MSR_OF(LAPIC_TPR), BIT(8));
    check_refused(MSR_OF(LAPIC_EOI), 1);
    check_refused(MSR_OF(LAPIC_SVR), BIT(31));
    check_refused(MSR_OF(LAPIC_ESR), 1);
    check_refused(MSR_OF(LAPIC_ICR), BIT(31));
    check_refused(MSR_OF(LAPIC_SELF_IPI), BIT(8));
}

static void send_self(uint32_t vector) {
    lapic_write(LAPIC_SELF_IPI, vector);
}

static void check_priority(void) {
    lapic_write(LAPIC_TPR, 0x35);
    CHECK_EQ(lapic_read(LAPIC_TPR), 0x35);
    CHECK_EQ(lapic_read(LAPIC_PPR), 0x35);
    CHECK_EQ(read_cr8(), 3);
    write_cr8(0xb);
    CHECK_EQ(lapic_read(LAPIC_TPR), 0xb0);
    CHECK_EQ(lapic_read(LAPIC_PPR), 0xb0);
    write_cr8(0);
}

// One that waits for the task priority comes as soon as that drops, by whichever register.
static void check_held_back(void) {
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t before = taken;
        if (i & 1)
            write_cr8(MIDDLE >> 4);
        else
            lapic_write(LAPIC_TPR, MIDDLE | 0xf);
        send_self(MIDDLE);
        CHECK_EQ(taken, before);
        CHECK(lapic_bit(LAPIC_IRR, MIDDLE));
        if (i & 2)
            write_cr8((MIDDLE >> 4) - 1);
        else
            lapic_write(LAPIC_TPR, (MIDDLE & 0xf0) - 1);
        CHECK(wait_for(&taken, before + 1, PATIENCE_S));
        CHECK_EQ(priority, MIDDLE & 0xf0);
    }
    write_cr8(0);
}

static void check_all_vectors(void) {
    const uint32_t count = VECTOR_LAST - VECTOR_FIRST + 1;
    interrupts_off();
    taken = 0;
    for (uint32_t vector = VECTOR_FIRST; vector <= VECTOR_LAST; vector++)
        send_self(vector);
    for (uint32_t vector = VECTOR_FIRST; vector <= VECTOR_LAST; vector++)
        CHECK(lapic_bit(LAPIC_IRR, (uint8_t)vector) && !lapic_bit(LAPIC_TMR, (uint8_t)vector));
    interrupts_on();
    CHECK(wait_for(&taken, count, PATIENCE_S));
    for (uint32_t i = 0; i < count; i++)
        CHECK_EQ(order[i], VECTOR_LAST - i);
    CHECK_EQ(taken, count);
}

static void check_too_many_ends(void) {
    for (uint32_t i = 0; i < ROUNDS; i++)
        lapic_eoi();
    taken = 0;
    send_self(MIDDLE);
    CHECK(wait_for(&taken, 1, PATIENCE_S));
    CHECK_EQ(lapic_read(LAPIC_PPR), 0);
}

// Registers can be read and nothing arrives. What waited before goes on to wait.
static void check_software_off(void) {
    uint32_t svr = lapic_read(LAPIC_SVR);
    taken = 0;
    interrupts_off();
    send_self(MIDDLE);
    lapic_write(LAPIC_SVR, svr & ~(uint32_t)LAPIC_SVR_ENABLE);
    send_self(MIDDLE + 1);
    interrupts_on();
    wait_us(100);
    CHECK_EQ(taken, 0);
    check_reads();
    check_writes();
    CHECK(lapic_bit(LAPIC_IRR, MIDDLE) && !lapic_bit(LAPIC_IRR, MIDDLE + 1));
    lapic_write(LAPIC_SVR, svr);
    CHECK(wait_for(&taken, 1, PATIENCE_S));
    wait_us(100);
    CHECK_EQ(taken, 1);
    CHECK_EQ(order[0], MIDDLE);
}

static void check_off(void) {
    uint64_t base = rdmsr(MSR_APIC_BASE);
    CHECK(cpuid(1, 0).edx & L1_EDX_APIC);
    check_refused(MSR_APIC_BASE, base + PAGE_SIZE); // it cannot be moved: docs/vmx.md
    CHECK_EQ(rdmsr(MSR_APIC_BASE), base);
    wrmsr(MSR_APIC_BASE, base & ~(APIC_BASE_ENABLE | APIC_BASE_X2APIC));
    CHECK(!(cpuid(1, 0).edx & L1_EDX_APIC));
    for (uint32_t msr = MSR_FIRST; msr <= MSR_LAST; msr++) {
        (void)try_rdmsr(msr);
        CHECK_FAULT(EXC_GP, 0);
        check_refused(msr, 0);
    }
    wrmsr(MSR_APIC_BASE, base & ~APIC_BASE_X2APIC);
    CHECK(cpuid(1, 0).edx & L1_EDX_APIC);
    check_refused(MSR_OF(LAPIC_EOI), 0);
    wrmsr(MSR_APIC_BASE, base);
    CHECK_EQ(lapic_read(LAPIC_SVR), 0xff);
    lapic_write(LAPIC_SVR, (uint32_t)LAPIC_SVR_ENABLE | 0xff);
    check_too_many_ends();
}

void test(void) {
    lapic_init(true);
    for (uint32_t vector = VECTOR_FIRST; vector <= VECTOR_LAST; vector++)
        trap_set_handler((uint8_t)vector, on_interrupt);
    interrupts_on();
    check_reads();
    check_writes();
    check_priority();
    check_held_back();
    check_all_vectors();
    check_too_many_ends();
    check_software_off();
    check_off();
}
