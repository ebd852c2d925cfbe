// SPDX-License-Identifier: Apache-2.0
// See kernel/vlapic.h: the life of a local APIC, and its state as a whole. SDM 3A 11.4.7 "Local
// APIC State".
#include "arch/x86.h"
#include "kernel/vlapic_internal.h"

#define VLAPIC_STATE_VERSION 1u // struct vcpu_apic

#define VERSION_VALUE 0x00050014u // six LVT entries, integrated APIC
#define SVR_RESET     0xffu
#define DFR_RESET     0xffffffffu

// SDM 3A 11.12.10.2 "Deriving Logical x2APIC ID from the Local x2APIC ID".
static uint32_t x2apic_logical_id(uint32_t id) {
    return (id >> 4) << 16 | 1u << (id & 0xf);
}

void vlapic_enter_mode(struct vcpu *vcpu) {
    vlapic_set(vcpu, LAPIC_VERSION, VERSION_VALUE);
    if (vlapic_is_x2apic(vcpu)) {
        vlapic_set(vcpu, LAPIC_ID, vcpu->index);
        vlapic_set(vcpu, LAPIC_LDR, x2apic_logical_id(vcpu->index));
    } else {
        vlapic_set(vcpu, LAPIC_ID, vcpu->index << 24);
    }
}

void vlapic_reset(struct vcpu *vcpu) {
    vlapic_timer_stop(vcpu);
    vlapic_take_requests(vcpu); // so that they are gone with IRR
    for (uint32_t offset = 0; offset < VLAPIC_REGISTER_COUNT * 16; offset += 16)
        vlapic_set(vcpu, offset, 0);
    for (uint32_t offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += 16)
        vlapic_set(vcpu, offset, (uint32_t)LVT_MASKED);
    vlapic_set(vcpu, LAPIC_SVR, SVR_RESET);
    vlapic_set(vcpu, LAPIC_DFR, DFR_RESET);
    vcpu->vlapic.esr_pending = 0;
    vcpu->vlapic.is_tmr_changed = true;
    vlapic_enter_mode(vcpu);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
}

void vlapic_init(struct vcpu *vcpu) {
    vlapic_timer_init(vcpu);
    vcpu->vlapic.base_msr = VLAPIC_BASE | APIC_BASE_ENABLE | (vcpu->index == 0 ? APIC_BASE_BSP : 0);
    vlapic_reset(vcpu);
}

void vlapic_save(struct vcpu *vcpu, struct vcpu_apic *state) {
    vlapic_take_requests(vcpu);
    *state = (struct vcpu_apic){
        .version = VLAPIC_STATE_VERSION,
        .esr_pending = __atomic_load_n(&vcpu->vlapic.esr_pending, __ATOMIC_RELAXED),
    };
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
    if ((reg[LAPIC_IRR / 16] | reg[LAPIC_ISR / 16] | reg[LAPIC_TMR / 16]) & illegal)
        return false;
    if (state->esr_pending & ~(uint32_t)ESR_ANY)
        return false;
    return reg[LAPIC_TPR / 16] <= 0xff;
}

int vlapic_restore(struct vcpu *vcpu, const struct vcpu_apic *state) {
    if (!is_state_valid(state))
        return ABI_ERROR_ARGUMENT;
    uint64_t deadline = vcpu->vlapic.tsc_deadline;
    vlapic_timer_stop(vcpu);
    vlapic_take_requests(vcpu);
    for (uint32_t i = 0; i < VLAPIC_REGISTER_COUNT; i++)
        vlapic_set(vcpu, i * 16, vlapic_clean_register(i * 16, state->reg[i]));
    vlapic_enter_mode(vcpu);
    vcpu->vlapic.is_tmr_changed = true;
    __atomic_store_n(&vcpu->vlapic.esr_pending, state->esr_pending, __ATOMIC_RELAXED);
    vcpu->vlapic.tsc_deadline = deadline;
    vlapic_timer_restore(vcpu, state->timer_remaining);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    return ABI_OK;
}
