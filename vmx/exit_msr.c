// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR that exit: neutral code first (TSC, local APIC), then the MSRs that VT-x keeps in
// the VMCS, else the VMM.
#include "vmx/cr.h"
#include "vmx/exit.h"
#include "vmx/vmx.h"

enum msr_here {
    MSR_DEBUGCTL = 0x1d9,
};

static enum msr_result read_here(const struct vmx_vcpu *x, uint32_t msr, uint64_t *value) {
    switch (msr) {
    case MSR_SPEC_CTRL:
        *value = x->spec_guest.value;
        return x->spec_allowed ? MSR_DONE : MSR_UNKNOWN;
    case MSR_EFER:
        *value = vmcs_read64(VMCS_GUEST_EFER);
        return MSR_DONE;
    case MSR_DEBUGCTL:
        *value = vmcs_read64(VMCS_GUEST_DEBUGCTL);
        return MSR_DONE;
    default:
        return MSR_UNKNOWN;
    }
}

// LMA follows from LME and paging, and cannot be written.
static enum msr_result write_efer(struct vmx_vcpu *x, uint64_t value) {
    uint64_t old = vmcs_read64(VMCS_GUEST_EFER);
    if (!efer_write_is_valid(old, value, x->efer_allowed, vmx_get_cr0(x)))
        return MSR_FAULT;
    vmcs_write64(VMCS_GUEST_EFER, (value & ~EFER_LMA) | (old & EFER_LMA));
    return MSR_DONE;
}

// They exit only where the processor would take more than what a guest may have (policy.h).
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
    case MSR_EFER:
        return write_efer(vcpu->backend, value);
    case MSR_DEBUGCTL:
        if (value & ~DEBUGCTL_MAY)
            return MSR_FAULT;
        vmcs_write64(VMCS_GUEST_DEBUGCTL, value);
        return MSR_DONE;
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

static enum exit_action to_vmm(struct vcpu *vcpu, enum vcpu_exit exit, uint32_t msr) {
    vcpu->page->exit = exit;
    vcpu->page->msr = msr;
    vcpu->page->instruction_length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    return EXIT_VMM;
}

enum exit_action exit_rdmsr(struct vcpu *vcpu) {
    uint32_t msr = (uint32_t)vmx_gpr(vcpu, GPR_RCX);
    uint64_t value = 0;
    enum msr_result result = vcpu_read_msr(vcpu, msr, &value);
    if (result == MSR_UNKNOWN)
        result = read_here(vcpu->backend, msr, &value);
    if (result == MSR_UNKNOWN)
        return to_vmm(vcpu, VCPU_EXIT_MSR_READ, msr);
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
    if (result == MSR_UNKNOWN)
        return to_vmm(vcpu, VCPU_EXIT_MSR_WRITE, msr);
    if (result == MSR_FAULT)
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    return EXIT_ADVANCE;
}
