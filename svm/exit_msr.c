// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR that exit: neutral code first (TSC, local APIC), else the VMM.
#include "svm/exit.h"

enum exit_action svm_exit_msr(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    bool is_write = x->vmcb->exit_info_1 & 1;
    enum exit_action action = vcpu_exit_msr(vcpu, is_write, NULL);
    if (action != EXIT_VMM)
        return action;
    return svm_exit_to_vmm(vcpu, is_write ? VCPU_EXIT_MSR_WRITE : VCPU_EXIT_MSR_READ,
                           svm_length(x->vmcb, SVM_EXIT_MSR));
}
