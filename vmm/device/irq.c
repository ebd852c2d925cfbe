// SPDX-License-Identifier: Apache-2.0
// The interrupt wiring: each change of a line becomes the changes at both controllers' inputs.
#include "vmm/device/irq.h"

#include <assert.h>

#include "lib/string.h"
#include "vmm/device/pc.h"

#define ISA_LINES 16u

static uint32_t pic_inputs(uint16_t isa, uint8_t pirq) {
    uint32_t inputs = isa;

    if (pirq & 0x5) // A, C
        inputs |= 1u << PC_IRQ_PIRQ_AC;
    if (pirq & 0xa) // B, D
        inputs |= 1u << PC_IRQ_PIRQ_BD;
    return inputs;
}

static uint32_t ioapic_inputs(uint16_t isa, uint8_t pirq) {
    uint32_t inputs = isa & ~(1u | 1u << PC_GSI_PIT);

    if (isa & 1u)
        inputs |= 1u << PC_GSI_PIT;
    return inputs | (uint32_t)pirq << PC_GSI_PIRQ;
}

static void lines_change(struct irq_router *router, uint16_t isa, uint8_t pirq) {
    uint32_t pic = pic_inputs(isa, pirq);
    uint32_t ioapic = ioapic_inputs(isa, pirq);
    uint32_t pic_changed = pic ^ pic_inputs(router->isa, router->pirq);
    uint32_t ioapic_changed = ioapic ^ ioapic_inputs(router->isa, router->pirq);

    router->isa = isa;
    router->pirq = pirq;
    for (; pic_changed; pic_changed &= pic_changed - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(pic_changed);

        pic_set(router->pic, i, pic >> i & 1);
    }
    for (; ioapic_changed; ioapic_changed &= ioapic_changed - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(ioapic_changed);

        ioapic_set(router->ioapic, i, ioapic >> i & 1);
    }
}

static void isa_set(void *opaque, uint32_t number, bool level) {
    struct irq_router *router = opaque;
    uint16_t bit = (uint16_t)(1u << number);

    lines_change(router, level ? router->isa | bit : router->isa & (uint16_t)~bit, router->pirq);
}

static void pirq_set(void *opaque, uint32_t number, bool level) {
    struct irq_router *router = opaque;
    uint8_t bit = (uint8_t)(1u << number);

    lines_change(router, router->isa, level ? router->pirq | bit : router->pirq & (uint8_t)~bit);
}

static bool isa_is_heard(void *opaque, uint32_t number) {
    const struct irq_router *router = opaque;

    return pic_is_unmasked(router->pic, number) ||
           ioapic_is_unmasked(router->ioapic, number == 0 ? PC_GSI_PIT : number);
}

struct irq_line irq_router_isa(struct irq_router *router, uint32_t irq) {
    if (irq >= ISA_LINES || irq == PIC_CASCADE)
        return (struct irq_line){.set = NULL};
    return (struct irq_line){
        .set = isa_set, .is_heard = isa_is_heard, .opaque = router, .number = irq};
}

struct irq_line irq_router_pirq(struct irq_router *router, uint32_t pirq) {
    if (pirq >= PC_PIRQS)
        return (struct irq_line){.set = NULL};
    return (struct irq_line){.set = pirq_set, .opaque = router, .number = pirq};
}

// Wires have no state of their own: their drivers reset them.
static void irq_reset(struct device *device) {
    (void)device;
}

struct irq_record {
    uint16_t isa;
    uint8_t pirq;
} __attribute__((packed));

static_assert(sizeof(struct irq_record) == 3, "format of the saved interrupt lines, version 1");

static void irq_save(const struct device *device, void *record) {
    const struct irq_router *router = (const struct irq_router *)device;
    struct irq_record r = {.isa = router->isa, .pirq = router->pirq};

    memcpy(record, &r, sizeof(r));
}

static enum device_error irq_restore(struct device *device, const void *record, uint32_t version,
                                     uint32_t size) {
    struct irq_router *router = (struct irq_router *)device;
    enum device_error error = device_check_record(device, version, size);
    struct irq_record r;

    if (error)
        return error;
    memcpy(&r, record, sizeof(r));
    if ((r.isa & 1u << PIC_CASCADE) || r.pirq >> PC_PIRQS)
        return DEVICE_RECORD_VALUE;
    router->isa = r.isa;
    router->pirq = r.pirq;
    return DEVICE_OK;
}

static const struct device_ops irq_ops = {
    .name = "irq",
    .version = 1,
    .record_size = sizeof(struct irq_record),
    .reset = irq_reset,
    .save = irq_save,
    .restore = irq_restore,
};

void irq_router_init(struct irq_router *router, const struct device_host *host, struct pic *pic,
                     struct ioapic *ioapic) {
    *router = (struct irq_router){
        .device = {.ops = &irq_ops, .host = host}, .pic = pic, .ioapic = ioapic};
}
