// SPDX-License-Identifier: Apache-2.0
// The 82093AA: inputs and delivery first, then the two memory-mapped registers through which a
// guest reaches all others, then save and restore.
#include "vmm/device/ioapic.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"

enum {
    MMIO_SELECT = 0x00,
    MMIO_WINDOW = 0x10,

    REG_ID = 0x00,
    REG_VERSION = 0x01,
    REG_ARBITRATION = 0x02,
    REG_TABLE = 0x10,
    REG_TABLE_END = REG_TABLE + 2 * (int)IOAPIC_INPUTS,

    VERSION = 0x11 | (((int)IOAPIC_INPUTS - 1) << 16),
    ID_SHIFT = 24,
    ID_MASK = 0x0f,

    DELIVERY_FIXED = 0,
    DELIVERY_LOWEST = 1,
    DELIVERY_RESERVED3 = 3,
    DELIVERY_RESERVED6 = 6,

    MSI_HINT = 1 << 3,
    MSI_LOGICAL = 1 << 2,
    MSI_DEST_SHIFT = 12,
    MSI_DELIVERY_SHIFT = 8,
    MSI_ASSERT = 1 << 14,
    MSI_LEVEL = 1 << 15,
};

#define MSI_BASE 0xfee00000ULL

// A redirection table entry.
#define RTE_VECTOR         0xffULL
#define RTE_DELIVERY_SHIFT 8
#define RTE_LOGICAL        (1ULL << 11)
#define RTE_REMOTE_IRR     (1ULL << 14)
#define RTE_LEVEL          (1ULL << 15)
#define RTE_MASKED         (1ULL << 16)
#define RTE_DEST_SHIFT     56
#define RTE_WRITABLE       0xff0000000001afffULL // all but delivery status and remote IRR

// --- delivery ------------------------------------------------------------------------------------

static uint32_t rte_delivery(uint64_t rte) {
    return (rte >> RTE_DELIVERY_SHIFT) & 7;
}

// The trigger mode counts for fixed and lowest-priority delivery; all others are edges.
static bool rte_is_level(uint64_t rte) {
    return (rte & RTE_LEVEL) && rte_delivery(rte) <= DELIVERY_LOWEST;
}

static void input_send(struct ioapic *ioapic, uint32_t input) {
    uint64_t rte = ioapic->redirection[input];
    uint32_t delivery = rte_delivery(rte);
    uint64_t address = MSI_BASE | (rte >> RTE_DEST_SHIFT) << MSI_DEST_SHIFT;
    uint32_t data = (uint32_t)(rte & RTE_VECTOR) | delivery << MSI_DELIVERY_SHIFT;

    if (delivery == DELIVERY_RESERVED3 || delivery == DELIVERY_RESERVED6)
        return;
    if (rte & RTE_LOGICAL)
        address |= MSI_LOGICAL;
    if (delivery == DELIVERY_LOWEST)
        address |= MSI_HINT;
    if (rte_is_level(rte))
        data |= MSI_LEVEL | MSI_ASSERT;
    // Remote IRR says that some local APIC owes an EOI, which none does that took nothing.
    if (ioapic->backend.send(ioapic->backend.opaque, address, data) && rte_is_level(rte))
        ioapic->redirection[input] |= RTE_REMOTE_IRR;
}

// A level input that is asserted, unmasked and not in service sends.
static void input_serve_level(struct ioapic *ioapic, uint32_t input) {
    uint64_t rte = ioapic->redirection[input];

    if (!rte_is_level(rte) || (rte & (RTE_MASKED | RTE_REMOTE_IRR)))
        return;
    if (ioapic->lines & (1u << input))
        input_send(ioapic, input);
}

void ioapic_set(struct ioapic *ioapic, uint32_t input, bool level) {
    uint32_t bit = input < IOAPIC_INPUTS ? 1u << input : 0;
    bool was = ioapic->lines & bit;

    if (!bit || was == level)
        return;
    ioapic->lines ^= bit;
    if (rte_is_level(ioapic->redirection[input]))
        input_serve_level(ioapic, input);
    else if (level && !(ioapic->redirection[input] & RTE_MASKED))
        input_send(ioapic, input);
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector) {
    for (uint32_t i = 0; i < IOAPIC_INPUTS; i++) {
        uint64_t rte = ioapic->redirection[i];

        if (!(rte & RTE_REMOTE_IRR) || (rte & RTE_VECTOR) != vector)
            continue;
        ioapic->redirection[i] &= ~RTE_REMOTE_IRR;
        input_serve_level(ioapic, i);
    }
}

bool ioapic_is_unmasked(const struct ioapic *ioapic, uint32_t input) {
    return input < IOAPIC_INPUTS && !(ioapic->redirection[input] & RTE_MASKED);
}

bool ioapic_handles_vector(const struct ioapic *ioapic, uint8_t vector) {
    for (uint32_t i = 0; i < IOAPIC_INPUTS; i++) {
        uint64_t rte = ioapic->redirection[i];

        if ((rte & RTE_VECTOR) == vector && rte_is_level(rte) &&
            ((rte & RTE_REMOTE_IRR) || !(rte & RTE_MASKED)))
            return true;
    }
    return false;
}

// --- registers -----------------------------------------------------------------------------------

static uint32_t register_read(const struct ioapic *ioapic) {
    uint8_t index = ioapic->select;
    uint64_t rte;

    if (index == REG_ID || index == REG_ARBITRATION)
        return (uint32_t)ioapic->id << ID_SHIFT;
    if (index == REG_VERSION)
        return VERSION;
    if (index < REG_TABLE || index >= REG_TABLE_END)
        return UINT32_MAX;
    rte = ioapic->redirection[(index - REG_TABLE) / 2];
    return (uint32_t)(index % 2 ? rte >> 32 : rte);
}

// An entry that turns to edge forgets its remote IRR: how systems without an EOI register clear it.
static void entry_write(struct ioapic *ioapic, uint32_t input, bool high, uint32_t value) {
    uint64_t old = ioapic->redirection[input];
    uint64_t rte = high ? (uint64_t)value << 32 | (uint32_t)old : (old >> 32 << 32) | value;

    rte &= RTE_WRITABLE;
    if (rte_is_level(rte))
        rte |= old & RTE_REMOTE_IRR;
    ioapic->redirection[input] = rte;
    if (rte != old && ioapic->backend.routes_changed)
        ioapic->backend.routes_changed(ioapic->backend.opaque);
    input_serve_level(ioapic, input);
    if ((old & ~rte) & RTE_MASKED)
        device_deadline_changed(&ioapic->device);
}

static void register_write(struct ioapic *ioapic, uint32_t value) {
    uint8_t index = ioapic->select;

    if (index == REG_ID)
        ioapic->id = (value >> ID_SHIFT) & ID_MASK;
    else if (index >= REG_TABLE && index < REG_TABLE_END)
        entry_write(ioapic, (uint32_t)(index - REG_TABLE) / 2, index % 2, value);
}

static uint64_t ioapic_read(struct device *device, uint64_t offset, uint8_t size) {
    const struct ioapic *ioapic = (const struct ioapic *)device;
    uint64_t ones = UINT64_MAX >> (64 - 8 * size);
    uint64_t shift = offset % 4 * 8;

    switch (offset & ~3ULL) {
    case MMIO_SELECT:
        return (uint64_t)ioapic->select >> shift & ones;
    case MMIO_WINDOW:
        return (uint64_t)register_read(ioapic) >> shift & ones;
    default:
        return ones;
    }
}

// Whole registers only, as the data sheet asks; but the index is a byte and may be written as one.
static void ioapic_write(struct device *device, uint64_t offset, uint8_t size, uint64_t value) {
    struct ioapic *ioapic = (struct ioapic *)device;

    if (offset == MMIO_SELECT)
        ioapic->select = (uint8_t)value;
    else if (offset == MMIO_WINDOW && size == 4)
        register_write(ioapic, (uint32_t)value);
}

// --- reset, save, restore ------------------------------------------------------------------------

static void registers_reset(struct ioapic *ioapic) {
    ioapic->id = 0;
    ioapic->select = 0;
    for (uint32_t i = 0; i < IOAPIC_INPUTS; i++)
        ioapic->redirection[i] = RTE_MASKED;
}

static void ioapic_reset(struct device *device) {
    struct ioapic *ioapic = (struct ioapic *)device;

    registers_reset(ioapic);
    if (ioapic->backend.routes_changed)
        ioapic->backend.routes_changed(ioapic->backend.opaque);
}

struct ioapic_record {
    uint64_t redirection[IOAPIC_INPUTS];
    uint32_t lines;
    uint8_t select;
    uint8_t id;
} __attribute__((packed));

static_assert(sizeof(struct ioapic_record) == 198, "format of a saved IOAPIC, version 1");

static void ioapic_save(const struct device *device, void *record) {
    const struct ioapic *ioapic = (const struct ioapic *)device;
    struct ioapic_record r = {.lines = ioapic->lines, .select = ioapic->select, .id = ioapic->id};

    memcpy(r.redirection, ioapic->redirection, sizeof(r.redirection));
    memcpy(record, &r, sizeof(r));
}

static enum device_error ioapic_restore(struct device *device, const void *record, uint32_t version,
                                        uint32_t size) {
    struct ioapic *ioapic = (struct ioapic *)device;
    enum device_error error = device_check_record(device, version, size);
    struct ioapic_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    for (uint32_t i = 0; i < IOAPIC_INPUTS; i++) {
        if (r.redirection[i] & ~(RTE_WRITABLE | RTE_REMOTE_IRR))
            return DEVICE_RECORD_VALUE;
        if ((r.redirection[i] & RTE_REMOTE_IRR) && !rte_is_level(r.redirection[i]))
            return DEVICE_RECORD_VALUE;
    }
    if (r.lines >> IOAPIC_INPUTS || r.id > ID_MASK)
        return DEVICE_RECORD_VALUE;
    memcpy(ioapic->redirection, r.redirection, sizeof(ioapic->redirection));
    ioapic->lines = r.lines;
    ioapic->select = r.select;
    ioapic->id = r.id;
    return DEVICE_OK;
}

static const struct device_ops ioapic_ops = {
    .name = "ioapic",
    .version = 1,
    .record_size = sizeof(struct ioapic_record),
    .reset = ioapic_reset,
    .mmio_read = ioapic_read,
    .mmio_write = ioapic_write,
    .save = ioapic_save,
    .restore = ioapic_restore,
};

void ioapic_init(struct ioapic *ioapic, const struct device_host *host,
                 const struct ioapic_backend *backend) {
    *ioapic = (struct ioapic){.device = {.ops = &ioapic_ops, .host = host}, .backend = *backend};
    registers_reset(ioapic);
}

enum bus_error ioapic_attach(struct ioapic *ioapic, struct bus *bus, uint64_t base) {
    return bus_add_mmio(bus, base, PC_IOAPIC_SIZE, &ioapic->device, 0, 4);
}
