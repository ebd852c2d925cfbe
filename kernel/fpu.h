// SPDX-License-Identifier: Apache-2.0
// What of a guest stays in the processor across exits, whoever it is from: the FPU with XCR0, DR0
// to DR3, TSC_AUX. Neither the kernel nor ring 3 uses them, but that ring 3 may read TSC_AUX. For
// the backends, on the CPU where the vCPU comes or goes.
#pragma once

struct vcpu;

void fpu_load(const struct vcpu *vcpu);
void fpu_unload(struct vcpu *vcpu); // but XCR0, which stays where it was written
// Nothing of the last guest's stays, nor is any feature in use.
void fpu_forget(void);
