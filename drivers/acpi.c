// SPDX-License-Identifier: Apache-2.0
// The parser (drivers/acpi_tables.c) on this machine's memory, and what it found for the log.
#include "drivers/acpi.h"

#include "arch/log.h"
#include "kernel/space.h"

struct acpi_info acpi_info;

// Physical addresses that the processor does not have would fault on their reserved bits.
static const void *map_firmware(hpa_t base, uint64_t size) {
    if (range_exceeds(base.v, size, BIT(cpu_features.physical_bits)))
        return NULL;
    return space_map_firmware(base, size);
}

bool acpi_init(hpa_t rsdp) {
    bool is_present = acpi_parse(rsdp, map_firmware, &acpi_info);
    if (!is_present)
        log_line("acpi: no tables: one CPU, no power-off; is this machine booted by UEFI?");
    if (acpi_info.damaged_count > 0)
        log_line("acpi: %u damaged tables ignored: update the firmware", acpi_info.damaged_count);
    if (acpi_info.cpu_ignored_count > 0)
        log_line("acpi: %u CPUs beyond the first %u ignored", acpi_info.cpu_ignored_count,
                 ACPI_CPUS_MAX);
    return is_present;
}
