// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR that exit: neutral code first (TSC, local APIC), then the MSRs that the VMCB
// keeps, else the VMM.
#include "svm/exit.h"

#define PAT_TYPES 8u

// APM 2 7.8.1 "PAT Register": 2, 3 and what is above 7 are reserved.
static bool is_pat_valid(uint64_t value) {
    for (unsigned i = 0; i < PAT_TYPES; i++) {
        uint8_t type = (uint8_t)(value >> i * 8);
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

static enum msr_result access_msr(struct vcpu *vcpu, uint32_t msr, bool is_write, uint64_t *value) {
    struct svm_vcpu *x = vcpu->backend;
    if (msr != MSR_PAT)
        return MSR_UNKNOWN;
    if (!is_write) {
        *value = x->vmcb->g_pat;
        return MSR_DONE;
    }
    if (!is_pat_valid(*value))
        return MSR_FAULT;
    x->vmcb->g_pat = *value;
    svm_touch(x, CLEAN_NESTED);
    return MSR_DONE;
}

enum exit_action svm_exit_msr(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    bool is_write = x->vmcb->exit_info_1 & 1;
    enum exit_action action = vcpu_exit_msr(vcpu, is_write, access_msr);
    if (action != EXIT_VMM)
        return action;
    return svm_exit_to_vmm(vcpu, is_write ? VCPU_EXIT_MSR_WRITE : VCPU_EXIT_MSR_READ,
                           svm_length(x->vmcb, SVM_EXIT_MSR));
}
