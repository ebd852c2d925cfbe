// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR that exit: neutral code first (TSC, local APIC), then the MSRs that VT-x keeps in
// the VMCS, else the VMM.
#include "vmx/exit.h"
#include "vmx/vmx.h"

// They exit only where the processor would take more than what a guest may have (msr_bitmap.h).
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

static enum msr_result write_spec_ctrl(struct vmx_vcpu *x, uint64_t value) {
    if (!x->spec_allowed)
        return MSR_UNKNOWN;
    if (value & ~x->spec_allowed)
        return MSR_FAULT;
    speculation_write(x, value);
    return MSR_DONE;
}

static enum msr_result write_here(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    switch (msr) {
    case MSR_SPEC_CTRL:
        return write_spec_ctrl(vcpu->backend, value);
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return write_address(msr, value);
    default:
        return MSR_UNKNOWN;
    }
}

enum exit_action exit_rdmsr(struct vcpu *vcpu) {
    const struct vmx_vcpu *x = vcpu->backend;
    uint32_t msr = (uint32_t)vmx_gpr(vcpu, GPR_RCX);
    uint64_t value = 0;
    enum msr_result result = vcpu_read_msr(vcpu, msr, &value);
    if (msr == MSR_SPEC_CTRL && x->spec_allowed) {
        value = x->spec_guest.value;
        result = MSR_DONE;
    }
    vcpu->page->msr = msr;
    if (result == MSR_UNKNOWN)
        return vmx_exit_to_vmm(vcpu, VCPU_EXIT_MSR_READ);
    if (result == MSR_FAULT)
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    vcpu->page->gpr[GPR_RAX] = (uint32_t)value;
    vcpu->page->gpr[GPR_RDX] = value >> 32;
    return EXIT_ADVANCE;
}

enum exit_action exit_wrmsr(struct vcpu *vcpu) {
    uint32_t msr = (uint32_t)vmx_gpr(vcpu, GPR_RCX);
    uint64_t value = vmx_edx_eax(vcpu);
    enum msr_result result = vcpu_write_msr(vcpu, msr, value);
    if (result == MSR_UNKNOWN)
        result = write_here(vcpu, msr, value);
    vcpu->page->msr = msr;
    if (result == MSR_UNKNOWN)
        return vmx_exit_to_vmm(vcpu, VCPU_EXIT_MSR_WRITE);
    if (result == MSR_FAULT)
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    return EXIT_ADVANCE;
}
