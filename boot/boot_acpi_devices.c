// SPDX-License-Identifier: Apache-2.0
// The tables of single devices: serial lines (SPCR, DBG2), the HPET and PCI's configuration space
// (MCFG). Their specifications are named in boot_acpi.h.
#include "boot/boot_acpi_table.h"

#define SPCR_TYPE       36u
#define SPCR_BASE       40u
#define SPCR_INTERRUPTS 52u
#define SPCR_IRQ        53u
#define SPCR_GSI        54u
#define SPCR_BAUD       58u
#define SPCR_HAS_IRQ    BIT(0) // of a pair of 8259s
#define SPCR_HAS_GSI    BIT(1)

#define DBG2_OFFSET 36u
#define DBG2_COUNT  40u
// A device of DBG2
#define DEVICE_LENGTH      1u
#define DEVICE_REGISTERS   3u
#define DEVICE_TYPE        12u
#define DEVICE_SUBTYPE     14u
#define DEVICE_BASE_OFFSET 18u
#define TYPE_SERIAL        0x8000u

#define HPET_BASE 40u

#define MCFG_ENTRIES    44u
#define MCFG_ENTRY_SIZE 16u

// A line that SPCR and DBG2 both name is one.
static void add_console(struct boot_acpi_parser *parser, const struct boot_console *console) {
    struct boot_info *info = parser->info;
    for (uint32_t i = 0; i < info->platform->console_count; i++)
        if (info->platform->console[i].base.address == console->base.address &&
            info->platform->console[i].base.space == console->base.space)
            return;
    if (console->base.address == 0)
        return;
    if (info->platform->console_count == BOOT_CONSOLES_MAX)
        parser->found->consoles_left++;
    else
        info->platform->console[info->platform->console_count++] = *console;
}

static uint32_t baud_of(uint8_t code) {
    switch (code) {
    case 3:
        return 9600;
    case 4:
        return 19200;
    case 6:
        return 57600;
    case 7:
        return 115200;
    default:
        return 0;
    }
}

void boot_acpi_read_spcr(struct boot_acpi_parser *parser, struct boot_acpi_bytes spcr) {
    uint8_t interrupts = boot_acpi_field8(spcr, SPCR_INTERRUPTS);
    uint8_t irq = boot_acpi_field8(spcr, SPCR_IRQ);
    struct boot_console console = {
        .base = boot_acpi_register(spcr, SPCR_BASE),
        .type = boot_acpi_field8(spcr, SPCR_TYPE),
        .baud = baud_of(boot_acpi_field8(spcr, SPCR_BAUD)),
    };
    if ((interrupts & SPCR_HAS_GSI) != 0) {
        console.has_interrupt = true;
        console.gsi = boot_acpi_field32(spcr, SPCR_GSI);
    } else if ((interrupts & SPCR_HAS_IRQ) != 0 && irq < BOOT_ISA_IRQS) {
        console.has_interrupt = true;
        console.gsi = parser->info->platform->isa_irq[irq].gsi;
    }
    add_console(parser, &console);
}

void boot_acpi_read_dbg2(struct boot_acpi_parser *parser, struct boot_acpi_bytes dbg2) {
    uint32_t count = boot_acpi_field32(dbg2, DBG2_COUNT);
    uint64_t offset = boot_acpi_field32(dbg2, DBG2_OFFSET);
    for (uint32_t i = 0; i < count; i++) {
        struct boot_acpi_bytes device =
            boot_acpi_next(dbg2, &offset, DEVICE_LENGTH, sizeof(uint16_t));
        if (device.data == NULL)
            return;
        if (boot_acpi_field16(device, DEVICE_TYPE) != TYPE_SERIAL ||
            boot_acpi_field8(device, DEVICE_REGISTERS) == 0)
            continue;
        uint16_t base = boot_acpi_field16(device, DEVICE_BASE_OFFSET);
        struct boot_console console = {.base = boot_acpi_register(device, base),
                                       .type = boot_acpi_field16(device, DEVICE_SUBTYPE)};
        add_console(parser, &console);
    }
}

void boot_acpi_read_hpet(struct boot_acpi_parser *parser, struct boot_acpi_bytes hpet) {
    struct boot_register base = boot_acpi_register(hpet, HPET_BASE);
    if (base.space == BOOT_SPACE_MEMORY)
        parser->info->platform->hpet = base.address;
}

static bool is_before(const struct boot_ecam *a, const struct boot_ecam *b) {
    return a->segment != b->segment ? a->segment < b->segment : a->first_bus < b->first_bus;
}

void boot_acpi_read_mcfg(struct boot_acpi_parser *parser, struct boot_acpi_bytes mcfg) {
    struct boot_info *info = parser->info;
    for (uint64_t offset = MCFG_ENTRIES; offset + MCFG_ENTRY_SIZE <= mcfg.size;
         offset += MCFG_ENTRY_SIZE) {
        struct boot_ecam ecam = {
            .base = boot_acpi_field(mcfg, offset, sizeof(uint64_t)),
            .segment = boot_acpi_field16(mcfg, offset + 8),
            .first_bus = boot_acpi_field8(mcfg, offset + 10),
            .last_bus = boot_acpi_field8(mcfg, offset + 11),
        };
        if (ecam.base == 0 || ecam.first_bus > ecam.last_bus)
            continue;
        if (info->platform->ecam_count == BOOT_ECAMS_MAX) {
            parser->found->ecams_left++;
            continue;
        }
        uint32_t at = info->platform->ecam_count++;
        for (; at > 0 && is_before(&ecam, &info->platform->ecam[at - 1]); at--)
            info->platform->ecam[at] = info->platform->ecam[at - 1];
        info->platform->ecam[at] = ecam;
    }
}
