// SPDX-License-Identifier: Apache-2.0
// The MADT: processors, I/O APICs and how ISA interrupts arrive. ACPI 6.5 5.2.12 "Multiple APIC
// Description Table (MADT)".
#include "boot/boot_acpi_table.h"

#define MADT_ENTRIES 44u
#define MADT_ENABLED BIT(0) // not so "online capable": that one comes later, or never

enum madt_type {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_SOURCE_OVERRIDE = 2,
    MADT_LOCAL_X2APIC = 9,
};
static const uint8_t size_min[] = {
    [MADT_LOCAL_APIC] = 8,
    [MADT_IOAPIC] = 12,
    [MADT_SOURCE_OVERRIDE] = 10,
    [MADT_LOCAL_X2APIC] = 16,
};

// IDs that mean everybody.
#define XAPIC_BROADCAST  0xffu
#define X2APIC_BROADCAST UINT32_MAX

#define INTI_POLARITY_MASK 3u // table 5.26 "MPS INTI Flags"
#define INTI_ACTIVE_HIGH   1u
#define INTI_ACTIVE_LOW    3u
#define INTI_TRIGGER_MASK  (3u << 2)
#define INTI_EDGE          (1u << 2)
#define INTI_LEVEL         (3u << 2)

// Kept sorted. When there are too many, those with the highest IDs are left off.
static void add_cpu(struct boot_acpi_parser *parser, uint32_t apic_id, uint32_t flags) {
    struct boot_info *info = parser->info;
    uint32_t at = info->cpu_count;
    if ((flags & MADT_ENABLED) == 0)
        return;
    while (at > 0 && info->cpu[at - 1].apic_id > apic_id)
        at--;
    if (at > 0 && info->cpu[at - 1].apic_id == apic_id)
        return;
    if (info->cpu_count == BOOT_CPUS_MAX)
        parser->found->cpus_left++;
    else
        info->cpu_count++;
    if (at == BOOT_CPUS_MAX)
        return;
    for (uint32_t i = info->cpu_count - 1; i > at; i--)
        info->cpu[i] = info->cpu[i - 1];
    info->cpu[at] = (struct boot_cpu){.apic_id = apic_id, .node = BOOT_NODE_NONE};
}

static void add_ioapic(struct boot_acpi_parser *parser, struct boot_acpi_bytes entry) {
    struct boot_info *info = parser->info;
    struct boot_ioapic ioapic = {boot_acpi_field32(entry, 4), boot_acpi_field8(entry, 2),
                                 boot_acpi_field32(entry, 8)};
    for (uint32_t i = 0; i < info->ioapic_count; i++)
        if (info->ioapic[i].address == ioapic.address)
            return;
    if (ioapic.address == 0)
        return;
    if (info->ioapic_count == BOOT_IOAPICS_MAX) {
        parser->found->ioapics_left++;
        return;
    }
    uint32_t at = info->ioapic_count++;
    for (; at > 0 && info->ioapic[at - 1].gsi_base > ioapic.gsi_base; at--)
        info->ioapic[at] = info->ioapic[at - 1];
    info->ioapic[at] = ioapic;
}

static void add_override(struct boot_info *info, struct boot_acpi_bytes entry) {
    uint8_t irq = boot_acpi_field8(entry, 3);
    uint8_t flags = boot_acpi_field8(entry, 8);
    if (boot_acpi_field8(entry, 2) == 0 && irq < BOOT_ISA_IRQS)
        info->platform->isa_irq[irq] = (struct boot_isa_irq){
            .gsi = boot_acpi_field32(entry, 4),
            .is_active_low = (flags & INTI_POLARITY_MASK) == INTI_ACTIVE_LOW,
            .is_level = (flags & INTI_TRIGGER_MASK) == INTI_LEVEL,
        };
}

static void read_entry(struct boot_acpi_parser *parser, struct boot_acpi_bytes entry) {
    uint8_t type = boot_acpi_field8(entry, 0);
    if (type >= ARRAY_COUNT(size_min) || entry.size < size_min[type])
        return;
    switch ((enum madt_type)type) {
    case MADT_LOCAL_APIC:
        if (boot_acpi_field8(entry, 3) != XAPIC_BROADCAST)
            add_cpu(parser, boot_acpi_field8(entry, 3), boot_acpi_field32(entry, 4));
        break;
    case MADT_LOCAL_X2APIC:
        if (boot_acpi_field32(entry, 4) != X2APIC_BROADCAST)
            add_cpu(parser, boot_acpi_field32(entry, 4), boot_acpi_field32(entry, 8));
        break;
    case MADT_IOAPIC:
        add_ioapic(parser, entry);
        break;
    case MADT_SOURCE_OVERRIDE:
        add_override(parser->info, entry);
        break;
    }
}

void boot_acpi_read_madt(struct boot_acpi_parser *parser, struct boot_acpi_bytes madt) {
    uint64_t offset = MADT_ENTRIES;
    if (madt.size < MADT_ENTRIES)
        return;
    parser->info->ioapic_count = 0; // no longer the fallback
    for (;;) {
        struct boot_acpi_bytes entry = boot_acpi_next(madt, &offset, 1, 1);
        if (entry.data == NULL)
            return;
        read_entry(parser, entry);
    }
}

// ACPI 6.5 5.2.9 "Fixed ACPI Description Table (FADT)", SCI_INT. What conforms to the bus is what
// is usual of the SCI, not of the ISA bus.
struct boot_isa_irq boot_acpi_sci(struct boot_acpi_bytes madt, uint16_t irq) {
    struct boot_isa_irq sci = {.gsi = irq, .is_active_low = true, .is_level = true};
    uint64_t offset = MADT_ENTRIES;
    for (;;) {
        struct boot_acpi_bytes entry = boot_acpi_next(madt, &offset, 1, 1);
        if (entry.data == NULL)
            return sci;
        uint8_t flags = boot_acpi_field8(entry, 8);
        if (boot_acpi_field8(entry, 0) == MADT_SOURCE_OVERRIDE &&
            entry.size >= size_min[MADT_SOURCE_OVERRIDE] && boot_acpi_field8(entry, 2) == 0 &&
            boot_acpi_field8(entry, 3) == irq)
            sci = (struct boot_isa_irq){
                .gsi = boot_acpi_field32(entry, 4),
                .is_active_low = (flags & INTI_POLARITY_MASK) != INTI_ACTIVE_HIGH,
                .is_level = (flags & INTI_TRIGGER_MASK) != INTI_EDGE,
            };
    }
}
