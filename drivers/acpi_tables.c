// SPDX-License-Identifier: Apache-2.0
// The parser of drivers/acpi.h. All reads of a table go through field(), which answers 0 beyond
// the table's end, and every loop advances by at least one byte towards that end: nothing that
// stands in a table can make this read elsewhere or go on for ever.
#include "drivers/acpi.h"

#include "lib/string.h"

#define TABLE_SIZE_MAX  (4u << 20)
#define TABLE_COUNT_MAX 256u

// ACPI 6.5 table 5.3 "RSDP Structure"
#define RSDP_V1_SIZE  20u
#define RSDP_V2_SIZE  36u
#define RSDP_REVISION 15u
#define RSDP_RSDT     16u
#define RSDP_LENGTH   20u
#define RSDP_XSDT     24u

// ACPI 6.5 table 5.4 "DESCRIPTION_HEADER Fields"
#define HEADER_LENGTH 4u
#define HEADER_SIZE   36u

// ACPI 6.5 table 5.9 "FADT Format"
#define FADT_DSDT        40u
#define FADT_SMI_CMD     48u
#define FADT_ACPI_ENABLE 52u
#define FADT_PM1A_CNT    64u
#define FADT_PM1B_CNT    68u
#define FADT_PM_TMR      76u
#define FADT_CENTURY     108u
#define FADT_FLAGS       112u
#define FADT_RESET_REG   116u
#define FADT_RESET_VALUE 128u
#define FADT_X_DSDT      140u
#define FADT_X_PM1A_CNT  172u
#define FADT_X_PM1B_CNT  184u
#define FADT_X_PM_TMR    208u
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_SUP   BIT(10)
#define GAS_ADDRESS      4u // ACPI 6.5 5.2.3.2 "Generic Address Structure"
#define GAS_SPACE_IO     1u

// ACPI 6.5 5.2.12 "Multiple APIC Description Table (MADT)"
#define MADT_LAPIC_ADDRESS 36u
#define MADT_ENTRIES       44u
#define MADT_ENABLED       BIT(0)
enum madt_type {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_SOURCE_OVERRIDE = 2,
    MADT_LOCAL_APIC_ADDRESS = 5,
    MADT_LOCAL_X2APIC = 9,
};
static const uint8_t madt_size_min[] = {
    [MADT_LOCAL_APIC] = 8,          [MADT_IOAPIC] = 12,       [MADT_SOURCE_OVERRIDE] = 10,
    [MADT_LOCAL_APIC_ADDRESS] = 12, [MADT_LOCAL_X2APIC] = 16,
};
#define INTI_POLARITY_MASK 3u // table 5.26 "MPS INTI Flags"
#define INTI_ACTIVE_LOW    3u
#define INTI_TRIGGER_MASK  (3u << 2)
#define INTI_LEVEL         (3u << 2)

// ACPI 6.5 20.2 "AML Grammar Definition"
enum aml {
    AML_ZERO = 0x00,
    AML_ONE = 0x01,
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_PACKAGE = 0x12,
};
#define SLP_TYP_MASK 7u

#define FALLBACK_IOAPIC 0xfec00000ULL
#define FALLBACK_LAPIC  0xfee00000ULL

struct table {
    const uint8_t *data; // NULL: no such table, size is 0
    uint32_t size;
};

struct parser {
    acpi_map_t map;
    struct acpi_info *info;
    bool is_madt_seen;
};

static uint64_t field(struct table table, uint32_t offset, uint32_t width) {
    uint64_t value = 0;
    if (!range_exceeds(offset, width, table.size))
        memcpy(&value, table.data + offset, width);
    return value;
}

static uint32_t field32(struct table table, uint32_t offset) {
    return (uint32_t)field(table, offset, sizeof(uint32_t));
}

static uint8_t field8(struct table table, uint32_t offset) {
    return (uint8_t)field(table, offset, sizeof(uint8_t));
}

static bool has_signature(struct table table, const char *signature) {
    return table.size >= strlen(signature) && memcmp(table.data, signature, strlen(signature)) == 0;
}

static bool is_sum_zero(struct table table) {
    uint8_t sum = 0;
    for (uint32_t i = 0; i < table.size; i++)
        sum = (uint8_t)(sum + table.data[i]);
    return sum == 0;
}

static struct table map_bytes(struct parser *parser, uint64_t address, uint32_t size) {
    const void *data = address == 0 ? NULL : parser->map((hpa_t){address}, size);
    return (struct table){data, data == NULL ? 0 : size};
}

// A table with a header, whole and with a good checksum; else an empty one, counted as damaged.
static struct table open_table(struct parser *parser, uint64_t address) {
    uint32_t length = field32(map_bytes(parser, address, HEADER_SIZE), HEADER_LENGTH);
    if (length >= HEADER_SIZE && length <= TABLE_SIZE_MAX) {
        struct table table = map_bytes(parser, address, length);
        if (table.size == length && is_sum_zero(table))
            return table;
    }
    parser->info->damaged_count++;
    return (struct table){NULL, 0};
}

static void add_cpu(struct acpi_info *info, uint32_t apic_id, uint32_t flags) {
    if ((flags & MADT_ENABLED) == 0)
        return;
    for (uint32_t i = 0; i < info->cpu_count; i++)
        if (info->cpu_apic_id[i] == apic_id)
            return;
    if (info->cpu_count < ACPI_CPUS_MAX)
        info->cpu_apic_id[info->cpu_count++] = apic_id;
    else
        info->cpu_ignored_count++;
}

static void add_ioapic(struct acpi_info *info, struct table entry) {
    if (info->ioapic_count < ACPI_IOAPICS_MAX)
        info->ioapic[info->ioapic_count++] =
            (struct acpi_ioapic){{field32(entry, 4)}, field8(entry, 2), field32(entry, 8)};
}

static void add_override(struct acpi_info *info, struct table entry) {
    uint8_t irq = field8(entry, 3);
    uint8_t flags = field8(entry, 8);
    if (field8(entry, 2) == 0 && irq < ACPI_ISA_IRQS)
        info->isa_irq[irq] = (struct acpi_isa_irq){
            .gsi = field32(entry, 4),
            .is_active_low = (flags & INTI_POLARITY_MASK) == INTI_ACTIVE_LOW,
            .is_level = (flags & INTI_TRIGGER_MASK) == INTI_LEVEL,
        };
}

static void parse_madt_entry(struct acpi_info *info, struct table entry) {
    uint8_t type = field8(entry, 0);
    if (type >= ARRAY_COUNT(madt_size_min) || entry.size < madt_size_min[type])
        return;
    switch ((enum madt_type)type) {
    case MADT_LOCAL_APIC:
        add_cpu(info, field8(entry, 3), field32(entry, 4));
        break;
    case MADT_LOCAL_X2APIC:
        add_cpu(info, field32(entry, 4), field32(entry, 8));
        break;
    case MADT_IOAPIC:
        add_ioapic(info, entry);
        break;
    case MADT_SOURCE_OVERRIDE:
        add_override(info, entry);
        break;
    case MADT_LOCAL_APIC_ADDRESS:
        info->lapic_address.v = field(entry, 4, sizeof(uint64_t));
        break;
    }
}

static void parse_madt(struct parser *parser, struct table madt) {
    if (parser->is_madt_seen || madt.size < MADT_ENTRIES)
        return;
    parser->is_madt_seen = true;
    parser->info->ioapic_count = 0; // no longer the fallback
    parser->info->lapic_address.v = field32(madt, MADT_LAPIC_ADDRESS);
    uint32_t offset = MADT_ENTRIES;
    while (offset + 2 <= madt.size) {
        uint32_t size = field8(madt, offset + 1);
        if (size < 2 || size > madt.size - offset)
            return;
        parse_madt_entry(parser->info, (struct table){madt.data + offset, size});
        offset += size;
    }
}

// An integer of AML's at *offset, which is moved behind it.
static bool read_integer(struct table aml, uint32_t *offset, uint32_t *value) {
    uint8_t opcode = field8(aml, *offset);
    uint32_t width = opcode == AML_BYTE ? 1 : opcode == AML_WORD ? 2 : opcode == AML_DWORD ? 4 : 0;
    if (width == 0 && opcode != AML_ZERO && opcode != AML_ONE)
        return false;
    if (range_exceeds(*offset, 1 + width, aml.size))
        return false;
    *value = width == 0 ? opcode : (uint32_t)field(aml, *offset + 1, width);
    *offset += 1 + width;
    return true;
}

// `offset` is behind the name. Package (n) { SLP_TYPa, SLP_TYPb, ... }
static bool parse_s5(struct acpi_info *info, struct table aml, uint32_t offset) {
    if (field8(aml, offset) != AML_PACKAGE)
        return false;
    // PkgLength: bits 7:6 of the first byte count the bytes that follow it. Then NumElements.
    offset += 1;
    offset += 1u + (field8(aml, offset) >> 6);
    uint32_t count = field8(aml, offset++);
    uint32_t type_a, type_b = 0;
    if (count == 0 || !read_integer(aml, &offset, &type_a))
        return false;
    if (count > 1 && !read_integer(aml, &offset, &type_b))
        return false;
    info->has_s5 = true;
    info->s5_type_a = type_a & SLP_TYP_MASK;
    info->s5_type_b = type_b & SLP_TYP_MASK;
    return true;
}

static void scan_for_s5(struct acpi_info *info, struct table aml) {
    static const char name[4] = "_S5_";
    for (uint32_t i = HEADER_SIZE + 1; !info->has_s5 && i + sizeof(name) <= aml.size; i++) {
        if (aml.data[i] != '_' || memcmp(aml.data + i, name, sizeof(name)) != 0)
            continue;
        uint32_t before = i - (aml.data[i - 1] == '\\' ? 2 : 1);
        if (aml.data[before] == AML_NAME && parse_s5(info, aml, i + (uint32_t)sizeof(name)))
            return;
    }
}

// A port of the FADT: the old 32-bit field, or the generic address that replaces it.
static uint16_t fadt_port(struct table fadt, uint32_t legacy, uint32_t extended) {
    uint64_t port = field32(fadt, legacy);
    if (port == 0 && field8(fadt, extended) == GAS_SPACE_IO)
        port = field(fadt, extended + GAS_ADDRESS, sizeof(uint64_t));
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static void parse_fadt(struct parser *parser, struct table fadt) {
    struct acpi_info *info = parser->info;
    if (fadt.data == NULL)
        return;
    uint32_t flags = field32(fadt, FADT_FLAGS);
    uint32_t smi = field32(fadt, FADT_SMI_CMD);
    info->pm_timer_port = fadt_port(fadt, FADT_PM_TMR, FADT_X_PM_TMR);
    info->pm_timer_is_32bit = (flags & FADT_TMR_VAL_EXT) != 0;
    info->pm1a_control_port = fadt_port(fadt, FADT_PM1A_CNT, FADT_X_PM1A_CNT);
    info->pm1b_control_port = fadt_port(fadt, FADT_PM1B_CNT, FADT_X_PM1B_CNT);
    info->smi_command_port = smi <= UINT16_MAX ? (uint16_t)smi : 0;
    info->acpi_enable_value = field8(fadt, FADT_ACPI_ENABLE);
    info->rtc_century_index = field8(fadt, FADT_CENTURY);
    uint64_t reset = field(fadt, FADT_RESET_REG + GAS_ADDRESS, sizeof(uint64_t));
    if ((flags & FADT_RESET_SUP) != 0 && field8(fadt, FADT_RESET_REG) == GAS_SPACE_IO &&
        reset <= UINT16_MAX) {
        info->reset_port = (uint16_t)reset;
        info->reset_value = field8(fadt, FADT_RESET_VALUE);
    }
    uint64_t dsdt = field(fadt, FADT_X_DSDT, sizeof(uint64_t));
    scan_for_s5(info, open_table(parser, dsdt != 0 ? dsdt : field32(fadt, FADT_DSDT)));
}

static void set_fallbacks(struct acpi_info *info) {
    *info = (struct acpi_info){.lapic_address = {FALLBACK_LAPIC}, .ioapic_count = 1};
    info->ioapic[0].address.v = FALLBACK_IOAPIC;
    for (uint32_t i = 0; i < ACPI_ISA_IRQS; i++)
        info->isa_irq[i].gsi = i;
}

// The table of tables: XSDT, or RSDT where there is none. `*width` is the size of its entries.
static struct table open_root(struct parser *parser, uint64_t address, uint32_t *width) {
    struct table root = {NULL, 0};
    struct table rsdp = map_bytes(parser, address, RSDP_V1_SIZE);
    if (!has_signature(rsdp, "RSD PTR ") || !is_sum_zero(rsdp))
        return root;
    *width = sizeof(uint64_t);
    if (field8(rsdp, RSDP_REVISION) >= 2) {
        struct table rsdp2 = map_bytes(parser, address, RSDP_V2_SIZE);
        uint64_t xsdt = field(rsdp2, RSDP_XSDT, sizeof(uint64_t));
        if (field32(rsdp2, RSDP_LENGTH) >= RSDP_V2_SIZE && is_sum_zero(rsdp2) && xsdt != 0)
            root = open_table(parser, xsdt);
        if (has_signature(root, "XSDT"))
            return root;
    }
    *width = sizeof(uint32_t);
    root = open_table(parser, field32(rsdp, RSDP_RSDT));
    return has_signature(root, "RSDT") ? root : (struct table){NULL, 0};
}

bool acpi_parse(hpa_t rsdp, acpi_map_t map, struct acpi_info *info) {
    struct parser parser = {.map = map, .info = info};
    uint32_t width;
    set_fallbacks(info);
    struct table root = open_root(&parser, rsdp.v, &width);
    if (root.data == NULL)
        return false;
    info->is_present = true;
    uint32_t count = MIN((root.size - HEADER_SIZE) / width, TABLE_COUNT_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t address = field(root, HEADER_SIZE + i * width, width);
        struct table header = map_bytes(&parser, address, HEADER_SIZE);
        if (has_signature(header, "APIC"))
            parse_madt(&parser, open_table(&parser, address));
        else if (has_signature(header, "FACP"))
            parse_fadt(&parser, open_table(&parser, address));
        else if (has_signature(header, "SSDT") && !info->has_s5)
            scan_for_s5(info, open_table(&parser, address));
    }
    return true;
}
