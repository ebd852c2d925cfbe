// SPDX-License-Identifier: Apache-2.0
// PCI bus 0: setting up functions, their interrupt pins, their BARs on the bus, configuration
// accesses, mechanism #1 with the reset control register, the host bridge, save and restore.
#include "vmm/device/pci.h"

#include <assert.h>

#include "lib/string.h"

enum {
    PORT_ADDRESS = 0,
    PORT_RESET_CONTROL = 1, // 0xcf9, byte accesses only
    PORT_DATA = 4,

    RESET_CONTROL_KEPT = 0x0e,
    RESET_CONTROL_RCPU = 0x04,

    COMMAND_WRITABLE = 0x0547,    // all but what modern devices hardwire
    STATUS_CLEAR_ON_ONE = 0xf900, // error bits

    BAR_PORTS = 1,
    BAR_64BIT = 4,
    BAR_PORTS_MAX = 256,

    PAM_FIRST = 0x59, // 440FX shadow RAM control: kept for firmware, all RAM is always open
    PAM_LAST = 0x5f,
    PAM_WRITABLE = 0x33,
};

#define ADDRESS_ENABLE   0x80000000u
#define ADDRESS_WRITABLE 0x80fffffcu

static uint32_t ones(uint8_t size) {
    return UINT32_MAX >> (32 - 8 * size);
}

// --- setting up a function -----------------------------------------------------------------------

static uint32_t bytes_get(const uint8_t *bytes, uint32_t size) {
    uint32_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

static void bytes_set(uint8_t *bytes, uint32_t size, uint32_t value) {
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

void pci_function_set_config(struct pci_function *function, uint8_t offset, uint8_t size,
                             uint32_t value, uint32_t writable, uint32_t clear_on_one) {
    bytes_set(&function->config[offset], size, value);
    bytes_set(&function->reset_config[offset], size, value);
    bytes_set(&function->writable[offset], size, writable);
    bytes_set(&function->clear_on_one[offset], size, clear_on_one);
}

void pci_function_init(struct pci_function *function, const struct pci_ids *ids,
                       const struct pci_function_ops *ops, void *opaque) {
    *function = (struct pci_function){.ops = ops, .opaque = opaque};
    pci_function_set_config(function, PCI_CFG_VENDOR, 2, ids->vendor, 0, 0);
    pci_function_set_config(function, PCI_CFG_DEVICE, 2, ids->device, 0, 0);
    pci_function_set_config(function, PCI_CFG_COMMAND, 2, 0, COMMAND_WRITABLE, 0);
    pci_function_set_config(function, PCI_CFG_STATUS, 2, 0, 0, STATUS_CLEAR_ON_ONE);
    pci_function_set_config(function, PCI_CFG_REVISION, 1, ids->revision, 0, 0);
    pci_function_set_config(function, PCI_CFG_CLASS, 3, ids->class_code, 0, 0);
    pci_function_set_config(function, PCI_CFG_CACHE_LINE, 1, 0, 0xff, 0);
    pci_function_set_config(function, PCI_CFG_LATENCY, 1, 0, 0xf8, 0);
    pci_function_set_config(function, PCI_CFG_SUBSYSTEM_VID, 2, ids->subsystem_vendor, 0, 0);
    pci_function_set_config(function, PCI_CFG_SUBSYSTEM_ID, 2, ids->subsystem, 0, 0);
    pci_function_set_config(function, PCI_CFG_INT_LINE, 1, 0, 0xff, 0);
    pci_function_set_config(function, PCI_CFG_INT_PIN, 1, ids->interrupt_pin, 0, 0);
}

bool pci_function_set_bar(struct pci_function *function, uint32_t index,
                          const struct pci_bar *bar) {
    uint64_t mask = ~(bar->size - 1);
    uint8_t offset = (uint8_t)(PCI_CFG_BAR0 + 4 * index);
    bool wide = bar->kind == PCI_BAR_MMIO64;

    if (index + wide >= PCI_BARS || bar->size == 0 || (bar->size & (bar->size - 1)))
        return false;
    if (bar->kind == PCI_BAR_PORTS) {
        if (bar->size < 4 || bar->size > BAR_PORTS_MAX)
            return false;
        pci_function_set_config(function, offset, 4, BAR_PORTS, mask & 0xffff, 0);
    } else {
        if (bar->kind == PCI_BAR_NONE || bar->size < 16 || (!wide && bar->size > 1u << 31))
            return false;
        pci_function_set_config(function, offset, 4, wide ? BAR_64BIT : 0, (uint32_t)mask, 0);
        if (wide)
            pci_function_set_config(function, offset + 4, 4, 0, (uint32_t)(mask >> 32), 0);
    }
    function->bar[index] = *bar;
    function->bar[index].mapped = false;
    return true;
}

bool pci_add_function(struct pci *pci, struct pci_function *function, uint8_t devfn) {
    if (pci->function[devfn])
        return false;
    function->pci = pci;
    function->devfn = devfn;
    pci->function[devfn] = function;
    return true;
}

// --- interrupt pins ------------------------------------------------------------------------------

static uint32_t function_pirq(const struct pci_function *function) {
    return ((uint32_t)(function->devfn >> 3) + function->config[PCI_CFG_INT_PIN] - 1) % PC_PIRQS;
}

static bool intx_wanted(const struct pci_function *function) {
    uint32_t command = bytes_get(&function->config[PCI_CFG_COMMAND], 2);

    return function->intx && function->config[PCI_CFG_INT_PIN] != 0 &&
           !(command & PCI_COMMAND_INTX_DISABLE);
}

// Counts the function in or out. Returns whether that changed the level of its line.
static bool intx_recount(struct pci_function *function) {
    bool wanted = intx_wanted(function);
    uint16_t *drivers = &function->pci->pirq_drivers[function_pirq(function)];

    if (wanted == function->intx_driven)
        return false;
    function->intx_driven = wanted;
    *drivers = (uint16_t)(wanted ? *drivers + 1 : *drivers - 1);
    return *drivers == wanted; // the first to come or the last to go
}

static void intx_update(struct pci_function *function) {
    if (intx_recount(function))
        irq_line_set(&function->pci->backend.pirq[function_pirq(function)], function->intx_driven);
}

void pci_function_set_intx(struct pci_function *function, bool level) {
    function->intx = level;
    if (level)
        function->config[PCI_CFG_STATUS] |= PCI_STATUS_INTX;
    else
        function->config[PCI_CFG_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
    intx_update(function);
}

// --- BARs ----------------------------------------------------------------------------------------

// Where the guest wants the BAR, or 0: nowhere.
static uint64_t bar_wanted(const struct pci_function *function, uint32_t index) {
    const struct pci_bar *bar = &function->bar[index];
    const uint8_t *raw = &function->config[PCI_CFG_BAR0 + 4 * index];
    uint32_t command = bytes_get(&function->config[PCI_CFG_COMMAND], 2);
    uint64_t base = bytes_get(raw, 4);

    if (bar->kind == PCI_BAR_NONE ||
        !(command & (bar->kind == PCI_BAR_PORTS ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return 0;
    if (bar->kind == PCI_BAR_MMIO64)
        base |= (uint64_t)bytes_get(raw + 4, 4) << 32;
    return base & ~(bar->size - 1);
}

static void bar_unmap(struct pci_function *function, struct pci_bar *bar) {
    if (!bar->mapped)
        return;
    if (bar->kind == PCI_BAR_PORTS)
        bus_remove_ports(function->pci->bus, (uint16_t)bar->base, bar->device);
    else
        bus_remove_mmio(function->pci->bus, bar->base, bar->device);
    bar->mapped = false;
}

static void bars_unmap_moved(struct pci_function *function) {
    for (uint32_t i = 0; i < PCI_BARS; i++)
        if (bar_wanted(function, i) != function->bar[i].base)
            bar_unmap(function, &function->bar[i]);
}

static void bars_map(struct pci_function *function) {
    struct bus *bus = function->pci->bus;

    for (uint32_t i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &function->bar[i];
        uint64_t base = bar_wanted(function, i);
        enum bus_error error;

        if (bar->mapped || base == 0)
            continue;
        if (bar->kind == PCI_BAR_PORTS)
            error = bus_add_ports(bus, (uint16_t)base, (uint32_t)bar->size, bar->device,
                                  (uint16_t)bar->first_offset, bar->width);
        else
            error = bus_add_mmio(bus, base, bar->size, bar->device, bar->first_offset, bar->width);
        bar->mapped = error == BUS_OK;
        bar->base = base;
    }
}

// What one function leaves another may have been waiting for.
static void bars_update(struct pci_function *function) {
    struct pci *pci = function->pci;

    bars_unmap_moved(function);
    for (uint32_t i = 0; i < PCI_FUNCTIONS; i++)
        if (pci->function[i])
            bars_map(pci->function[i]);
}

// --- configuration space -------------------------------------------------------------------------

uint32_t pci_function_read(const struct pci_function *function, uint8_t offset, uint8_t size) {
    return bytes_get(&function->config[offset], size);
}

void pci_function_write(struct pci_function *function, uint8_t offset, uint8_t size,
                        uint32_t value) {
    for (uint32_t i = 0; i < size; i++) {
        uint8_t *byte = &function->config[offset + i];
        uint8_t writable = function->writable[offset + i];
        uint8_t in = (uint8_t)(value >> 8 * i);

        *byte = (uint8_t)((*byte & ~writable) | (in & writable));
        *byte &= (uint8_t) ~(in & function->clear_on_one[offset + i]);
    }
    if (offset < PCI_CFG_STATUS ||
        (offset + size > PCI_CFG_BAR0 && offset < PCI_CFG_BAR0 + 4 * PCI_BARS)) {
        intx_update(function);
        bars_update(function);
    }
    if (function->ops && function->ops->config_written)
        function->ops->config_written(function, offset, size);
}

void pci_function_reset(struct pci_function *function) {
    memcpy(function->config, function->reset_config, sizeof(function->config));
    pci_function_set_intx(function, false);
    bars_update(function);
}

void pci_function_save(const struct pci_function *function, void *record) {
    memset(record, 0, PCI_FUNCTION_RECORD_BYTES);
    memcpy(record, function->config, PCI_CONFIG_BYTES);
    ((uint8_t *)record)[PCI_CONFIG_BYTES] = function->intx;
}

bool pci_function_check(const struct pci_function *function, const void *record) {
    const uint8_t *config = record;
    const uint8_t *rest = config + PCI_CONFIG_BYTES;
    bool intx = config[PCI_CFG_STATUS] & PCI_STATUS_INTX;

    for (uint32_t i = 0; i < PCI_CONFIG_BYTES; i++) {
        uint8_t fixed = (uint8_t) ~(function->writable[i] | function->clear_on_one[i]);

        if (i == PCI_CFG_STATUS)
            fixed &= (uint8_t)~PCI_STATUS_INTX;
        if ((config[i] ^ function->reset_config[i]) & fixed)
            return false;
    }
    for (uint32_t i = 1; i < PCI_FUNCTION_RECORD_BYTES - PCI_CONFIG_BYTES; i++)
        if (rest[i])
            return false;
    return rest[0] == intx;
}

void pci_function_restore(struct pci_function *function, const void *record) {
    memcpy(function->config, record, PCI_CONFIG_BYTES);
    function->intx = ((const uint8_t *)record)[PCI_CONFIG_BYTES];
    intx_recount(function);
    bars_update(function);
}

// --- mechanism #1 --------------------------------------------------------------------------------

// The function that CONFIG_ADDRESS selects, or NULL.
static struct pci_function *selected(const struct pci *pci) {
    uint32_t address = pci->config_address;

    if (!(address & ADDRESS_ENABLE) || (address >> 16 & 0xff) != 0)
        return NULL;
    return pci->function[address >> 8 & 0xff];
}

static uint8_t selected_offset(const struct pci *pci, uint16_t port) {
    return (uint8_t)((pci->config_address & 0xfc) + port % 4);
}

static uint32_t pci_read(struct device *device, uint16_t offset, uint8_t size) {
    struct pci *pci = (struct pci *)device;
    const struct pci_function *function;

    if (offset % 4 + size > 4) // across two double words: byte by byte, as a bridge would
        return pci_read(device, offset, size / 2) | pci_read(device, offset + size / 2, size / 2)
                                                        << 4 * size;
    if (offset >= PORT_DATA) {
        function = selected(pci);
        return function ? pci_function_read(function, selected_offset(pci, offset), size)
                        : ones(size);
    }
    if (offset == PORT_ADDRESS && size == 4)
        return pci->config_address;
    return offset == PORT_RESET_CONTROL && size == 1 ? pci->reset_control : ones(size);
}

static void write_reset_control(struct pci *pci, uint8_t value) {
    bool was = pci->reset_control & RESET_CONTROL_RCPU;

    pci->reset_control = value & RESET_CONTROL_KEPT;
    if ((value & RESET_CONTROL_RCPU) && !was)
        pci->backend.reset(pci->backend.opaque);
}

static void pci_write(struct device *device, uint16_t offset, uint8_t size, uint32_t value) {
    struct pci *pci = (struct pci *)device;
    struct pci_function *function;

    if (offset % 4 + size > 4) {
        pci_write(device, offset, size / 2, value);
        pci_write(device, offset + size / 2, size / 2, value >> 4 * size);
    } else if (offset >= PORT_DATA) {
        function = selected(pci);
        if (function)
            pci_function_write(function, selected_offset(pci, offset), size, value);
    } else if (offset == PORT_ADDRESS && size == 4) {
        pci->config_address = value & ADDRESS_WRITABLE;
    } else if (offset == PORT_RESET_CONTROL && size == 1) {
        write_reset_control(pci, (uint8_t)value);
    }
}

// --- host bridge, reset, save, restore -----------------------------------------------------------

static void host_bridge_init(struct pci *pci) {
    static const struct pci_ids ids = {
        .vendor = PCI_HOST_BRIDGE_VENDOR,
        .device = PCI_HOST_BRIDGE_DEVICE,
        .class_code = 0x060000,
        .revision = 2,
    };
    struct pci_function *bridge = &pci->host_bridge;

    pci_function_init(bridge, &ids, NULL, NULL);
    pci_function_set_config(bridge, PCI_CFG_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0,
                            0);
    for (uint8_t i = PAM_FIRST; i <= PAM_LAST; i++)
        pci_function_set_config(bridge, i, 1, 0, PAM_WRITABLE, 0);
    pci_add_function(pci, bridge, 0);
}

static void pci_reset(struct device *device) {
    struct pci *pci = (struct pci *)device;

    pci->config_address = 0;
    pci->reset_control = 0;
    pci_function_reset(&pci->host_bridge);
}

struct pci_record {
    uint32_t config_address;
    uint8_t reset_control;
    uint8_t host_bridge[PCI_FUNCTION_RECORD_BYTES];
} __attribute__((packed));

static_assert(sizeof(struct pci_record) == 269, "format of a saved PCI bus, version 1");

static void pci_save(const struct device *device, void *record) {
    const struct pci *pci = (const struct pci *)device;
    struct pci_record r = {.config_address = pci->config_address,
                           .reset_control = pci->reset_control};

    pci_function_save(&pci->host_bridge, r.host_bridge);
    memcpy(record, &r, sizeof(r));
}

static enum device_error pci_restore(struct device *device, const void *record, uint32_t version,
                                     uint32_t size) {
    struct pci *pci = (struct pci *)device;
    enum device_error error = device_check_record(device, version, size);
    struct pci_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if ((r.config_address & ~ADDRESS_WRITABLE) || (r.reset_control & ~RESET_CONTROL_KEPT) ||
        !pci_function_check(&pci->host_bridge, r.host_bridge))
        return DEVICE_RECORD_VALUE;
    pci->config_address = r.config_address;
    pci->reset_control = r.reset_control;
    pci_function_restore(&pci->host_bridge, r.host_bridge);
    return DEVICE_OK;
}

static const struct device_ops pci_ops = {
    .name = "pci",
    .version = 1,
    .record_size = sizeof(struct pci_record),
    .reset = pci_reset,
    .port_read = pci_read,
    .port_write = pci_write,
    .save = pci_save,
    .restore = pci_restore,
};

void pci_init(struct pci *pci, const struct device_host *host, const struct pci_backend *backend,
              struct bus *bus) {
    memset(pci, 0, sizeof(*pci)); // too large for a compound literal on the stack
    pci->device = (struct device){.ops = &pci_ops, .host = host};
    pci->backend = *backend;
    pci->bus = bus;
    host_bridge_init(pci);
}

enum bus_error pci_attach(struct pci *pci) {
    return bus_add_ports(pci->bus, PC_PORT_PCI, PCI_PORTS, &pci->device, PORT_ADDRESS, 4);
}
