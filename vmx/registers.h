// SPDX-License-Identifier: Apache-2.0
// What the files of vmx/ share of a vCPU's registers.
#pragma once

#include "vmx/vmx.h"

// Makes the VMCS of a vCPU that is loaded nowhere current, and puts it away again. Returns which
// was current before.
hpa_t vmx_open(const struct vmx_vcpu *x);
void vmx_close(const struct vmx_vcpu *x, hpa_t previous);
// VMCS current.
struct vcpu_segment vmx_read_segment(enum vmcs_segment segment);

// The event queued for the next entry, as in vcpu_registers. save: false when there is none.
bool inject_save(struct vcpu_inject *event);
// No event, no window, no step but one that was asked for; then the event given, whatever it is: of
// one that does not exist VM entry says so.
void inject_restore(struct vcpu *vcpu, const struct vcpu_inject *event, bool has_event);
