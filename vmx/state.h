// SPDX-License-Identifier: Apache-2.0
// Parts of the guest's state that more than one file of vmx/ writes. VMCS current.
#pragma once

#include "vmx/vmx.h"

// CR0 and CR4 as the guest is to see them: the fields, the shadows, and what VT-x and the host want
// of the real ones.
void state_set_cr0(struct vmx_vcpu *x, uint64_t cr0);
void state_set_cr4(struct vmx_vcpu *x, uint64_t cr4);
// EFER and with it the "IA-32e mode guest" entry control.
void state_set_efer(struct vmx_vcpu *x, uint64_t efer);
void state_set_segment(enum vmcs_segment segment, const struct vcpu_segment *value);

#define SEGMENT_ATTRIBUTES 0xf0ffu
static inline struct vcpu_segment state_get_segment(enum vmcs_segment segment) {
    uint32_t rights = vmcs_read32(VMCS_ACCESS_RIGHTS(segment));
    uint32_t attributes = rights & SEGMENT_ATTRIBUTES;
    if (rights & SEGMENT_UNUSABLE)
        attributes |= VCPU_SEGMENT_UNUSABLE;
    return (struct vcpu_segment){
        .selector = vmcs_read16(VMCS_SELECTOR(segment)),
        .attributes = (uint16_t)attributes,
        .limit = vmcs_read32(VMCS_LIMIT(segment)),
        .base = vmcs_read(VMCS_BASE(segment)),
    };
}

// The MSRs and debug registers of a loaded vCPU: from the processor to struct vcpu, and back.
void load_store_registers(struct vcpu *vcpu);
void load_reload_registers(const struct vcpu *vcpu);

// The event queued for the next entry, as in vcpu_registers. save: false when there is none.
bool inject_save(struct vcpu_inject *event);
bool inject_is_valid(const struct vcpu_inject *event, bool is_protected);
// No event, no window, no step but one that was asked for; restore: and then the event given.
void inject_reset(struct vcpu *vcpu);
void inject_restore(struct vcpu *vcpu, const struct vcpu_inject *event, bool has_event);
