// SPDX-License-Identifier: Apache-2.0
// What the vlapic_*.c files share. Owner thread, unless said otherwise.
#pragma once

#include "kernel/vcpu.h"

#define APIC_VECTOR_MIN 16u // below: illegal
#define APIC_VECTOR     0xffu

// LVT entries and ICR: SDM 3A 11.5.1 "Local Vector Table", 11.6.1 "Interrupt Command Register
// (ICR)".
#define LVT_DELIVERY_STATUS BIT(12)
#define LVT_POLARITY        BIT(13)
#define LVT_REMOTE_IRR      BIT(14)
#define LVT_LEVEL           BIT(15)
#define LVT_TIMER_MODE      (BIT(17) | BIT(18))
#define LVT_TIMER_PERIODIC  BIT(17)
#define LVT_MODE_EXTINT     0x700u

#define SVR_WRITABLE 0x3ffu // vector, enable, focus checking (without effect)

#define CPUID_1_ECX_X2APIC BIT(21)

// SDM 3A 11.5.3 "Error Handling".
#define ESR_SEND_VECTOR      BIT(5)
#define ESR_RECEIVE_VECTOR   BIT(6)
#define ESR_ILLEGAL_REGISTER BIT(7)
#define ESR_ANY              (ESR_SEND_VECTOR | ESR_RECEIVE_VECTOR | ESR_ILLEGAL_REGISTER)

static inline uint32_t vlapic_get(const struct vcpu *vcpu, uint32_t offset) {
    const void *reg = vcpu->vlapic.page + offset;
    return __atomic_load_n((const uint32_t *)reg, __ATOMIC_RELAXED);
}
static inline void vlapic_set(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    void *reg = vcpu->vlapic.page + offset;
    __atomic_store_n((uint32_t *)reg, value, __ATOMIC_RELAXED);
}
static inline uint64_t vlapic_base(const struct vcpu *vcpu) {
    return __atomic_load_n(&vcpu->vlapic.base_msr, __ATOMIC_RELAXED);
}
static inline bool vlapic_is_x2apic(const struct vcpu *vcpu) {
    return (vlapic_base(vcpu) & APIC_BASE_X2APIC) != 0;
}
static inline bool vlapic_is_on(const struct vcpu *vcpu) {
    return (vlapic_base(vcpu) & APIC_BASE_ENABLE) != 0;
}
static inline bool vlapic_is_software_enabled(const struct vcpu *vcpu) {
    return vlapic_is_on(vcpu) && (vlapic_get(vcpu, LAPIC_SVR) & SVR_ENABLED);
}

// ---- vlapic.c -----------------------------------------------------------------------------------

void vlapic_end_interrupt(struct vcpu *vcpu); // a write to EOI
// The priority may have dropped: makes vcpu_run look when something can be delivered now.
void vlapic_recheck(struct vcpu *vcpu);
// Any CPU.
void vlapic_raise_error(struct vcpu *vcpu, uint32_t esr_bits);
uint32_t vlapic_processor_priority(const struct vcpu *vcpu);

// ---- vlapic_state.c -----------------------------------------------------------------------------

// ID, LDR and the fixed registers, as the mode wants them.
void vlapic_enter_mode(struct vcpu *vcpu);

// ---- vlapic_register.c --------------------------------------------------------------------------

// What of a restored register's value can be.
uint32_t vlapic_clean_register(uint32_t offset, uint32_t value);

// ---- vlapic_timer.c -----------------------------------------------------------------------------

void vlapic_timer_init(struct vcpu *vcpu);
uint32_t vlapic_timer_get_current(const struct vcpu *vcpu);
void vlapic_timer_write_lvt(struct vcpu *vcpu, uint32_t value);
// The initial count, or the divider.
void vlapic_timer_write_count(struct vcpu *vcpu, uint32_t offset, uint32_t value);
uint64_t vlapic_timer_get_deadline(const struct vcpu *vcpu);
void vlapic_timer_write_deadline(struct vcpu *vcpu, uint64_t guest_tsc);
// Goes on with `remaining` timer ticks of the current period.
void vlapic_timer_restore(struct vcpu *vcpu, uint64_t remaining);
// For the registers, vlapic.tsc_deadline and the guest's TSC as they are now.
void vlapic_timer_arm(struct vcpu *vcpu);

// ---- vlapic_ipi.c -------------------------------------------------------------------------------

// A write to ICR: the low word, and the destination as the sender's mode writes it.
void vlapic_send_ipi(struct vcpu *sender, uint32_t icr, uint32_t destination);
