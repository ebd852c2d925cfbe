// SPDX-License-Identifier: Apache-2.0
// The parser of the ACPI tables (boot_acpi.h) on this machine's memory.
//
// The firmware maps memory identically, but perhaps not every address that a damaged table may
// hold: what its memory map does not list is not touched.
#include "boot/boot_map.h"
#include "boot/loader.h"
#include "lib/string.h"
#include "lib/types.h"

// Firmware has its root there without a word in its map (UEFI 2.10 2.3.4 "x64 Platforms" maps it).
#define BIOS_BASE 0xe0000ull
#define BIOS_END  0x100000ull

#define MAP_SLACK 16u // descriptors that the pool which holds the map may add to it

// The firmware's map of now.
static EFI_MEMORY_DESCRIPTOR *map;
static UINTN map_size, map_step;

static bool guid_equal(const EFI_GUID *a, const EFI_GUID *b) {
    return memcmp(a, b, sizeof(*a)) == 0;
}

// The root of ACPI 2.0 and later, or else that of 1.0, or else 0.
static uint64_t find_rsdp(void) {
    EFI_GUID acpi2 = ACPI_20_TABLE_GUID;
    EFI_GUID acpi1 = ACPI_TABLE_GUID;
    uint64_t rsdp = 0;
    for (UINTN i = 0; i < loader_system->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *table = &loader_system->ConfigurationTable[i];
        if (guid_equal(&table->VendorGuid, &acpi2))
            return (uint64_t)(uintptr_t)table->VendorTable;
        if (guid_equal(&table->VendorGuid, &acpi1))
            rsdp = (uint64_t)(uintptr_t)table->VendorTable;
    }
    return rsdp;
}

static bool open_map(void) {
    UINTN key;
    UINT32 version;
    EFI_STATUS status = loader_services->GetMemoryMap(&map_size, NULL, &key, &map_step, &version);
    if (status != EFI_BUFFER_TOO_SMALL || map_step < sizeof(EFI_MEMORY_DESCRIPTOR))
        return false;
    map_size += MAP_SLACK * map_step;
    if (EFI_ERROR(loader_services->AllocatePool(EfiLoaderData, map_size, (void **)&map)))
        return false;
    return !EFI_ERROR(loader_services->GetMemoryMap(&map_size, map, &key, &map_step, &version));
}

static void close_map(void) {
    if (map != NULL)
        loader_services->FreePool(map);
    map = NULL;
    map_size = 0;
}

// Where the memory that the map lists around `address` ends, or `address`.
static uint64_t memory_end(uint64_t address) {
    for (UINTN at = 0; at + map_step <= map_size; at += map_step) {
        const EFI_MEMORY_DESCRIPTOR *descriptor =
            (const EFI_MEMORY_DESCRIPTOR *)((const uint8_t *)map + at);
        struct boot_memory range;
        uint32_t type = boot_map_type(descriptor->Type);
        if (type != BOOT_MEMORY_DEVICE &&
            boot_map_range(&range, descriptor->PhysicalStart, descriptor->NumberOfPages, type) &&
            address >= range.base && address - range.base < range.length)
            return range.base + range.length;
    }
    return address >= BIOS_BASE && address < BIOS_END ? BIOS_END : address;
}

static const void *map_table(uint64_t base, uint64_t size) {
    if (size > UINT64_MAX - base)
        return NULL;
    for (uint64_t at = base; at < base + size;) {
        uint64_t end = memory_end(at);
        if (end == at)
            return NULL;
        at = end;
    }
    return (const void *)(uintptr_t)base;
}

// What is needed while the kernel runs must not be in memory that it takes.
static EFI_STATUS keep(const struct boot_acpi_found *found, struct boot_table *table) {
    if (found->address == 0)
        return EFI_SUCCESS;
    uint64_t pages = (found->size + BOOT_PAGE_SIZE - 1) / BOOT_PAGE_SIZE;
    table->base = memory_alloc(pages, BOOT_PAGE_SIZE, BOOT_MEMORY_ACPI);
    table->size = found->size;
    if (table->base == 0)
        return console_fail(EFI_OUT_OF_RESOURCES,
                            "too little memory for the ACPI tables: give the machine more");
    memcpy((void *)(uintptr_t)table->base, (const void *)(uintptr_t)found->address, found->size);
    return EFI_SUCCESS;
}

static void say_left(uint32_t count, const char *what, uint32_t max) {
    if (count > 0)
        console_print("bulkhead: %u %s beyond the first %u are left off\r\n", count, what, max);
}

static void say_what_is_wrong(const struct boot_acpi *acpi) {
    if (acpi->damaged_count > 0)
        console_print("bulkhead: %u damaged ACPI tables ignored: update the firmware\r\n",
                      acpi->damaged_count);
    say_left(acpi->ioapics_left, "I/O APICs", BOOT_IOAPICS_MAX);
    say_left(acpi->consoles_left, "serial lines", BOOT_CONSOLES_MAX);
    say_left(acpi->ecams_left, "PCI segments", BOOT_ECAMS_MAX);
    say_left(acpi->affinities_left, "ranges of nodes", BOOT_AFFINITIES_MAX);
    if (acpi->has_more_nodes)
        console_print("bulkhead: nodes beyond the first %u count as none\r\n", BOOT_NODES_MAX);
}

EFI_STATUS tables_read(struct loader *loader) {
    struct boot_info *info = &loader->info;
    info->platform->rsdp = find_rsdp();
    bool is_present =
        open_map() && boot_acpi_parse(info->platform->rsdp, map_table, info, &loader->acpi);
    close_map();
    if (!is_present)
        console_print("bulkhead: no ACPI tables: one CPU, no power-off; "
                      "is this machine booted by UEFI?\r\n");
    say_what_is_wrong(&loader->acpi);
    EFI_STATUS status = keep(&loader->acpi.dmar, &info->platform->dmar);
    return EFI_ERROR(status) ? status : keep(&loader->acpi.ivrs, &info->platform->ivrs);
}
