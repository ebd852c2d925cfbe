// SPDX-License-Identifier: Apache-2.0
// See kernel/vlapic.h: interrupts from acceptance to end. SDM 3A 11.8 "Handling Interrupts".
//
// IRR, ISR and TMR are 256 bits each, 32 to a register: bit `vector % 32` of register `vector /
// 32`.
#include "arch/x86.h"
#include "kernel/vlapic_internal.h"

#define VECTOR_REGISTERS 8u
#define PRIORITY_CLASS   0xf0u

static uint32_t vector_offset(uint32_t base, uint8_t vector) {
    return base + (vector / 32u) * 16u;
}

static uint32_t vector_bit(uint8_t vector) {
    return 1u << (vector % 32u);
}

static bool has_vector(const struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    return (vlapic_get(vcpu, vector_offset(base, vector)) & vector_bit(vector)) != 0;
}

static void set_vector(struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    uint32_t offset = vector_offset(base, vector);
    vlapic_set(vcpu, offset, vlapic_get(vcpu, offset) | vector_bit(vector));
}

static void clear_vector(struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    uint32_t offset = vector_offset(base, vector);
    vlapic_set(vcpu, offset, vlapic_get(vcpu, offset) & ~vector_bit(vector));
}

// On the path of each EOI.
static bool has_any_vector(const struct vcpu *vcpu, uint32_t base) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < VECTOR_REGISTERS; i++)
        bits |= vlapic_get(vcpu, base + i * 16u);
    return bits != 0;
}

static int32_t highest_vector(const struct vcpu *vcpu, uint32_t base) {
    for (int32_t i = VECTOR_REGISTERS - 1; i >= 0; i--) {
        uint32_t bits = vlapic_get(vcpu, base + (uint32_t)i * 16u);
        if (bits != 0)
            return i * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

uint8_t vlapic_get_request(const struct vcpu *vcpu) {
    int32_t vector = highest_vector(vcpu, LAPIC_IRR);
    return vector < 0 || !vlapic_is_software_enabled(vcpu) ? 0 : (uint8_t)vector;
}

uint8_t vlapic_get_service(const struct vcpu *vcpu) {
    int32_t vector = highest_vector(vcpu, LAPIC_ISR);
    return vector < 0 ? 0 : (uint8_t)vector;
}

uint32_t vlapic_processor_priority(const struct vcpu *vcpu) {
    uint32_t task = vlapic_get(vcpu, LAPIC_TPR);
    uint32_t service = vlapic_get_service(vcpu) & PRIORITY_CLASS;
    return (task & PRIORITY_CLASS) >= service ? task : service;
}

int vlapic_pending(const struct vcpu *vcpu) {
    uint32_t vector = vlapic_get_request(vcpu);
    if (vector == 0) // so that ISR need not be searched
        return -1;
    bool is_above = (vector & PRIORITY_CLASS) > (vlapic_processor_priority(vcpu) & PRIORITY_CLASS);
    return is_above ? (int)vector : -1;
}

void vlapic_acknowledge(struct vcpu *vcpu, uint8_t vector) {
    clear_vector(vcpu, LAPIC_IRR, vector);
    set_vector(vcpu, LAPIC_ISR, vector);
}

// TMR tells how the latest request of a vector came.
static void take_register(struct vcpu *vcpu, uint32_t i, uint32_t edges, uint32_t levels) {
    uint32_t irr = LAPIC_IRR + i * 16, tmr = LAPIC_TMR + i * 16;
    vlapic_set(vcpu, irr, vlapic_get(vcpu, irr) | edges | levels);
    uint32_t old = vlapic_get(vcpu, tmr), new = (old & ~edges) | levels;
    if (old != new) {
        vlapic_set(vcpu, tmr, new);
        vcpu->vlapic.is_tmr_changed = true;
    }
}

static uint64_t take_word(uint64_t *word) {
    if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0)
        return 0;
    return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
}

void vlapic_take_requests(struct vcpu *vcpu) {
    struct vlapic *vlapic = &vcpu->vlapic;
    // Before the look: who sets a bit behind it notifies again.
    if (vlapic_is_notified(vlapic))
        __atomic_fetch_and(&vlapic->posted.control, ~VLAPIC_POSTED_OUTSTANDING, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < VLAPIC_VECTOR_WORDS; i++) {
        uint64_t edges = take_word(&vlapic->posted.requests[i]);
        uint64_t levels = take_word(&vlapic->levels[i]);
        if ((edges | levels) == 0)
            continue;
        take_register(vcpu, 2 * i, (uint32_t)edges, (uint32_t)levels);
        take_register(vcpu, 2 * i + 1, (uint32_t)(edges >> 32), (uint32_t)(levels >> 32));
    }
}

void vlapic_recheck(struct vcpu *vcpu) {
    // Where the processor delivers, it has to be told of a new ISR, too.
    if ((vcpu->vlapic.abilities & VLAPIC_DELIVERS) || has_any_vector(vcpu, LAPIC_IRR))
        vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
}

void vlapic_report_eoi(struct vcpu *vcpu, uint8_t vector) {
    vcpu->vlapic.eoi_vector = vector;
    vcpu_post_to_self(vcpu, VCPU_PENDING_EOI);
}

void vlapic_end_interrupt(struct vcpu *vcpu) {
    int32_t highest = highest_vector(vcpu, LAPIC_ISR);
    if (highest < 0)
        return;
    uint8_t vector = (uint8_t)highest;
    clear_vector(vcpu, LAPIC_ISR, vector);
    if (has_vector(vcpu, LAPIC_TMR, vector))
        vlapic_report_eoi(vcpu, vector);
    vlapic_recheck(vcpu);
}

void vlapic_raise_error(struct vcpu *vcpu, uint32_t esr_bits) {
    uint32_t old = __atomic_fetch_or(&vcpu->vlapic.esr_pending, esr_bits, __ATOMIC_RELAXED);
    uint32_t lvt = vlapic_get(vcpu, LAPIC_LVT_ERROR);
    uint8_t vector = (uint8_t)(lvt & APIC_VECTOR);
    // An error entry with an illegal vector must not report itself for ever.
    if (!(old & esr_bits) && !(lvt & LVT_MASKED) && vector >= APIC_VECTOR_MIN)
        vlapic_accept(vcpu, vector, false);
}

// Levels make the vCPU exit, since the processor must know before it delivers one that its EOI is
// to exit; so do edges of a vector that was a level's before, whose EOI need not any more.
static void post_edge(struct vcpu *vcpu, uint8_t vector) {
    struct vlapic *vlapic = &vcpu->vlapic;
    if (!(vlapic->abilities & VLAPIC_POSTS) || has_vector(vcpu, LAPIC_TMR, vector)) {
        vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
        return;
    }
    uint32_t old =
        __atomic_fetch_or(&vlapic->posted.control, VLAPIC_POSTED_OUTSTANDING, __ATOMIC_SEQ_CST);
    if (!(old & VLAPIC_POSTED_OUTSTANDING))
        vcpu_notify(vcpu);
}

void vlapic_accept(struct vcpu *vcpu, uint8_t vector, bool is_level) {
    struct vlapic *vlapic = &vcpu->vlapic;
    if (!vlapic_is_software_enabled(vcpu))
        return;
    if (vector < APIC_VECTOR_MIN) {
        vlapic_raise_error(vcpu, ESR_RECEIVE_VECTOR);
        return;
    }
    uint64_t *words = is_level ? vlapic->levels : vlapic->posted.requests;
    __atomic_fetch_or(&words[vector / 64], BIT(vector % 64), __ATOMIC_SEQ_CST);
    if (is_level)
        vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
    else
        post_edge(vcpu, vector);
}

bool vlapic_takes_extint(const struct vcpu *vcpu) {
    if (!vlapic_is_on(vcpu))
        return true;
    uint32_t lint0 = vlapic_get(vcpu, LAPIC_LVT_LINT0);
    return !(lint0 & LVT_MASKED) && (lint0 & LVT_DELIVERY_MODE) == LVT_MODE_EXTINT;
}

uint8_t vlapic_get_cr8(const struct vcpu *vcpu) {
    return (uint8_t)(vlapic_get(vcpu, LAPIC_TPR) >> 4);
}

void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8) {
    vlapic_set(vcpu, LAPIC_TPR, (uint32_t)cr8 << 4);
    vlapic_recheck(vcpu);
}

// ---- for the processor --------------------------------------------------------------------------

bool vlapic_is_open(const struct vcpu *vcpu) {
    return vlapic_is_x2apic(vcpu) && vlapic_is_software_enabled(vcpu);
}

uint32_t vlapic_get_held_class(const struct vcpu *vcpu) {
    uint32_t request = vlapic_get_request(vcpu) & PRIORITY_CLASS;
    if (request == 0 || request > vlapic_get(vcpu, LAPIC_TPR))
        return 0;
    uint32_t service = vlapic_get_service(vcpu) & PRIORITY_CLASS;
    return request > service ? request >> 4 : 0;
}

bool vlapic_take_tmr(struct vcpu *vcpu, uint64_t vectors[VLAPIC_VECTOR_WORDS]) {
    if (!vcpu->vlapic.is_tmr_changed)
        return false;
    vcpu->vlapic.is_tmr_changed = false;
    for (uint32_t i = 0; i < VLAPIC_VECTOR_WORDS; i++)
        vectors[i] = vlapic_get(vcpu, LAPIC_TMR + 32 * i) |
                     (uint64_t)vlapic_get(vcpu, LAPIC_TMR + 32 * i + 16) << 32;
    return true;
}
