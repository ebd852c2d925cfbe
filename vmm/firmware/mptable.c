// SPDX-License-Identifier: Apache-2.0
// The MP table, for systems without ACPI: processors, buses, the IOAPIC, and which line reaches
// which input. Source: MultiProcessor Specification 1.4 (Intel, 1997), chapter 4 "MP Configuration
// Table"; names as there.
//
// Says the same as the MADT and the _PRT (vmm/acpi/); a unit test compares them.
#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"
#include "vmm/firmware/firmware.h"

struct mp_floating {
    char signature[4]; // "_MP_"
    uint32_t config;
    uint8_t length; // in paragraphs
    uint8_t spec_revision;
    uint8_t checksum;
    uint8_t feature1; // default configuration; 0: there is a table
    uint8_t feature2; // bit 7: PIC mode; 0: virtual wire
    uint8_t feature[3];
} __attribute__((packed));
static_assert(sizeof(struct mp_floating) == 16, "4.1 MP Floating Pointer Structure");

struct mp_header {
    char signature[4]; // "PCMP"
    uint16_t base_length;
    uint8_t spec_revision;
    uint8_t checksum;
    char oem_id[8];
    char product_id[12];
    uint32_t oem_table;
    uint16_t oem_table_size;
    uint16_t entry_count;
    uint32_t local_apic;
    uint16_t extended_length;
    uint8_t extended_checksum;
    uint8_t reserved;
} __attribute__((packed));
static_assert(sizeof(struct mp_header) == 44, "4.2 MP Configuration Table Header");

struct mp_processor {
    uint8_t type; // 0
    uint8_t apic_id, apic_version, flags;
    uint32_t signature, features;
    uint32_t reserved[2];
} __attribute__((packed));
static_assert(sizeof(struct mp_processor) == 20, "4.3.1 Processor Entries");

struct mp_bus {
    uint8_t type; // 1
    uint8_t id;
    char name[6];
} __attribute__((packed));

struct mp_ioapic {
    uint8_t type; // 2
    uint8_t id, version, flags;
    uint32_t address;
} __attribute__((packed));

// 4.3.4 "I/O Interrupt Assignment Entries", 4.3.5 "Local Interrupt Assignment Entries"
struct mp_interrupt {
    uint8_t type;
    uint8_t kind;
    uint16_t flags;
    uint8_t bus, irq;
    uint8_t apic, input;
} __attribute__((packed));
static_assert(sizeof(struct mp_bus) == 8 && sizeof(struct mp_ioapic) == 8 &&
                  sizeof(struct mp_interrupt) == 8,
              "all other entries have 8 bytes");

enum {
    SPEC_REVISION = 4,
    TYPE_PROCESSOR = 0,
    TYPE_BUS = 1,
    TYPE_IOAPIC = 2,
    TYPE_IO_INTERRUPT = 3,
    TYPE_LOCAL_INTERRUPT = 4,
    PROCESSOR_ENABLED = 1,
    PROCESSOR_BOOT = 2,
    APIC_VERSION = 0x14,
    IOAPIC_VERSION = 0x11,
    IOAPIC_USABLE = 1,
    IOAPIC_ID = 0, // as its register says
    KIND_INT = 0,
    KIND_NMI = 1,
    KIND_EXTINT = 3,
    ACTIVE_HIGH = 1,
    LEVEL = 3 << 2,
    BUS_PCI = 0,
    BUS_ISA = 1,
    ALL_APICS = 0xff,
    LINT0 = 0,
    LINT1 = 1,
    ISA_LINES = 16,
    ISA_CASCADE = 2,
    PCI_DEVICES = 32,
    PCI_PINS = 4,
};

struct builder {
    uint8_t *next, *end;
    uint32_t count;
    bool is_full;
};

static void put(struct builder *b, const void *entry, size_t size) {
    if ((size_t)(b->end - b->next) < size) {
        b->is_full = true;
        return;
    }
    memcpy(b->next, entry, size);
    b->next += size;
    b->count++;
}

static void put_processors(struct builder *b, const struct firmware_params *params) {
    for (uint32_t i = 0; i < params->cpu_count; i++)
        put(b,
            &(struct mp_processor){
                .type = TYPE_PROCESSOR,
                .apic_id = (uint8_t)i,
                .apic_version = APIC_VERSION,
                .flags = PROCESSOR_ENABLED | (i == 0 ? PROCESSOR_BOOT : 0),
                .signature = params->cpu_signature,
                .features = params->cpu_features,
            },
            sizeof(struct mp_processor));
}

static void put_interrupt(struct builder *b, struct mp_interrupt interrupt) {
    put(b, &interrupt, sizeof(interrupt));
}

// The SCI is the one level among the ISA lines; without ACPI nobody uses it.
static void put_isa(struct builder *b) {
    for (uint32_t irq = 0; irq < ISA_LINES; irq++)
        if (irq != ISA_CASCADE)
            put_interrupt(b, (struct mp_interrupt){
                                 .type = TYPE_IO_INTERRUPT,
                                 .kind = KIND_INT,
                                 .flags = irq == PC_IRQ_SCI ? ACTIVE_HIGH | LEVEL : 0,
                                 .bus = BUS_ISA,
                                 .irq = (uint8_t)irq,
                                 .apic = IOAPIC_ID,
                                 .input = (uint8_t)(irq == PC_IRQ_PIT ? PC_GSI_PIT : irq),
                             });
}

// Pin P of device D is line (D + P) mod 4.
static void put_pci(struct builder *b) {
    for (uint32_t device = 0; device < PCI_DEVICES; device++)
        for (uint32_t pin = 0; pin < PCI_PINS; pin++)
            put_interrupt(b, (struct mp_interrupt){
                                 .type = TYPE_IO_INTERRUPT,
                                 .kind = KIND_INT,
                                 .bus = BUS_PCI,
                                 .irq = (uint8_t)(device << 2 | pin),
                                 .apic = IOAPIC_ID,
                                 .input = (uint8_t)(PC_GSI_PIRQ + (device + pin) % PC_PIRQS),
                             });
}

static void put_local(struct builder *b) {
    put_interrupt(b, (struct mp_interrupt){.type = TYPE_LOCAL_INTERRUPT,
                                           .kind = KIND_EXTINT,
                                           .bus = BUS_ISA,
                                           .apic = 0, // the boot processor
                                           .input = LINT0});
    put_interrupt(b, (struct mp_interrupt){.type = TYPE_LOCAL_INTERRUPT,
                                           .kind = KIND_NMI,
                                           .bus = BUS_ISA,
                                           .apic = ALL_APICS,
                                           .input = LINT1});
}

static void put_entries(struct builder *b, const struct firmware_params *params) {
    put_processors(b, params);
    put(b, &(struct mp_bus){TYPE_BUS, BUS_PCI, {'P', 'C', 'I', ' ', ' ', ' '}},
        sizeof(struct mp_bus));
    put(b, &(struct mp_bus){TYPE_BUS, BUS_ISA, {'I', 'S', 'A', ' ', ' ', ' '}},
        sizeof(struct mp_bus));
    put(b,
        &(struct mp_ioapic){.type = TYPE_IOAPIC,
                            .id = IOAPIC_ID,
                            .version = IOAPIC_VERSION,
                            .flags = IOAPIC_USABLE,
                            .address = (uint32_t)PC_IOAPIC_BASE},
        sizeof(struct mp_ioapic));
    put_isa(b);
    put_pci(b);
    put_local(b);
}

size_t mptable_build(uint8_t *at, size_t size, uint64_t gpa, const struct firmware_params *params) {
    const size_t heads = sizeof(struct mp_floating) + sizeof(struct mp_header);
    if (size < heads)
        return 0;
    struct builder b = {.next = at + heads, .end = at + size};
    put_entries(&b, params);
    if (b.is_full)
        return 0;
    size_t length = (size_t)(b.next - at) - sizeof(struct mp_floating);
    struct mp_header header = {
        .base_length = (uint16_t)length,
        .spec_revision = SPEC_REVISION,
        .entry_count = (uint16_t)b.count,
        .local_apic = (uint32_t)PC_LAPIC_BASE,
    };
    memcpy(header.signature, "PCMP", sizeof(header.signature));
    memcpy(header.oem_id, "BULKHEAD", sizeof(header.oem_id));
    memcpy(header.product_id, "VIRTUAL PC  ", sizeof(header.product_id));
    uint8_t *table = at + sizeof(struct mp_floating);
    memcpy(table, &header, sizeof(header));
    table[offsetof(struct mp_header, checksum)] = firmware_checksum(table, length);
    struct mp_floating floating = {
        .config = (uint32_t)(gpa + sizeof(struct mp_floating)),
        .length = sizeof(floating) / 16,
        .spec_revision = SPEC_REVISION,
    };
    memcpy(floating.signature, "_MP_", sizeof(floating.signature));
    floating.checksum = firmware_checksum(&floating, sizeof(floating));
    memcpy(at, &floating, sizeof(floating));
    return (size_t)(b.next - at);
}
