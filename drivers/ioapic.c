// SPDX-License-Identifier: Apache-2.0
// See drivers/ioapic.h.
#include "drivers/ioapic.h"

#include "arch/x86.h"
#include "kernel/space.h"

#define PIC1_COMMAND 0x20u
#define PIC1_DATA    0x21u
#define PIC2_COMMAND 0xa0u
#define PIC2_DATA    0xa1u
#define ICW1_INIT    0x11u // with ICW4
#define ICW4_8086    0x01u
#define PIC1_VECTOR  0x20u // below VECTOR_CONSOLE: even a spurious one hits nobody
#define PIC2_VECTOR  0x28u
#define PIC2_INPUT   2u // of the first 8259
#define OCW1_ALL     0xffu

#define IOAPIC_SIZE   0x20u
#define IOREGSEL      0u // in 32-bit words
#define IOWIN         4u
#define REG_VERSION   1u
#define REG_REDTBL    0x10u
#define INPUTS_MAX    240u
#define REDIR_LOW     BIT(13) // active low
#define REDIR_LEVEL   BIT(15)
#define REDIR_MASKED  BIT(16)
#define APIC_ID_SHIFT 24
#define APIC_ID_MAX   254u // 255 is everybody

static struct {
    volatile uint32_t *registers;
    uint32_t input_count;
} ioapics[BOOT_IOAPICS_MAX];
static const struct boot_info *info;

static uint32_t read_register(uint32_t index, uint32_t reg) {
    ioapics[index].registers[IOREGSEL] = reg;
    return ioapics[index].registers[IOWIN];
}

static void write_register(uint32_t index, uint32_t reg, uint64_t value) {
    ioapics[index].registers[IOREGSEL] = reg;
    ioapics[index].registers[IOWIN] = (uint32_t)value;
}

static void pic8259_init(void) {
    x86_outb(PIC1_COMMAND, ICW1_INIT);
    x86_outb(PIC2_COMMAND, ICW1_INIT);
    x86_outb(PIC1_DATA, PIC1_VECTOR);
    x86_outb(PIC2_DATA, PIC2_VECTOR);
    x86_outb(PIC1_DATA, 1u << PIC2_INPUT);
    x86_outb(PIC2_DATA, PIC2_INPUT);
    x86_outb(PIC1_DATA, ICW4_8086);
    x86_outb(PIC2_DATA, ICW4_8086);
    x86_outb(PIC1_DATA, OCW1_ALL);
    x86_outb(PIC2_DATA, OCW1_ALL);
}

void ioapic_init(const struct boot_info *boot) {
    info = boot;
    pic8259_init();
    for (uint32_t i = 0; i < info->ioapic_count; i++) {
        ioapics[i].registers = space_map_device((hpa_t){info->ioapic[i].address}, IOAPIC_SIZE);
        // Bits 23:16 are the highest input. A missing device reads as all ones.
        uint32_t highest = read_register(i, REG_VERSION) >> 16 & 0xff;
        ioapics[i].input_count = highest < INPUTS_MAX ? highest + 1 : 0;
        for (uint32_t input = 0; input < ioapics[i].input_count; input++)
            write_register(i, REG_REDTBL + 2 * input, REDIR_MASKED);
    }
}

bool ioapic_route(uint32_t isa_irq, uint8_t vector, uint32_t apic_id) {
    if (isa_irq >= BOOT_ISA_IRQS || apic_id > APIC_ID_MAX)
        return false;
    const struct boot_isa_irq *irq = &info->isa_irq[isa_irq];
    for (uint32_t i = 0; i < info->ioapic_count; i++) {
        uint32_t base = info->ioapic[i].gsi_base;
        if (irq->gsi < base || irq->gsi - base >= ioapics[i].input_count)
            continue;
        uint32_t reg = REG_REDTBL + 2 * (irq->gsi - base);
        write_register(i, reg + 1, (uint64_t)apic_id << APIC_ID_SHIFT);
        write_register(i, reg,
                       vector | (irq->is_active_low ? REDIR_LOW : 0) |
                           (irq->is_level ? REDIR_LEVEL : 0));
        return true;
    }
    return false;
}
