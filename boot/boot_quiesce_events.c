// SPDX-License-Identifier: Apache-2.0
// Into ACPI mode, with no event on. See boot/boot_quiesce.h.
#include "boot/boot_quiesce.h"
#include "boot/boot_report.h"
#include "lib/types.h"

#define PM1_SCI_EN BIT(0)
#define WAITS_MAX  3000u // milliseconds, about: some firmwares are slow
#define GPE_FIRST  2u    // of the blocks

// A block is status registers, then as many enable registers; ones clear a status.
static void clear_words(const struct boot_bus *bus, struct boot_event_block block) {
    uint32_t half = block.size / 2u;
    for (uint32_t i = 0; block.port != 0 && i + 2 <= half; i += 2)
        bus->port_write((uint16_t)(block.port + half + i), 0);
    for (uint32_t i = 0; block.port != 0 && i + 2 <= half; i += 2)
        bus->port_write((uint16_t)(block.port + i), UINT16_MAX);
}

// General-purpose events have registers of 8 bits.
static void clear_bytes(const struct boot_bus *bus, struct boot_event_block block) {
    uint32_t half = block.size / 2u;
    for (uint32_t i = 0; block.port != 0 && i < half; i++)
        bus->port_write8((uint16_t)(block.port + half + i), 0);
    for (uint32_t i = 0; block.port != 0 && i < half; i++)
        bus->port_write8((uint16_t)(block.port + i), UINT8_MAX);
}

void boot_quiesce_events(const struct boot_bus *bus, const struct boot_acpi *acpi,
                         struct boot_info *info) {
    uint16_t control = info->power.pm1_control[0];
    for (uint32_t i = 0; i < ARRAY_COUNT(acpi->event); i++)
        (i < GPE_FIRST ? clear_words : clear_bytes)(bus, acpi->event[i]);
    if (acpi->no_button != NULL)
        boot_report(info, "power button: %s: it does nothing", acpi->no_button);
    if (control == 0 || (bus->port_read(control) & PM1_SCI_EN) != 0)
        return;
    if (acpi->smi_command == 0 || acpi->acpi_enable == 0)
        return; // such a machine has no other mode
    bus->port_write8(acpi->smi_command, acpi->acpi_enable);
    for (uint32_t i = 0; i < WAITS_MAX && (bus->port_read(control) & PM1_SCI_EN) == 0; i++)
        bus->wait();
    if ((bus->port_read(control) & PM1_SCI_EN) == 0) {
        info->platform->start.button = (struct boot_button){0}; // it stays the firmware's
        boot_report(info, "ACPI: the firmware does not change to ACPI mode: no power-off, and the "
                          "power button does nothing");
    }
}
