// SPDX-License-Identifier: Apache-2.0
// The root of the tables, and which of them are read; the interface is told in boot_acpi.h. The
// tables themselves: boot_acpi_cpus.c, boot_acpi_nodes.c, boot_acpi_power.c, boot_acpi_button.c,
// boot_acpi_devices.c.
#include "boot/boot_acpi.h"

#include "boot/boot_acpi_table.h"

#define TABLE_SIZE_MAX  (4u << 20)
#define TABLE_COUNT_MAX 256u

// ACPI 6.5 table 5.3 "RSDP Structure"
#define RSDP_V1_SIZE  20u
#define RSDP_V2_SIZE  36u
#define RSDP_REVISION 15u
#define RSDP_RSDT     16u
#define RSDP_LENGTH   20u
#define RSDP_XSDT     24u

#define HEADER_LENGTH 4u

// ACPI 6.5 5.2.3.2 "Generic Address Structure"
#define GAS_SPACE   0u
#define GAS_BITS    1u
#define GAS_ACCESS  3u
#define GAS_ADDRESS 4u

#define FALLBACK_IOAPIC 0xfec00000u

// The root's list: 32-bit addresses in an RSDT, 64-bit ones in an XSDT.
struct root {
    struct boot_acpi_bytes table;
    uint32_t width;
};

static bool has_signature(struct boot_acpi_bytes table, const char *signature) {
    size_t size = strlen(signature);
    return table.size >= size && memcmp(table.data, signature, size) == 0;
}

static bool is_sum_zero(struct boot_acpi_bytes table) {
    uint8_t sum = 0;
    for (uint32_t i = 0; i < table.size; i++)
        sum = (uint8_t)(sum + table.data[i]);
    return sum == 0;
}

static struct boot_acpi_bytes map_bytes(struct boot_acpi_parser *parser, uint64_t address,
                                        uint32_t size) {
    const void *data = address == 0 ? NULL : parser->map(address, size);
    return (struct boot_acpi_bytes){data, data == NULL ? 0 : size};
}

struct boot_acpi_bytes boot_acpi_open(struct boot_acpi_parser *parser, uint64_t address) {
    struct boot_acpi_bytes header = map_bytes(parser, address, BOOT_ACPI_HEADER_SIZE);
    uint32_t length = boot_acpi_field32(header, HEADER_LENGTH);
    if (length >= BOOT_ACPI_HEADER_SIZE && length <= TABLE_SIZE_MAX) {
        struct boot_acpi_bytes table = map_bytes(parser, address, length);
        if (table.size == length && is_sum_zero(table))
            return table;
    }
    parser->found->damaged_count++;
    return (struct boot_acpi_bytes){NULL, 0};
}

struct boot_register boot_acpi_register(struct boot_acpi_bytes table, uint64_t offset) {
    return (struct boot_register){
        .address = boot_acpi_field(table, offset + GAS_ADDRESS, sizeof(uint64_t)),
        .space = boot_acpi_field8(table, offset + GAS_SPACE),
        .bits = boot_acpi_field8(table, offset + GAS_BITS),
        .access_size = boot_acpi_field8(table, offset + GAS_ACCESS),
    };
}

static void set_fallbacks(struct boot_info *info) {
    info->ioapic_count = 1;
    info->ioapic[0] = (struct boot_ioapic){.address = FALLBACK_IOAPIC};
    for (uint32_t i = 0; i < BOOT_ISA_IRQS; i++)
        info->platform->isa_irq[i] = (struct boot_isa_irq){.gsi = i};
}

static struct boot_acpi_bytes open_signed(struct boot_acpi_parser *parser, uint64_t address,
                                          const char *signature) {
    struct boot_acpi_bytes table = boot_acpi_open(parser, address);
    return has_signature(table, signature) ? table : (struct boot_acpi_bytes){NULL, 0};
}

// The XSDT, or the RSDT where there is none.
static struct root open_root(struct boot_acpi_parser *parser, uint64_t address) {
    struct root root = {.width = sizeof(uint64_t)};
    struct boot_acpi_bytes rsdp = map_bytes(parser, address, RSDP_V1_SIZE);
    if (!has_signature(rsdp, "RSD PTR ") || !is_sum_zero(rsdp))
        return root;
    if (boot_acpi_field8(rsdp, RSDP_REVISION) >= 2) {
        struct boot_acpi_bytes rsdp2 = map_bytes(parser, address, RSDP_V2_SIZE);
        uint64_t xsdt = boot_acpi_field(rsdp2, RSDP_XSDT, sizeof(uint64_t));
        if (boot_acpi_field32(rsdp2, RSDP_LENGTH) >= RSDP_V2_SIZE && is_sum_zero(rsdp2) &&
            xsdt != 0)
            root.table = open_signed(parser, xsdt, "XSDT");
        if (root.table.data != NULL)
            return root;
    }
    root.width = sizeof(uint32_t);
    root.table = open_signed(parser, boot_acpi_field32(rsdp, RSDP_RSDT), "RSDT");
    return root;
}

static uint32_t root_count(const struct root *root) {
    return MIN((root->table.size - BOOT_ACPI_HEADER_SIZE) / root->width, TABLE_COUNT_MAX);
}

static uint64_t root_entry(const struct root *root, uint32_t index) {
    return boot_acpi_field(root->table, BOOT_ACPI_HEADER_SIZE + (uint64_t)index * root->width,
                           root->width);
}

static bool is_named(struct boot_acpi_parser *parser, uint64_t address, const char *signature) {
    return has_signature(map_bytes(parser, address, BOOT_ACPI_HEADER_SIZE), signature);
}

// The first table of this name that is whole, and its address.
static struct boot_acpi_bytes find_at(struct boot_acpi_parser *parser, const struct root *root,
                                      const char *signature, uint64_t *address) {
    for (uint32_t i = 0; i < root_count(root); i++) {
        *address = root_entry(root, i);
        if (!is_named(parser, *address, signature))
            continue;
        struct boot_acpi_bytes table = boot_acpi_open(parser, *address);
        if (table.data != NULL)
            return table;
    }
    return (struct boot_acpi_bytes){NULL, 0};
}

static struct boot_acpi_bytes find(struct boot_acpi_parser *parser, const struct root *root,
                                   const char *signature) {
    uint64_t address;
    return find_at(parser, root, signature, &address);
}

static struct boot_acpi_found locate(struct boot_acpi_parser *parser, const struct root *root,
                                     const char *signature) {
    uint64_t address;
    struct boot_acpi_bytes table = find_at(parser, root, signature, &address);
    return (struct boot_acpi_found){table.data != NULL ? address : 0, table.size};
}

static void read_ssdts(struct boot_acpi_parser *parser, const struct root *root) {
    for (uint32_t i = 0; i < root_count(root) && !parser->info->power.has_s5; i++)
        if (is_named(parser, root_entry(root, i), "SSDT"))
            boot_acpi_read_aml(parser, boot_acpi_open(parser, root_entry(root, i)));
}

bool boot_acpi_parse(uint64_t rsdp, boot_acpi_map_t map, struct boot_info *info,
                     struct boot_acpi *found) {
    struct boot_acpi_parser parser = {.map = map, .info = info, .found = found};
    memset(found, 0, sizeof(*found));
    found->no_button = "there are no ACPI tables";
    set_fallbacks(info);
    struct root root = open_root(&parser, rsdp);
    if (root.table.data == NULL)
        return false;
    struct boot_acpi_bytes madt = find(&parser, &root, "APIC");
    struct boot_acpi_bytes fadt = find(&parser, &root, "FACP");
    boot_acpi_read_madt(&parser, madt);
    boot_acpi_read_srat(&parser, find(&parser, &root, "SRAT"));
    boot_acpi_read_slit(&parser, find(&parser, &root, "SLIT"));
    boot_acpi_read_fadt(&parser, fadt);
    boot_acpi_read_button(&parser, fadt, madt);
    read_ssdts(&parser, &root);
    boot_acpi_read_hpet(&parser, find(&parser, &root, "HPET"));
    boot_acpi_read_mcfg(&parser, find(&parser, &root, "MCFG"));
    boot_acpi_read_spcr(&parser, find(&parser, &root, "SPCR"));
    boot_acpi_read_dbg2(&parser, find(&parser, &root, "DBG2"));
    found->dmar = locate(&parser, &root, "DMAR");
    found->ivrs = locate(&parser, &root, "IVRS");
    return true;
}
