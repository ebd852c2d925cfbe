// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR that exit: neutral code first (TSC, local APIC), then the MSRs that VT-x keeps in
// the VMCS, else the VMM.
#include "vmx/exit.h"
#include "vmx/vmx.h"

// They exit only where the processor would take more than what a guest may have (boot/boot_maps.h).
static enum msr_result write_address(uint32_t msr, uint64_t value) {
    if (!is_canonical(value))
        return MSR_FAULT;
    if (msr == MSR_SYSENTER_ESP)
        vmcs_write(VMCS_GUEST_SYSENTER_ESP, value);
    else if (msr == MSR_SYSENTER_EIP)
        vmcs_write(VMCS_GUEST_SYSENTER_EIP, value);
    else if (msr == MSR_FS_BASE)
        vmcs_write(VMCS_BASE(VMCS_FS), value);
    else if (msr == MSR_GS_BASE)
        vmcs_write(VMCS_BASE(VMCS_GS), value);
    else // the guest's is in the processor
        x86_wrmsr(msr, value);
    return MSR_DONE;
}

static enum msr_result access_spec_ctrl(struct vmx_vcpu *x, bool is_write, uint64_t *value) {
    if (!x->spec_allowed)
        return MSR_UNKNOWN;
    if (!is_write)
        *value = x->spec_guest.value;
    else if (*value & ~x->spec_allowed)
        return MSR_FAULT;
    else
        speculation_write(x, *value);
    return MSR_DONE;
}

static enum msr_result access_msr(struct vcpu *vcpu, uint32_t msr, bool is_write, uint64_t *value) {
    switch (msr) {
    case MSR_SPEC_CTRL:
        return access_spec_ctrl(vcpu->backend, is_write, value);
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return is_write ? write_address(msr, *value) : MSR_UNKNOWN;
    default:
        return MSR_UNKNOWN;
    }
}

enum exit_action exit_rdmsr(struct vcpu *vcpu) {
    enum exit_action action = vcpu_exit_msr(vcpu, false, access_msr);
    return action == EXIT_VMM ? vmx_exit_to_vmm(vcpu, VCPU_EXIT_MSR_READ) : action;
}

enum exit_action exit_wrmsr(struct vcpu *vcpu) {
    enum exit_action action = vcpu_exit_msr(vcpu, true, access_msr);
    return action == EXIT_VMM ? vmx_exit_to_vmm(vcpu, VCPU_EXIT_MSR_WRITE) : action;
}
