// SPDX-License-Identifier: Apache-2.0
// IOMMUs that the firmware left on, and whether its word about DMA protection was true. See
// boot/boot_quiesce.h.
#include "boot/boot_acpi_table.h"
#include "boot/boot_quiesce.h"
#include "boot/boot_report.h"

#define DMAR_FLAGS        37u
#define DMAR_PROTECTS     BIT(2) // DMA_CTRL_PLATFORM_OPT_IN_FLAG
#define DMAR_FIRST        48u
#define DMAR_DRHD         0u
#define VTD_COMMAND       0x18u
#define VTD_STATUS        0x1cu
#define VTD_PROTECTED     0x64u
#define VTD_TRANSLATION   BIT(31)
#define VTD_REMAPPING     BIT(25) // of interrupts
#define VTD_QUEUE         BIT(26)
#define VTD_STANDING      0x96ffffffu // without the bits that act once
#define VTD_PROTECTED_ON  BIT(31)
#define VTD_PROTECTED_NOW BIT(0)

#define IVRS_INFO       36u
#define IVRS_PROTECTS   BIT(1) // DMA remapping is asked for
#define IVRS_FIRST      48u
#define AMD_CONTROL     0x18u
#define AMD_ON          BIT(0)
#define AMD_LOGS_QUEUES (BIT(2) | BIT(12) | BIT(13))

#define UNIT_BASE   8u // in a block of either table
#define WINDOW_SIZE 0x1000ull
#define WAITS_MAX   100u

struct units {
    const struct boot_bus *bus;
    struct boot_info *info;
    uint32_t count, on_count, stuck_count;
};

struct unit_table {
    struct boot_acpi_bytes bytes;
    uint32_t first; // offset of the first block
    uint32_t probe; // a register that never is all ones
    uint8_t types[3];
    void (*off)(struct units *units, uint64_t base);
};

// Until the bits are 0 there.
static bool wait_clear(const struct boot_bus *bus, uint64_t address, uint32_t bits) {
    for (uint32_t i = 0; i < WAITS_MAX && (bus->memory_read(address) & bits) != 0; i++)
        bus->wait();
    return (bus->memory_read(address) & bits) == 0;
}

static void vtd_off(struct units *units, uint64_t base) {
    static const uint32_t order[] = {VTD_REMAPPING, VTD_TRANSLATION, VTD_QUEUE};
    const struct boot_bus *bus = units->bus;
    uint32_t status = bus->memory_read(base + VTD_STATUS);
    bool has_protected = (bus->memory_read(base + VTD_PROTECTED) & VTD_PROTECTED_NOW) != 0;
    bool is_stuck = false;
    units->on_count += (status & VTD_TRANSLATION) != 0 || has_protected;
    for (uint32_t i = 0; i < ARRAY_COUNT(order); i++) {
        status = bus->memory_read(base + VTD_STATUS);
        if ((status & order[i]) == 0)
            continue;
        bus->memory_write(base + VTD_COMMAND, status & VTD_STANDING & ~order[i]);
        is_stuck |= !wait_clear(bus, base + VTD_STATUS, order[i]);
    }
    if (has_protected) {
        uint32_t word = bus->memory_read(base + VTD_PROTECTED);
        bus->memory_write(base + VTD_PROTECTED, word & ~(uint32_t)VTD_PROTECTED_ON);
        is_stuck |= !wait_clear(bus, base + VTD_PROTECTED, VTD_PROTECTED_NOW);
    }
    units->stuck_count += is_stuck;
}

static void amd_off(struct units *units, uint64_t base) {
    const struct boot_bus *bus = units->bus;
    uint32_t control = bus->memory_read(base + AMD_CONTROL);
    if ((control & AMD_ON) == 0)
        return;
    units->on_count++;
    bus->memory_write(base + AMD_CONTROL, control & ~(uint32_t)AMD_LOGS_QUEUES);
    bus->memory_write(base + AMD_CONTROL, control & ~(uint32_t)(AMD_LOGS_QUEUES | AMD_ON));
    units->stuck_count += !wait_clear(bus, base + AMD_CONTROL, AMD_ON);
}

// May its registers be touched? Ones alone: nothing answers there.
static bool is_there(struct units *units, uint64_t base, uint32_t offset) {
    bool is_mapped = units->bus->is_mapped(base, WINDOW_SIZE);
    if (is_mapped && units->bus->memory_read(base + offset) != UINT32_MAX)
        return true;
    boot_report(units->info, "DMA protection: the IOMMU at 0x%llx %s: left as it is",
                (unsigned long long)base, is_mapped ? "does not answer" : "is not mapped");
    return false;
}

// The base of the table's next unit, from *at on; 0: there is no more.
static uint64_t next_unit(const struct unit_table *table, uint64_t *at) {
    struct boot_acpi_bytes block = boot_acpi_next(table->bytes, at, 2, 2);
    for (; block.data != NULL; block = boot_acpi_next(table->bytes, at, 2, 2)) {
        uint8_t type = boot_acpi_field8(block, 0);
        uint64_t base = boot_acpi_field(block, UNIT_BASE, 8);
        if (base != 0 && memchr(table->types, type, sizeof(table->types)) != NULL)
            return base;
    }
    return 0;
}

// An IVRS may have a block of each of its types for a unit, and a damaged table any number.
static bool is_first(const struct unit_table *table, uint64_t base, uint64_t end) {
    uint64_t at = table->first, other = next_unit(table, &at);
    while (other != base)
        other = next_unit(table, &at);
    return at == end;
}

static void read_table(struct units *units, const struct unit_table *table) {
    uint64_t at = table->first, base = next_unit(table, &at);
    for (; base != 0; base = next_unit(table, &at)) {
        if (!is_first(table, base, at) || !is_there(units, base, table->probe))
            continue;
        units->count++;
        table->off(units, base);
    }
}

static void report(const struct units *units, bool is_claimed) {
    struct boot_info *info = units->info;
    if (units->count == 0)
        return;
    const char *claim = is_claimed ? "the firmware claims it" : "the firmware does not claim it";
    if (units->on_count == 0)
        boot_report(info, "DMA protection: %s, and none of %u IOMMUs was on%s", claim, units->count,
                    is_claimed ? ": that was not true (update the firmware)" : "");
    else
        boot_report(info, "DMA protection: %s, and %u of %u IOMMUs were on, now off", claim,
                    units->on_count, units->count);
    if (units->stuck_count > 0)
        boot_report(info, "DMA protection: %u IOMMUs can not be turned off (update the firmware)",
                    units->stuck_count);
}

void boot_quiesce_iommu(const struct boot_bus *bus, const uint8_t *dmar, uint64_t dmar_size,
                        const uint8_t *ivrs, uint64_t ivrs_size, struct boot_info *info) {
    const struct boot_acpi_bytes intel = {dmar, dmar == NULL ? 0 : (uint32_t)dmar_size};
    const struct boot_acpi_bytes amd = {ivrs, ivrs == NULL ? 0 : (uint32_t)ivrs_size};
    struct units units = {.bus = bus, .info = info};
    const struct unit_table tables[] = {
        {intel, DMAR_FIRST, VTD_STATUS, {DMAR_DRHD, DMAR_DRHD, DMAR_DRHD}, vtd_off},
        {amd, IVRS_FIRST, AMD_CONTROL, {0x10, 0x11, 0x40}, amd_off},
    };
    for (uint32_t i = 0; i < ARRAY_COUNT(tables); i++)
        read_table(&units, &tables[i]);
    bool is_claimed = (boot_acpi_field8(intel, DMAR_FLAGS) & DMAR_PROTECTS) != 0 ||
                      (boot_acpi_field8(amd, IVRS_INFO) & IVRS_PROTECTS) != 0;
    report(&units, is_claimed);
}
