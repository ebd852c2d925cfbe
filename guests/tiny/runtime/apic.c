// SPDX-License-Identifier: Apache-2.0
// The interface is told in apic.h.
#include "runtime/apic.h"

#include "runtime/cpu.h"

#define LAPIC_LVT_FIRST 0x320u
#define LAPIC_LVT_LAST  0x370u
#define SPURIOUS_VECTOR 0xffu

#define PIC1         0x20
#define PIC2         0xa0
#define ICW1_INIT    0x11
#define ICW4_8086    0x01
#define OCW2_EOI     0x20
#define PIC_CASCADE  2u
#define PIT_COUNTER0 0x40
#define PIT_CONTROL  0x43
#define PIT_WORD     0x30

void lapic_init(bool is_x2apic) {
    uint64_t base = rdmsr(MSR_APIC_BASE) & ~(APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    wrmsr(MSR_APIC_BASE, base);
    wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE);
    if (is_x2apic)
        wrmsr(MSR_APIC_BASE, base | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
    lapic_write(LAPIC_SVR, LAPIC_SVR_ENABLE | SPURIOUS_VECTOR);
    for (uint32_t reg = LAPIC_LVT_FIRST; reg <= LAPIC_LVT_LAST; reg += 0x10)
        lapic_write(reg, LAPIC_LVT_MASKED);
}

bool lapic_is_x2apic(void) {
    return (rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC) != 0;
}

uint32_t lapic_read(uint32_t reg) {
    if (lapic_is_x2apic())
        return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
    return mmio_read32(LAPIC_BASE + reg);
}

void lapic_write(uint32_t reg, uint32_t value) {
    if (lapic_is_x2apic())
        wrmsr(MSR_X2APIC + reg / 16, value);
    else
        mmio_write32(LAPIC_BASE + reg, value);
}

void lapic_eoi(void) {
    lapic_write(LAPIC_EOI, 0);
}

void lapic_send(uint32_t destination, uint32_t command) {
    if (lapic_is_x2apic()) {
        wrmsr(MSR_X2APIC + LAPIC_ICR / 16, (uint64_t)destination << 32 | command);
        return;
    }
    // A handler that sends as well must not come between the two.
    uint64_t rflags = read_rflags();
    interrupts_off();
    lapic_write(LAPIC_ICR_HIGH, destination << 24);
    lapic_write(LAPIC_ICR, command);
    if (rflags & RFLAGS_IF)
        interrupts_on();
}

bool lapic_bit(uint32_t reg, uint8_t vector) {
    return (lapic_read(reg + vector / 32 * 16u) >> vector % 32 & 1) != 0;
}

uint32_t ioapic_read(uint32_t reg) {
    mmio_write32(IOAPIC_BASE, reg);
    return mmio_read32(IOAPIC_BASE + 0x10);
}

void ioapic_write(uint32_t reg, uint32_t value) {
    mmio_write32(IOAPIC_BASE, reg);
    mmio_write32(IOAPIC_BASE + 0x10, value);
}

void ioapic_route(uint32_t input, uint8_t vector) {
    ioapic_write(IOAPIC_ENTRY(input) + 1, 0);
    ioapic_write(IOAPIC_ENTRY(input), vector);
}

static void pic_set_up(uint16_t port, uint8_t vector, uint8_t cascade) {
    out8(port, ICW1_INIT);
    out8(port + 1, vector);
    out8(port + 1, cascade);
    out8(port + 1, ICW4_8086);
}

void pic_init(void) {
    pic_set_up(PIC1, PIC_VECTOR, 1u << PIC_CASCADE);
    pic_set_up(PIC2, PIC_VECTOR + 8, PIC_CASCADE);
    pic_mask_all();
    lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
}

void pic_mask_all(void) {
    out8(PIC1 + 1, 0xff);
    out8(PIC2 + 1, 0xff);
}

void pic_unmask(unsigned irq) {
    uint16_t port = irq < 8 ? PIC1 + 1 : PIC2 + 1;
    out8(port, in8(port) & (uint8_t) ~(1u << irq % 8));
    if (irq >= 8)
        pic_unmask(PIC_CASCADE);
}

void pic_eoi(unsigned irq) {
    if (irq >= 8)
        out8(PIC2, OCW2_EOI);
    out8(PIC1, OCW2_EOI);
}

// Mode 0 waits for its count.
void pit_stop(void) {
    out8(PIT_CONTROL, (uint8_t)PIT_WORD);
}

void pit_start(uint8_t mode, uint16_t count) {
    out8(PIT_CONTROL, (uint8_t)(PIT_WORD | mode << 1));
    out8(PIT_COUNTER0, (uint8_t)count);
    out8(PIT_COUNTER0, (uint8_t)(count >> 8));
}
