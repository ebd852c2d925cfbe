// SPDX-License-Identifier: Apache-2.0
// Control-register exits. The guest changes by itself whatever is harmless and whatever the
// processor checks and carries out alone, paging and long mode included where there is
// "unrestricted guest". What exits are the bits that are ours (vmx/cr.h). A handler checks the
// write, takes those bits into the read shadow and lets the guest repeat the instruction: it no
// longer differs from the shadow, so the processor does the rest, with all faults and side effects
// (PDPTEs and TLB included), although the kernel cannot read the guest's memory. SDM 3C 26.3
// "Changes to Instruction Behavior in VMX Non-Root Operation".
#include "vmx/cr.h"
#include "vmx/exit.h"
#include "vmx/vmx.h"

// SDM 3A 11.8.6 "Task Priority in IA-32e Mode": CR8's upper bits are reserved.
#define CR8_MAX 15u

uint64_t vmx_get_cr0(const struct vmx_vcpu *x) {
    return cr_merge(vmcs_read(VMCS_GUEST_CR0), vmcs_read(VMCS_CR0_READ_SHADOW), x->cr0_mask);
}

uint64_t vmx_get_cr4(const struct vmx_vcpu *x) {
    return cr_merge(vmcs_read(VMCS_GUEST_CR4), x->cr4_shadow, x->cr4_mask);
}

static uint64_t read_gpr(const struct vcpu *vcpu, uint8_t gpr) {
    return gpr == GPR_RSP ? vmcs_read(VMCS_GUEST_RSP) : vmx_gpr(vcpu, gpr);
}

static void write_gpr(struct vcpu *vcpu, uint8_t gpr, uint64_t value) {
    if (gpr == GPR_RSP)
        vmcs_write(VMCS_GUEST_RSP, value);
    else
        vcpu->page->gpr[gpr] = value;
}

static enum exit_action write_cr0(struct vcpu *vcpu, uint64_t value) {
    struct vmx_vcpu *x = vcpu->backend;
    bool is_cs_long = (vmcs_read32(VMCS_GUEST_CS_ACCESS_RIGHTS) & SEGMENT_LONG) != 0;
    if (!cr0_write_is_valid(vmx_get_cr0(x), value, vmx_get_cr4(x), vmcs_read64(VMCS_GUEST_EFER),
                            is_cs_long))
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    vmx_check_mode(x, value);
    vmcs_write(VMCS_CR0_READ_SHADOW, value);
    return EXIT_RETRY;
}

static void set_cr4_shadow(struct vmx_vcpu *x, uint64_t value) {
    x->cr4_shadow = value;
    vmcs_write(VMCS_CR4_READ_SHADOW, value);
}

// Where the processor then loads PDPTEs, they may be bad: it is looked at behind the instruction.
static enum exit_action write_cr4(struct vcpu *vcpu, uint64_t value) {
    struct vmx_vcpu *x = vcpu->backend;
    uint64_t old = vmx_get_cr4(x), efer = vmcs_read64(VMCS_GUEST_EFER);
    if (!cr4_write_is_valid(old, value, x->cr4_allowed, efer, vmcs_read(VMCS_GUEST_CR3)))
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    x->cr4_before = value;
    if (cr4_write_loads_pdptes(old, value, vmx_get_cr0(x), efer) && vmx_step(vcpu))
        x->cr4_before = x->cr4_shadow;
    set_cr4_shadow(x, value);
    return EXIT_RETRY;
}

// Not done, be it that it faulted or that an event came first: then it exits again.
void vmx_end_cr4_trial(struct vmx_vcpu *x) {
    bool is_trial = x->cr4_before != x->cr4_shadow;
    if (is_trial && ((vmcs_read(VMCS_GUEST_CR4) ^ x->cr4_shadow) & ~x->cr4_mask))
        set_cr4_shadow(x, x->cr4_before);
    x->cr4_before = x->cr4_shadow;
}

static enum exit_action write_cr8(struct vcpu *vcpu, uint64_t value) {
    if (value > CR8_MAX)
        return vcpu_inject_exception(vcpu, EXC_GP, true, 0);
    vlapic_set_cr8(vcpu, (uint8_t)value);
    return EXIT_ADVANCE;
}

// CR3 never exits with EPT, CR0 and CR4 are never read with an exit, and CLTS and LMSW cannot
// differ from the shadow in a bit that is ours.
enum exit_action exit_control_register(struct vcpu *vcpu) {
    struct cr_access access = cr_access_decode(vmcs_read(VMCS_EXIT_QUALIFICATION));
    if (access.type == CR_ACCESS_MOV_TO) {
        uint64_t value = read_gpr(vcpu, access.gpr);
        switch (access.number) {
        case 0:
            return write_cr0(vcpu, value);
        case 4:
            return write_cr4(vcpu, value);
        case 8:
            return write_cr8(vcpu, value);
        default:
            return exit_unexpected(vcpu);
        }
    }
    if (access.type == CR_ACCESS_MOV_FROM && access.number == 8) {
        write_gpr(vcpu, access.gpr, vlapic_get_cr8(vcpu));
        return EXIT_ADVANCE;
    }
    return exit_unexpected(vcpu);
}
