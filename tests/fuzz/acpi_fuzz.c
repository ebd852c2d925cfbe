// SPDX-License-Identifier: Apache-2.0
// The firmware's ACPI tables (boot/boot_acpi.h). An input is a list of tables: a byte that chooses
// the signature, two for the size, the bytes behind the length; every eighth has a bad checksum.
// Whatever they hold, what is handed over is sorted and within its bounds.
#include "boot/boot_acpi.h"
#include "boot/boot_map.h"
#include "boot/boot_nodes.h"
#include "tests/fuzz/input.h"

#include <stdlib.h>
#include <string.h>

#define TABLES_MAX 32u
#define RSDP       0x100u // addresses of paper: the root, its list, and tables a GiB apart
#define XSDT       0x200u
#define STEP       0x40000000ull

struct table {
    uint8_t *data; // exactly as large as it is
    uint32_t size;
};

static struct table root, list, tables[TABLES_MAX];
static uint32_t table_count;
static struct platform platform;
static struct boot_info info;
static struct boot_acpi found;

static void expect(bool is_true) {
    if (!is_true)
        abort();
}

static const void *map(uint64_t base, uint64_t size) {
    const struct table *table = NULL;
    if (base == RSDP)
        table = &root;
    else if (base == XSDT)
        table = &list;
    else if (base % STEP == 0 && base / STEP - 1 < table_count)
        table = &tables[base / STEP - 1];
    return table != NULL && size <= table->size ? table->data : NULL;
}

static void fix_sum(struct table *table, uint32_t size, uint32_t at) {
    uint8_t sum = 0;
    table->data[at] = 0;
    for (uint32_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + table->data[i]);
    table->data[at] = (uint8_t)-sum;
}

static void close_table(struct table *table, const char *signature) {
    memcpy(table->data, signature, 4);
    memcpy(table->data + 4, &table->size, sizeof(table->size));
    fix_sum(table, table->size, 9);
}

static void make_table(struct input *input) {
    static const char *const signatures[] = {"APIC", "FACP", "SSDT", "SRAT", "SLIT", "SPCR",
                                             "DBG2", "MCFG", "HPET", "DMAR", "IVRS", "DSDT"};
    struct table *table = &tables[table_count++];
    uint8_t kind = input_byte(input);
    table->size = 36 + (uint32_t)input_number(input, 2) % 2048;
    table->data = calloc(1, table->size);
    expect(table->data != NULL);
    table->data[8] = input_byte(input); // revision
    for (uint32_t i = 36; i < table->size && input->left > 0; i++)
        table->data[i] = input_byte(input);
    if (kind % 12 == 1 && table->size >= 44) // a FADT, whose DSDT is the next table
        memcpy(table->data + 40, &(uint32_t){(uint32_t)((table_count + 1) * STEP)}, 4);
    close_table(table, signatures[kind % 12]);
    if (kind >= 224)
        table->data[10] ^= 1;
}

static void make_root(void) {
    uint64_t address = XSDT;
    list.size = 36 + 8 * table_count;
    list.data = calloc(1, list.size);
    root.size = 36;
    root.data = calloc(1, root.size);
    expect(list.data != NULL && root.data != NULL);
    for (uint64_t i = 0; i < table_count; i++)
        memcpy(list.data + 36 + 8 * i, &(uint64_t){(i + 1) * STEP}, 8);
    close_table(&list, "XSDT");
    memcpy(root.data, "RSD PTR ", 8);
    root.data[15] = 2;
    root.data[20] = 36;
    memcpy(root.data + 24, &address, sizeof(address));
    fix_sum(&root, 20, 8);
    fix_sum(&root, 36, 32);
}

static void check_info(void) {
    expect(info.cpu_count <= BOOT_CPUS_MAX && info.platform->node_count <= BOOT_NODES_MAX);
    expect(info.ioapic_count <= BOOT_IOAPICS_MAX && info.platform->ecam_count <= BOOT_ECAMS_MAX);
    expect(info.platform->console_count <= BOOT_CONSOLES_MAX);
    expect(((info.power.s5_type[0] | info.power.s5_type[1]) & ~0x1c00) == 0);
    for (uint32_t i = 0; i < info.cpu_count; i++) {
        expect(i == 0 || info.cpu[i].apic_id > info.cpu[i - 1].apic_id);
        expect(info.cpu[i].node == BOOT_NODE_NONE || info.cpu[i].node < info.platform->node_count);
    }
    for (uint32_t i = 0; i < info.ioapic_count; i++) {
        expect(info.ioapic[i].address != 0);
        expect(i == 0 || info.ioapic[i].gsi_base >= info.ioapic[i - 1].gsi_base);
    }
    for (uint32_t i = 0; i < found.affinity_count; i++)
        expect(found.affinity[i].node < info.platform->node_count);
    for (uint64_t at = 0, end = UINT64_MAX; at < UINT64_MAX; at = end, end = UINT64_MAX) {
        boot_acpi_node(&found, at, &end);
        expect(end > at);
    }
}

// What the supervisor is told: RAM of the map, once, each range of one node.
static void check_nodes(void) {
    static struct nodes nodes;
    struct boot_memory memory[64] = {{0x100000, 0xbff00000, BOOT_MEMORY_FREE, 0},
                                     {1ULL << 32, 1ULL << 40, BOOT_MEMORY_FREE, 0}};
    uint64_t end = 0, left = 0xbff00000 + (1ULL << 40);
    uint32_t count = boot_map_nodes(memory, 2, 64, &found);
    memset(&nodes, 0, sizeof(nodes));
    boot_nodes_fill(&nodes, &info, memory, count);
    expect(nodes.count == info.platform->node_count && nodes.cpu_count == info.cpu_count);
    for (uint32_t i = 0; i < nodes.range_count; i++) {
        const struct nodes_range *range = &nodes.range[i];
        expect(range->node < nodes.count && range->base >= end);
        expect(range->memory != 0 && range->memory <= range->size && range->memory <= left);
        expect((range->base | range->size) % BOOT_PAGE == 0);
        end = range->base + range->size;
        left -= range->memory;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input input = {data, size};
    table_count = 0;
    while (input.left > 0 && table_count < TABLES_MAX)
        make_table(&input);
    make_root();
    memset(&platform, 0, sizeof(platform));
    memset(&info, 0, sizeof(info));
    info.platform = &platform;
    expect(boot_acpi_parse(RSDP, map, &info, &found));
    check_info();
    check_nodes();
    for (uint32_t i = 0; i < table_count; i++)
        free(tables[i].data);
    free(list.data);
    free(root.data);
    return 0;
}
