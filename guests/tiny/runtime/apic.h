// SPDX-License-Identifier: Apache-2.0
// Interrupt controllers and the timers behind them: local APIC (both modes), IOAPIC, 8259 pair,
// 8254. SDM 3A chapter 11 "Advanced Programmable Interrupt Controller (APIC)"; data sheets 82093AA,
// 8259A, 82C54.
#pragma once

#include "lib/types.h"

#define LAPIC_BASE  0xfee00000ULL
#define IOAPIC_BASE 0xfec00000ULL

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
    LAPIC_ICR = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_ERROR = 0x370,
    LAPIC_TIMER_INITIAL = 0x380,
    LAPIC_TIMER_CURRENT = 0x390,
    LAPIC_TIMER_DIVIDE = 0x3e0,
    LAPIC_SELF_IPI = 0x3f0,
};

#define LAPIC_SVR_ENABLE    BIT(8)
#define LAPIC_LVT_MASKED    BIT(16)
#define LAPIC_LVT_EXTINT    0x700u
#define LAPIC_TIMER_ONESHOT 0u
#define LAPIC_TIMER_PERIOD  BIT(17)
#define LAPIC_TIMER_TSC     BIT(18)
#define LAPIC_DIVIDE_1      0xbu
#define LAPIC_DIVIDE_16     0x3u
#define LAPIC_ICR_LOWEST    0x100u
#define LAPIC_ICR_NMI       0x400u
#define LAPIC_ICR_INIT      0x500u
#define LAPIC_ICR_SIPI      0x600u
#define LAPIC_ICR_LOGICAL   BIT(11)
#define LAPIC_ICR_ASSERT    BIT(14)
#define LAPIC_ICR_SELF      BIT(18)
#define LAPIC_ICR_ALL       BIT(19)
#define LAPIC_ICR_OTHERS    (BIT(18) | BIT(19))
#define APIC_BASE_BSP       BIT(8)
#define APIC_BASE_X2APIC    BIT(10)
#define APIC_BASE_ENABLE    BIT(11)

// Switches the local APIC on, in x2APIC mode or not, with spurious vector 0xff, all of LVT masked.
void lapic_init(bool is_x2apic);
bool lapic_is_x2apic(void);
uint32_t lapic_read(uint32_t reg);
void lapic_write(uint32_t reg, uint32_t value);
void lapic_eoi(void);
// The interrupt command in either mode.
void lapic_send(uint32_t destination, uint32_t command);
// Whether the bit of a vector is set in one of IRR, ISR, TMR.
bool lapic_bit(uint32_t reg, uint8_t vector);

#define IOAPIC_VERSION  0x01u
#define IOAPIC_ENTRY(n) (0x10u + 2 * (n)) // low half; the high half follows
#define IOAPIC_MASKED   BIT(16)
#define IOAPIC_LEVEL    BIT(15)
#define IOAPIC_INPUTS   24u
uint32_t ioapic_read(uint32_t reg);
void ioapic_write(uint32_t reg, uint32_t value);
// Edge triggered, fixed, to processor 0.
void ioapic_route(uint32_t input, uint8_t vector);

#define PIC_VECTOR 0x20u // of IRQ 0; IRQ 8 is at 0x28
// Initializes both with all lines masked, and lets INTR through LINT0 (the local APIC is on).
void pic_init(void);
void pic_unmask(unsigned irq);
void pic_mask_all(void);
void pic_eoi(unsigned irq);

#define PIT_HZ 1193182ULL
// Counter 0 in mode 2 (rate generator) or 0 (once).
void pit_start(uint8_t mode, uint16_t count);
void pit_stop(void); // firmware leaves it ticking
