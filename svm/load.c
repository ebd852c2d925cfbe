// SPDX-License-Identifier: Apache-2.0
// Moving a vCPU onto a CPU and off it again: the guest state that stays in the processor across
// exits (kernel/fpu.h). The rest is the VMCB's, and the host's comes back by VMRUN's own save area
// and VMLOAD.
#include "svm/svm.h"

#include "kernel/fpu.h"
#include "kernel/vmtime.h"

#define TSC_RATIO_ONE BIT(VMTIME_RATIO_BITS) // APM 2 15.30.5 "TSC Ratio MSR (C000_0104h)"

void svm_load(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    x->vmcb->clean = 0; // other CPUs, and other VMCBs at this address, may be what it remembers
    if (svm_caps.has_tsc_ratio)
        x86_wrmsr(MSR_TSC_RATIO, vcpu->vm->tsc_ratio ? vcpu->vm->tsc_ratio : TSC_RATIO_ONE);
    fpu_load(vcpu);
    x->entry_work |= WORK_CR2;
}

void svm_unload(struct vcpu *vcpu) {
    if (cpu_features.has_xsave) // QEMU 7.2 has no intercept of XSETBV
        vcpu->xcr0 = x86_xgetbv(0) & cpu_features.xcr0_mask;
    fpu_unload(vcpu);
}
