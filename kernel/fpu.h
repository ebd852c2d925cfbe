// SPDX-License-Identifier: Apache-2.0
// A guest's FPU, which stays in the processor across exits: neither the kernel nor ring 3 uses it.
// For the backends, on the CPU where the vCPU comes or goes.
#pragma once

struct vcpu;

void fpu_load(const struct vcpu *vcpu);   // and XCR0
void fpu_unload(const struct vcpu *vcpu); // into vcpu->xsave
// Nothing of the last guest's stays, nor is any feature in use.
void fpu_forget(void);
