// SPDX-License-Identifier: Apache-2.0
// Accesses to control registers. CR4 exits at each write, CR0 where more than TS and MP changes,
// and CR8 while an interrupt waits for a lower one. With decode assists the kernel commits what
// cannot fault and is the guest's own; the rest, and all without them, is the VMM's to decode and
// to answer. APM 2 15.8 "Control Register Access Intercepts", 15.33 "Decode Assists".
#include "svm/exit.h"

#define CR8_MAX 15u // APM 2 16.6.4: the upper bits are reserved

// Bits whose change neither faults nor starts another mode.
#define CR0_PLAIN (CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM)
#define CR4_PLAIN (CR4_GUEST & ~(CR4_PAE | CR4_PCIDE))

// The source of a MOV: outside 64-bit mode, of 32 bits.
static uint64_t read_gpr(const struct vcpu *vcpu, unsigned gpr) {
    const struct svm_vcpu *x = vcpu->backend;
    uint64_t value = gpr == GPR_RSP ? x->vmcb->rsp : vcpu_gpr(vcpu, gpr);
    return svm_is_64bit(x->vmcb) ? value : (uint32_t)value;
}

static bool commit(struct vcpu *vcpu, uint32_t number, uint64_t value) {
    struct svm_vcpu *x = vcpu->backend;
    if (number == 0 && ((value ^ svm_get_cr0(x)) & ~(x->cr0_own & CR0_PLAIN)) == 0)
        svm_set_cr0(x, value);
    else if (number == 4 && ((value ^ svm_get_cr4(x)) & ~(x->cr4_own & CR4_PLAIN)) == 0)
        svm_set_cr4(x, value);
    else if (number == 8 && value <= CR8_MAX)
        vlapic_set_cr8(vcpu, (uint8_t)value);
    else
        return false;
    return true;
}

static enum exit_action to_vmm(struct vcpu *vcpu, struct vcpu_exit_control control,
                               uint32_t length) {
    svm_fill_walk(vcpu);
    vcpu->page->control = control;
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_CONTROL, length);
}

enum exit_action svm_exit_control_write(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    struct vmcb *vmcb = x->vmcb;
    svm_set_long_mode(vmcb); // Bochs has changed it already, for a CR0 that is not written
    enum svm_exit row = svm_exit_row(vmcb->exit_code);
    struct vcpu_exit_control control = {
        .number = row == SVM_EXIT_CR_WRITE ? vmcb->exit_code & 0xf : 0,
    };
    if (!svm_caps.has_decode_assists || !(vmcb->exit_info_1 & EXIT_INFO_MOV))
        return to_vmm(vcpu, control, 0);
    control.is_known = true;
    control.value = read_gpr(vcpu, vmcb->exit_info_1 & EXIT_INFO_GPR);
    if (commit(vcpu, control.number, control.value))
        return EXIT_ADVANCE;
    return to_vmm(vcpu, control, svm_length(vmcb, row));
}

// Only where the register is not as the guest sees it.
enum exit_action svm_exit_control_read(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    struct vcpu_exit_control control = {.number = x->vmcb->exit_code & 0xf};
    return to_vmm(vcpu, control, 0);
}
