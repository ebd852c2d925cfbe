// SPDX-License-Identifier: Apache-2.0
// See kernel/vlapic.h. Interrupts from acceptance to end, the life of a local APIC, and its state as a
// whole. SDM 3A 11.8 "Handling Interrupts", 11.4.7 "Local APIC State".
//
// IRR, ISR and TMR are 256 bits each, 32 to a register: bit `vector % 32` of register `vector / 32`.
#include "arch/x86.h"
#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"

#define VECTOR_REGISTERS 8u
#define PRIORITY_CLASS   0xf0u

#define VLAPIC_STATE_VERSION 1u // struct vcpu_apic

#define VERSION_VALUE 0x00050014u // six LVT entries, integrated APIC
#define SVR_RESET     0xffu
#define DFR_RESET     0xffffffffu

static uint32_t vector_offset(uint32_t base, uint8_t vector) {
    return base + (vector / 32u) * 16u;
}

static uint32_t vector_bit(uint8_t vector) {
    return 1u << (vector % 32u);
}

static void set_vector(struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    __atomic_fetch_or(vlapic_reg(vcpu, vector_offset(base, vector)), vector_bit(vector),
                      __ATOMIC_SEQ_CST);
}

static void clear_vector(struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    __atomic_fetch_and(vlapic_reg(vcpu, vector_offset(base, vector)), ~vector_bit(vector),
                       __ATOMIC_SEQ_CST);
}

static int32_t highest_vector(const struct vcpu *vcpu, uint32_t base) {
    for (int32_t i = VECTOR_REGISTERS - 1; i >= 0; i--) {
        uint32_t bits = vlapic_get(vcpu, base + (uint32_t)i * 16u);
        if (bits != 0)
            return i * 32 + 31 - __builtin_clz(bits);
    }
    return -1;
}

uint32_t vlapic_processor_priority(const struct vcpu *vcpu) {
    uint32_t task = vlapic_get(vcpu, VLAPIC_TPR);
    int32_t in_service = vcpu->vlapic.isr_highest;
    uint32_t service = in_service < 0 ? 0 : (uint32_t)in_service & PRIORITY_CLASS;
    return (task & PRIORITY_CLASS) >= service ? task : service;
}

int vlapic_pending(const struct vcpu *vcpu) {
    int32_t vector = highest_vector(vcpu, VLAPIC_IRR);
    if (vector < 0 || !vlapic_is_software_enabled(vcpu))
        return -1;
    bool is_above =
        ((uint32_t)vector & PRIORITY_CLASS) > (vlapic_processor_priority(vcpu) & PRIORITY_CLASS);
    return is_above ? vector : -1;
}

void vlapic_acknowledge(struct vcpu *vcpu, uint8_t vector) {
    clear_vector(vcpu, VLAPIC_IRR, vector);
    *vlapic_reg(vcpu, vector_offset(VLAPIC_ISR, vector)) |= vector_bit(vector);
    // Only a higher class than all in service is ever acknowledged.
    vcpu->vlapic.isr_highest = vector;
}

// Sets a bit for the owner itself, which looks at it before the next entry: no kick.
static void post_to_self(struct vcpu *vcpu, uint32_t bits) {
    __atomic_fetch_or(&vcpu->pending, bits, __ATOMIC_RELAXED);
}

// Whether any of the 256 bits is set: on the path of each EOI, so by 64 bits at a time.
static bool has_any_vector(const struct vcpu *vcpu, uint32_t base) {
    uint64_t words[VECTOR_REGISTERS / 2];
    __builtin_memcpy(words, &vcpu->vlapic.reg[base / 16], sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) != 0;
}

void vlapic_recheck(struct vcpu *vcpu) {
    if (has_any_vector(vcpu, VLAPIC_IRR))
        post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
}

void vlapic_end_interrupt(struct vcpu *vcpu) {
    struct vlapic *vlapic = &vcpu->vlapic;
    if (vlapic->isr_highest < 0)
        return;
    uint8_t vector = (uint8_t)vlapic->isr_highest;
    *vlapic_reg(vcpu, vector_offset(VLAPIC_ISR, vector)) &= ~vector_bit(vector);
    vlapic->isr_highest = has_any_vector(vcpu, VLAPIC_ISR) ? highest_vector(vcpu, VLAPIC_ISR) : -1;
    if (vlapic_get(vcpu, vector_offset(VLAPIC_TMR, vector)) & vector_bit(vector)) {
        vcpu->page->eoi_vector = vector;
        post_to_self(vcpu, VCPU_PENDING_EOI);
    }
    vlapic_recheck(vcpu);
}

void vlapic_raise_error(struct vcpu *vcpu, uint32_t esr_bits) {
    uint32_t old = __atomic_fetch_or(&vcpu->vlapic.esr_pending, esr_bits, __ATOMIC_RELAXED);
    uint32_t lvt = vlapic_get(vcpu, VLAPIC_LVT_ERROR);
    uint8_t vector = (uint8_t)(lvt & APIC_VECTOR);
    // An error entry with an illegal vector must not report itself for ever.
    if (!(old & esr_bits) && !(lvt & LVT_MASKED) && vector >= APIC_VECTOR_MIN)
        vlapic_accept(vcpu, vector, false);
}

void vlapic_accept(struct vcpu *vcpu, uint8_t vector, bool is_level) {
    if (!vlapic_is_software_enabled(vcpu))
        return;
    if (vector < APIC_VECTOR_MIN) {
        vlapic_raise_error(vcpu, ESR_RECEIVE_VECTOR);
        return;
    }
    if (is_level)
        set_vector(vcpu, VLAPIC_TMR, vector);
    else if (vlapic_get(vcpu, vector_offset(VLAPIC_TMR, vector)) & vector_bit(vector))
        clear_vector(vcpu, VLAPIC_TMR, vector);
    set_vector(vcpu, VLAPIC_IRR, vector);
    vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
}

bool vlapic_takes_extint(const struct vcpu *vcpu) {
    if (!vlapic_is_on(vcpu))
        return true;
    uint32_t lint0 = vlapic_get(vcpu, VLAPIC_LVT_LINT0);
    return !(lint0 & LVT_MASKED) && (lint0 & LVT_DELIVERY_MODE) == LVT_MODE_EXTINT;
}

uint8_t vlapic_get_cr8(const struct vcpu *vcpu) {
    return (uint8_t)(vlapic_get(vcpu, VLAPIC_TPR) >> 4);
}

void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8) {
    vlapic_set(vcpu, VLAPIC_TPR, (uint32_t)cr8 << 4);
    vlapic_recheck(vcpu);
}

// SDM 3A 11.12.10.2 "Deriving Logical x2APIC ID from the Local x2APIC ID".
static uint32_t x2apic_logical_id(uint32_t id) {
    return (id >> 4) << 16 | 1u << (id & 0xf);
}

void vlapic_enter_mode(struct vcpu *vcpu) {
    vlapic_set(vcpu, VLAPIC_VERSION, VERSION_VALUE);
    if (vlapic_is_x2apic(vcpu)) {
        vlapic_set(vcpu, VLAPIC_ID, vcpu->index);
        vlapic_set(vcpu, VLAPIC_LDR, x2apic_logical_id(vcpu->index));
    } else {
        vlapic_set(vcpu, VLAPIC_ID, vcpu->index << 24);
    }
}

void vlapic_clear_registers(struct vcpu *vcpu) {
    vlapic_timer_stop(vcpu);
    for (uint32_t offset = 0; offset < VLAPIC_REGISTER_COUNT * 16; offset += 16)
        vlapic_set(vcpu, offset, 0);
    for (uint32_t offset = VLAPIC_LVT_TIMER; offset <= VLAPIC_LVT_ERROR; offset += 16)
        vlapic_set(vcpu, offset, (uint32_t)LVT_MASKED);
    vlapic_set(vcpu, VLAPIC_SVR, SVR_RESET);
    vlapic_set(vcpu, VLAPIC_DFR, DFR_RESET);
    vcpu->vlapic.isr_highest = -1;
    vcpu->vlapic.esr_pending = 0;
    vlapic_enter_mode(vcpu);
}

void vlapic_init(struct vcpu *vcpu) {
    vlapic_timer_init(vcpu);
    vcpu->vlapic.base_msr = VLAPIC_BASE | APIC_BASE_ENABLE | (vcpu->index == 0 ? APIC_BASE_BSP : 0);
    vlapic_clear_registers(vcpu);
}

void vlapic_reset(struct vcpu *vcpu) {
    vlapic_clear_registers(vcpu);
}

void vlapic_destroy(struct vcpu *vcpu) {
    vlapic_timer_stop(vcpu);
}

void vlapic_save(struct vcpu *vcpu, struct vcpu_apic *state) {
    *state = (struct vcpu_apic){.version = VLAPIC_STATE_VERSION};
    for (uint32_t i = 0; i < VLAPIC_REGISTER_COUNT; i++)
        state->reg[i] = vlapic_get(vcpu, i * 16);
    state->timer_remaining = vlapic_timer_get_current(vcpu);
}

// Vectors 0 to 15 do not exist in any of the three.
static bool is_state_valid(const struct vcpu_apic *state) {
    const uint32_t illegal = (1u << APIC_VECTOR_MIN) - 1;
    const uint32_t *reg = state->reg;
    if (state->version != VLAPIC_STATE_VERSION || state->timer_remaining > UINT32_MAX)
        return false;
    if ((reg[VLAPIC_IRR / 16] | reg[VLAPIC_ISR / 16] | reg[VLAPIC_TMR / 16]) & illegal)
        return false;
    return reg[VLAPIC_TPR / 16] <= 0xff;
}

int vlapic_restore(struct vcpu *vcpu, const struct vcpu_apic *state) {
    if (!is_state_valid(state))
        return ABI_ERROR_ARGUMENT;
    uint64_t deadline = vcpu->vlapic.tsc_deadline;
    vlapic_timer_stop(vcpu);
    for (uint32_t i = 0; i < VLAPIC_REGISTER_COUNT; i++)
        vlapic_set(vcpu, i * 16, vlapic_clean_register(i * 16, state->reg[i]));
    vlapic_enter_mode(vcpu);
    vcpu->vlapic.isr_highest = highest_vector(vcpu, VLAPIC_ISR);
    vcpu->vlapic.tsc_deadline = deadline;
    vlapic_timer_restore(vcpu, state->timer_remaining);
    post_to_self(vcpu, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    return ABI_OK;
}
