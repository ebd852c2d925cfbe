// SPDX-License-Identifier: Apache-2.0
// The power button, where it is the fixed hardware's: a bit of the PM1 event blocks, and the SCI.
// ACPI 6.5 4.8.2.2.1 "Power Button", 4.8.3.1 "PM1 Event Registers", 5.2.9 "Fixed ACPI Description
// Table (FADT)".
#include "boot/boot_acpi_table.h"
#include "include/abi.h"

#define FADT_SCI_INT    46u
#define FADT_PWR_BUTTON BIT(4) // it is a control-method device, or there is none
#define PM1_EVENT_MIN   4u     // a status and an enable register of 16 bits
#define EVENT_PM1A      0u     // of struct boot_acpi's
#define EVENT_PM1B      1u

// A block that ends behind the last port is none.
static uint16_t port_of(const struct boot_event_block *block, uint16_t size) {
    return range_exceeds(block->port, size, UINT16_MAX + 1u) ? 0 : block->port;
}

void boot_acpi_read_button(struct boot_acpi_parser *parser, struct boot_acpi_bytes fadt,
                           struct boot_acpi_bytes madt) {
    const struct boot_event_block *event = parser->found->event;
    uint32_t flags = boot_acpi_field32(fadt, FADT_FLAGS);
    uint16_t size = event[EVENT_PM1A].size & ~1u;
    uint16_t pm1a = port_of(&event[EVENT_PM1A], size);
    if (fadt.data == NULL)
        parser->found->no_button = "there is no FADT";
    else if ((flags & FADT_HW_REDUCED) != 0)
        parser->found->no_button = "the machine is hardware-reduced (ACPI)";
    else if ((flags & FADT_PWR_BUTTON) != 0)
        parser->found->no_button = "it is a control-method device, or missing";
    else if (pm1a == 0 || size < PM1_EVENT_MIN)
        parser->found->no_button = "the FADT has no PM1 event registers";
    else
        parser->found->no_button = NULL;
    if (parser->found->no_button != NULL)
        return;
    struct boot_isa_irq sci = boot_acpi_sci(madt, boot_acpi_field16(fadt, FADT_SCI_INT));
    parser->info->platform->start.button = (struct boot_button){
        .pm1a_event = pm1a,
        .pm1b_event = port_of(&event[EVENT_PM1B], size),
        .size = size,
        .input = sci.gsi,
        .trigger = (sci.is_active_low != 0 ? (uint32_t)ABI_TRIGGER_LOW : 0) |
                   (sci.is_level != 0 ? (uint32_t)ABI_TRIGGER_LEVEL : 0),
    };
}
