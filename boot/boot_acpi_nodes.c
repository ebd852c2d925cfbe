// SPDX-License-Identifier: Apache-2.0
// SRAT and SLIT: the nodes of CPUs and memory, and how far they are apart. The firmware numbers its
// proximity domains as it likes; nodes are these domains in ascending order, numbered from 0. ACPI
// 6.5 5.2.16 "System Resource Affinity Table (SRAT)", 5.2.17 "System Locality Information Table
// (SLIT)".
#include "boot/boot_acpi_table.h"

#define SRAT_ENTRIES     48u
#define SRAT_WIDE_DOMAIN 2u // from this revision on domains of type 0 and 1 have 32 bits
#define SRAT_ENABLED     BIT(0)

enum srat_type {
    SRAT_LOCAL_APIC = 0,
    SRAT_MEMORY = 1,
    SRAT_LOCAL_X2APIC = 2,
};
static const uint8_t size_min[] = {
    [SRAT_LOCAL_APIC] = 16,
    [SRAT_MEMORY] = 40,
    [SRAT_LOCAL_X2APIC] = 24,
};

#define SLIT_COUNT  36u
#define SLIT_MATRIX 44u

// One entry that counts.
struct affinity {
    enum srat_type type;
    uint32_t domain;
    uint32_t apic_id;
    uint64_t base, length;
};

static uint32_t find_node(const struct boot_acpi_parser *parser, uint32_t domain) {
    for (uint32_t i = 0; i < parser->info->platform->node_count; i++)
        if (parser->found->domain[i] == domain)
            return i;
    return BOOT_NODE_NONE;
}

static void add_domain(struct boot_acpi_parser *parser, uint32_t domain) {
    uint32_t *domains = parser->found->domain;
    if (find_node(parser, domain) != BOOT_NODE_NONE)
        return;
    if (parser->info->platform->node_count == BOOT_NODES_MAX) {
        parser->found->has_more_nodes = true;
        return;
    }
    uint32_t at = parser->info->platform->node_count++;
    for (; at > 0 && domains[at - 1] > domain; at--)
        domains[at] = domains[at - 1];
    domains[at] = domain;
}

static void set_cpu_node(struct boot_info *info, uint32_t apic_id, uint32_t node) {
    uint32_t low = 0, high = info->cpu_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (info->cpu[middle].apic_id < apic_id)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < info->cpu_count && info->cpu[low].apic_id == apic_id)
        info->cpu[low].node = node;
}

static void add_memory(struct boot_acpi *found, const struct affinity *affinity, uint32_t node) {
    if (affinity->length == 0 || node == BOOT_NODE_NONE ||
        affinity->length > UINT64_MAX - affinity->base)
        return;
    if (found->affinity_count == BOOT_AFFINITIES_MAX)
        found->affinities_left++;
    else
        found->affinity[found->affinity_count++] =
            (struct boot_affinity){affinity->base, affinity->length, node};
}

// The next entry that is enabled. False: there are no more.
static bool next_affinity(struct boot_acpi_bytes srat, uint64_t *offset,
                          struct affinity *affinity) {
    static const uint8_t flags_at[] = {
        [SRAT_LOCAL_APIC] = 4, [SRAT_MEMORY] = 28, [SRAT_LOCAL_X2APIC] = 12};
    bool is_wide = boot_acpi_field8(srat, BOOT_ACPI_REVISION) >= SRAT_WIDE_DOMAIN;
    for (;;) {
        struct boot_acpi_bytes entry = boot_acpi_next(srat, offset, 1, 1);
        uint8_t type = boot_acpi_field8(entry, 0);
        if (entry.data == NULL)
            return false;
        if (type >= ARRAY_COUNT(size_min) || entry.size < size_min[type] ||
            (boot_acpi_field32(entry, flags_at[type]) & SRAT_ENABLED) == 0)
            continue;
        *affinity = (struct affinity){.type = (enum srat_type)type};
        if (type == SRAT_LOCAL_APIC) {
            uint32_t high = is_wide ? (uint32_t)boot_acpi_field(entry, 9, 3) << 8 : 0;
            affinity->domain = high | boot_acpi_field8(entry, 2);
            affinity->apic_id = boot_acpi_field8(entry, 3);
        } else if (type == SRAT_MEMORY) {
            affinity->domain = is_wide ? boot_acpi_field32(entry, 2) : boot_acpi_field8(entry, 2);
            affinity->base = boot_acpi_field(entry, 8, sizeof(uint64_t));
            affinity->length = boot_acpi_field(entry, 16, sizeof(uint64_t));
        } else {
            affinity->domain = boot_acpi_field32(entry, 4);
            affinity->apic_id = boot_acpi_field32(entry, 8);
        }
        return true;
    }
}

void boot_acpi_read_srat(struct boot_acpi_parser *parser, struct boot_acpi_bytes srat) {
    struct affinity affinity;
    for (uint64_t offset = SRAT_ENTRIES; next_affinity(srat, &offset, &affinity);)
        add_domain(parser, affinity.domain);
    for (uint64_t offset = SRAT_ENTRIES; next_affinity(srat, &offset, &affinity);) {
        uint32_t node = find_node(parser, affinity.domain);
        if (affinity.type == SRAT_MEMORY)
            add_memory(parser->found, &affinity, node);
        else
            set_cpu_node(parser->info, affinity.apic_id, node);
    }
}

// Rows and columns of the matrix are domains.
void boot_acpi_read_slit(struct boot_acpi_parser *parser, struct boot_acpi_bytes slit) {
    const uint32_t *domain = parser->found->domain;
    uint64_t count = boot_acpi_field(slit, SLIT_COUNT, sizeof(uint64_t));
    if (count > slit.size || count * count > slit.size - SLIT_MATRIX)
        return;
    for (uint32_t i = 0; i < parser->info->platform->node_count; i++)
        for (uint32_t k = 0; k < parser->info->platform->node_count; k++)
            if (domain[i] < count && domain[k] < count)
                parser->info->platform->distance[i][k] =
                    boot_acpi_field8(slit, SLIT_MATRIX + domain[i] * count + domain[k]);
}

uint32_t boot_acpi_node(const struct boot_acpi *found, uint64_t address, uint64_t *end) {
    for (uint32_t i = 0; i < found->affinity_count; i++) {
        const struct boot_affinity *affinity = &found->affinity[i];
        if (address < affinity->base) {
            *end = MIN(*end, affinity->base);
        } else if (address - affinity->base < affinity->length) {
            *end = MIN(*end, affinity->base + affinity->length);
            return affinity->node;
        }
    }
    return BOOT_NODE_NONE;
}
