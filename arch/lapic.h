// SPDX-License-Identifier: Apache-2.0
// This CPU's local APIC: x2APIC where the processor has it, xAPIC registers in memory otherwise.
// SDM 3A chapter 11 "Advanced Programmable Interrupt Controller (APIC)".
#pragma once

#include "lib/types.h"

// By offset in the page; SDM 3A Table 11-1 "Local APIC Register Address Map".
enum lapic_register {
    LAPIC_ID = 0x20,
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_PPR = 0xa0,
    LAPIC_EOI = 0xb0,
    LAPIC_LDR = 0xd0,
    LAPIC_DFR = 0xe0,
    LAPIC_SVR = 0xf0,
    LAPIC_ISR = 0x100,
    LAPIC_TMR = 0x180,
    LAPIC_IRR = 0x200,
    LAPIC_ESR = 0x280,
    LAPIC_LVT_CMCI = 0x2f0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR2 = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_THERMAL = 0x330,
    LAPIC_LVT_PERF = 0x340,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3e0,
    LAPIC_SELF_IPI = 0x3f0,
};

#define LVT_DELIVERY_MODE  0x700u
#define LVT_MASKED         BIT(16)
#define LVT_TIMER_DEADLINE BIT(18)
#define SVR_ENABLED        BIT(8)
#define ICR_ASSERT         BIT(14)
#define BROADCAST_XAPIC    0xffu

// Chooses the mode, once, on the boot CPU. `registers` is the mapped register page, needed only
// when the processor has no x2APIC, and `timer_hz` the timer's rate, needed only without the
// TSC-deadline feature.
void lapic_init(volatile uint32_t *registers, uint64_t tsc_hz, uint64_t timer_hz);
// Every CPU: enables it, masks all local sources, programs error and spurious vectors.
void lapic_init_cpu(void);
uint32_t lapic_get_id(void);
void lapic_eoi(void);

// An interrupt to the CPU of this APIC ID: a vector, or one of the three. xAPIC has 8 bits for an
// ID, of which 0xff is everybody: boot/ leaves other CPUs off there.
#define LAPIC_NMI     (4ULL << 8)
#define LAPIC_INIT    (5ULL << 8)
#define LAPIC_STARTUP (6ULL << 8) // | page: starts at page << 12
void lapic_send(uint32_t apic_id, uint64_t command);

// The timer as a one-shot on the TSC (VECTOR_TIMER). Without the TSC-deadline feature it counts the
// APIC's clock, and fires early rather than late when the deadline is too far for its 32 bits.
void lapic_timer_set(uint64_t deadline); // host TSC
void lapic_timer_stop(void);
