// SPDX-License-Identifier: Apache-2.0
// The machine made quiet (boot_quiesce.h) on this machine's hardware, behind the boot services. The
// page tables are the firmware's still, which need not map what its memory map does not list: so
// each access asks them first, as a fault here would end the machine without a word.
#include "boot/boot_paging.h"
#include "boot/boot_quiesce.h"
#include "boot/loader.h"
#include "lib/types.h"

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA    0xcfcu
#define CONFIG_ENABLE  0x80000000u
#define WAITS_SECOND   1000u
#define CR4_LA57       (1ull << 12)

static const struct boot_info *machine;

bool quiesce_is_mapped(uint64_t base, uint64_t length) {
    uint64_t cr3;
    uint64_t cr4;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    return boot_paging_reaches(cr3, (cr4 & CR4_LA57) != 0 ? 5 : 4, base, length);
}

static uint32_t memory_read(uint64_t address) {
    if (!quiesce_is_mapped(address, sizeof(uint32_t)))
        return UINT32_MAX;
    return *(volatile uint32_t *)(uintptr_t)address;
}

static void memory_write(uint64_t address, uint32_t value) {
    if (quiesce_is_mapped(address, sizeof(uint32_t)))
        *(volatile uint32_t *)(uintptr_t)address = value;
}

// The function's configuration space in memory; 0: there is none, or it is not mapped.
static uint64_t find_window(uint32_t function) {
    for (uint32_t i = 0; i < machine->platform->ecam_count; i++) {
        const struct boot_ecam *ecam = &machine->platform->ecam[i];
        uint32_t bus = function >> 8 & 0xff;
        uint64_t window = ecam->base + ((uint64_t)(function & 0xffff) << 12);
        if (ecam->segment == function >> 16 && bus >= ecam->first_bus && bus <= ecam->last_bus)
            return quiesce_is_mapped(window, BOOT_PAGE) ? window : 0;
    }
    return 0;
}

static void select(uint32_t function, uint32_t offset) {
    uint32_t address = CONFIG_ENABLE | (function & 0xffff) << 8 | (offset & 0xfc);
    __asm__ volatile("outl %0, %1" ::"a"(address), "Nd"((uint16_t)CONFIG_ADDRESS));
}

static uint32_t config_read(uint32_t function, uint32_t offset) {
    uint64_t window = find_window(function);
    uint32_t value;
    if (window != 0)
        return memory_read(window + offset);
    if (function >> 16 != 0)
        return UINT32_MAX; // the ports reach segment 0 alone
    select(function, offset);
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)CONFIG_DATA));
    return value;
}

static void config_write(uint32_t function, uint32_t offset, uint32_t value) {
    uint64_t window = find_window(function);
    if (window != 0)
        memory_write(window + offset, value);
    if (window != 0 || function >> 16 != 0)
        return;
    select(function, offset);
    __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"((uint16_t)CONFIG_DATA));
}

static uint16_t port_read(uint16_t port) {
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void port_write(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}

static void port_write8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}

static void wait(void) {
    uint64_t end = __builtin_ia32_rdtsc() + machine->tsc_hz / WAITS_SECOND;
    while (__builtin_ia32_rdtsc() < end)
        __asm__ volatile("pause");
}

void quiesce_all(struct loader *loader) {
    static const struct boot_bus bus = {
        .config_read = config_read,
        .config_write = config_write,
        .is_mapped = quiesce_is_mapped,
        .memory_read = memory_read,
        .memory_write = memory_write,
        .port_read = port_read,
        .port_write = port_write,
        .port_write8 = port_write8,
        .wait = wait,
    };
    struct boot_info *info = &loader->info;
    machine = info;
    boot_quiesce_pci(&bus, &loader->acpi, info);
    boot_quiesce_iommu(
        &bus, (const uint8_t *)(uintptr_t)info->platform->dmar.base, info->platform->dmar.size,
        (const uint8_t *)(uintptr_t)info->platform->ivrs.base, info->platform->ivrs.size, info);
    boot_quiesce_events(&bus, &loader->acpi, info);
}
