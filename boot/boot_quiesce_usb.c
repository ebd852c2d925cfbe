// SPDX-License-Identifier: Apache-2.0
// See boot/boot_quiesce_usb.h.
#include "boot/boot_quiesce_usb.h"

#include "lib/types.h"

#define USB_UHCI 0x00u
#define USB_OHCI 0x10u
#define USB_EHCI 0x20u
#define USB_XHCI 0x30u

#define PCI_COMMAND        0x04u
#define PCI_BAR0           0x10u
#define PCI_BAR4           0x20u
#define COMMAND_IO         BIT(0)
#define COMMAND_MEMORY     BIT(1)
#define BAR_IS_64BIT       BIT(2)
#define BAR_MASK           0xfffffff0u
#define WAITS_MAX          1000u // milliseconds, about
#define CAPABILITIES_MAX   64u   // of a list, which may be a circle
#define LEGACY_ID          1u
#define LEGACY_FIRMWARE    BIT(16)
#define LEGACY_OURS        BIT(24)
#define XHCI_PARAMETERS    0x10u
#define XHCI_CONTROL       0x04u       // behind the legacy capability
#define XHCI_SMI_ENABLES   0x0000e011u // and the bits of events, which ones clear
#define XHCI_SMI_EVENTS    0xe0000000u
#define EHCI_PARAMETERS    0x08u
#define RUN                BIT(0)
#define OHCI_CONTROL       0x04u
#define OHCI_COMMAND       0x08u
#define OHCI_DISABLE       0x14u
#define OHCI_ROUTED_TO_SMI BIT(8)
#define OHCI_REQUEST       BIT(3)
#define OHCI_STATE_MASK    0xc0u // 0: reset
#define UHCI_LEGACY        0xc0u
#define UHCI_LEGACY_OFF    0x8f00u // no SMI is on, events cleared
#define UHCI_TRAPS         0x003fu // what makes an SMI
#define LEGACY_SIZE        8u
#define WINDOW_SIZE        0x100ull // of all registers used, but for a list's

static uint64_t memory_bar(const struct boot_bus *bus, uint32_t function) {
    uint32_t low = bus->config_read(function, PCI_BAR0);
    uint64_t high = (low & BAR_IS_64BIT) != 0 ? bus->config_read(function, PCI_BAR0 + 4) : 0;
    bool is_on = (bus->config_read(function, PCI_COMMAND) & COMMAND_MEMORY) != 0;
    return is_on && (low & 1) == 0 ? high << 32 | (low & BAR_MASK) : 0;
}

// EHCI and xHCI both have a word with one bit for each owner; it stands in different places.
struct legacy {
    const struct boot_bus *bus;
    uint64_t address; // of memory, or in configuration space
    bool is_config;
    uint32_t function;
};

static uint32_t legacy_read(const struct legacy *l, uint32_t offset) {
    uint64_t at = l->address + offset;
    return l->is_config ? l->bus->config_read(l->function, (uint32_t)at) : l->bus->memory_read(at);
}

static void legacy_write(const struct legacy *l, uint32_t offset, uint32_t value) {
    uint64_t at = l->address + offset;
    if (l->is_config)
        l->bus->config_write(l->function, (uint32_t)at, value);
    else
        l->bus->memory_write(at, value);
}

static enum boot_usb_result take_legacy(const struct legacy *l) {
    uint32_t word = legacy_read(l, 0);
    if ((word & LEGACY_FIRMWARE) == 0)
        return BOOT_USB_FREE;
    legacy_write(l, 0, word | (uint32_t)LEGACY_OURS);
    for (uint32_t i = 0; i < WAITS_MAX && (legacy_read(l, 0) & LEGACY_FIRMWARE) != 0; i++)
        l->bus->wait();
    if ((legacy_read(l, 0) & LEGACY_FIRMWARE) == 0)
        return BOOT_USB_TAKEN;
    legacy_write(l, 0, (word & ~(uint32_t)LEGACY_FIRMWARE) | (uint32_t)LEGACY_OURS);
    return BOOT_USB_FORCED;
}

// The operational registers begin behind the capability registers, with the command.
static void stop(const struct boot_bus *bus, uint64_t base) {
    uint64_t command = base + (bus->memory_read(base) & 0xfc);
    bus->memory_write(command, bus->memory_read(command) & ~(uint32_t)RUN);
}

static enum boot_usb_result take_xhci(const struct boot_bus *bus, uint64_t base) {
    enum boot_usb_result result = BOOT_USB_FREE;
    uint64_t at = base + (uint64_t)(bus->memory_read(base + XHCI_PARAMETERS) >> 16) * 4;
    for (uint32_t i = 0, next = 1; at != base && next != 0 && i < CAPABILITIES_MAX; i++) {
        uint32_t word = bus->is_mapped(at, LEGACY_SIZE) ? bus->memory_read(at) : UINT32_MAX;
        const struct legacy legacy = {.bus = bus, .address = at};
        if (word == UINT32_MAX)
            break;
        if ((word & 0xff) == LEGACY_ID) {
            result = take_legacy(&legacy);
            uint32_t control = legacy_read(&legacy, XHCI_CONTROL) & ~XHCI_SMI_ENABLES;
            legacy_write(&legacy, XHCI_CONTROL, control | XHCI_SMI_EVENTS);
        }
        next = word >> 8 & 0xff;
        at += (uint64_t)next * 4;
    }
    stop(bus, base);
    return result;
}

static enum boot_usb_result take_ehci(const struct boot_bus *bus, uint32_t function,
                                      uint64_t base) {
    enum boot_usb_result result = BOOT_USB_FREE;
    uint32_t at = bus->memory_read(base + EHCI_PARAMETERS) >> 8 & 0xfc;
    const struct legacy legacy = {
        .bus = bus, .address = at, .is_config = true, .function = function};
    if (at >= 0x40 && at < 0xfc && (legacy_read(&legacy, 0) & 0xff) == LEGACY_ID) {
        result = take_legacy(&legacy);
        legacy_write(&legacy, 4, XHCI_SMI_EVENTS);
    }
    stop(bus, base);
    return result;
}

static enum boot_usb_result take_ohci(const struct boot_bus *bus, uint64_t base) {
    bool is_firmwares = (bus->memory_read(base + OHCI_CONTROL) & OHCI_ROUTED_TO_SMI) != 0;
    if (is_firmwares) {
        bus->memory_write(base + OHCI_COMMAND, OHCI_REQUEST);
        for (uint32_t i = 0; i < WAITS_MAX; i++) {
            if ((bus->memory_read(base + OHCI_CONTROL) & OHCI_ROUTED_TO_SMI) == 0)
                break;
            bus->wait();
        }
    }
    uint32_t control = bus->memory_read(base + OHCI_CONTROL);
    bus->memory_write(base + OHCI_DISABLE, UINT32_MAX);
    bus->memory_write(base + OHCI_CONTROL, control & ~(OHCI_STATE_MASK | OHCI_ROUTED_TO_SMI));
    if (!is_firmwares)
        return BOOT_USB_FREE;
    return (control & OHCI_ROUTED_TO_SMI) == 0 ? BOOT_USB_TAKEN : BOOT_USB_FORCED;
}

static enum boot_usb_result take_uhci(const struct boot_bus *bus, uint32_t function) {
    bool is_firmwares = (bus->config_read(function, UHCI_LEGACY) & UHCI_TRAPS) != 0;
    uint32_t bar = bus->config_read(function, PCI_BAR4);
    bus->config_write(function, UHCI_LEGACY, UHCI_LEGACY_OFF);
    if ((bus->config_read(function, PCI_COMMAND) & COMMAND_IO) != 0 && (bar & 1) != 0)
        bus->port_write((uint16_t)(bar & 0xffe0), 0); // its command: stop
    return is_firmwares ? BOOT_USB_TAKEN : BOOT_USB_FREE;
}

enum boot_usb_result boot_usb_take(const struct boot_bus *bus, uint32_t function,
                                   uint32_t interface) {
    if (interface == USB_UHCI)
        return take_uhci(bus, function);
    if (interface != USB_XHCI && interface != USB_EHCI && interface != USB_OHCI)
        return BOOT_USB_FREE;
    uint64_t base = memory_bar(bus, function);
    if (base == 0)
        return BOOT_USB_FREE;
    if (!bus->is_mapped(base, WINDOW_SIZE))
        return BOOT_USB_HIDDEN;
    if (bus->memory_read(base) == UINT32_MAX)
        return BOOT_USB_SILENT;
    if (interface == USB_XHCI)
        return take_xhci(bus, base);
    return interface == USB_EHCI ? take_ehci(bus, function, base) : take_ohci(bus, base);
}
