// SPDX-License-Identifier: Apache-2.0
// See kernel/ioapic.h.
#include "kernel/ioapic.h"

#include "arch/lapic.h"
#include "kernel/kspace.h"
#include "kernel/machine.h"

#define IOAPIC_SIZE   0x20u
#define IOREGSEL      0u // in 32-bit words
#define IOWIN         4u
#define REG_VERSION   1u
#define REG_REDTBL    0x10u
#define INPUTS_MAX    240u
#define APIC_ID_SHIFT 24
#define APIC_ID_MAX   254u // 255 is everybody

static struct {
    volatile uint32_t *registers;
    uint32_t input_count;
} ioapics[BOOT_IOAPICS_MAX];
static uint32_t apic_id; // where interrupts go

static uint32_t read_register(uint32_t index, uint32_t reg) {
    ioapics[index].registers[IOREGSEL] = reg;
    return ioapics[index].registers[IOWIN];
}

static void write_register(uint32_t index, uint32_t reg, uint64_t value) {
    ioapics[index].registers[IOREGSEL] = reg;
    ioapics[index].registers[IOWIN] = (uint32_t)value;
}

void ioapic_init(void) {
    apic_id = lapic_get_id();
    for (uint32_t i = 0; i < machine.ioapic_count; i++) {
        ioapics[i].registers = kspace_map_device((hpa_t){machine.ioapic[i].address}, IOAPIC_SIZE);
        // Bits 23:16 are the highest input. A missing device reads as all ones.
        uint32_t highest = read_register(i, REG_VERSION) >> 16 & 0xff;
        ioapics[i].input_count = highest < INPUTS_MAX ? highest + 1 : 0;
        for (uint32_t input = 0; input < ioapics[i].input_count; input++)
            write_register(i, REG_REDTBL + 2 * input, IOAPIC_MASKED);
    }
}

bool ioapic_write(uint32_t gsi, uint32_t entry) {
    for (uint32_t i = 0; i < machine.ioapic_count && apic_id <= APIC_ID_MAX; i++) {
        uint32_t base = machine.ioapic[i].gsi_base;
        if (gsi < base || gsi - base >= ioapics[i].input_count)
            continue;
        uint32_t reg = REG_REDTBL + 2 * (gsi - base);
        write_register(i, reg + 1, (uint64_t)apic_id << APIC_ID_SHIFT);
        write_register(i, reg, entry);
        return true;
    }
    return false;
}
