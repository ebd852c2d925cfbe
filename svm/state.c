// SPDX-License-Identifier: Apache-2.0
// Creation of a vCPU. Its registers are the VMM's to set.
#include "svm/svm.h"

#include "kernel/frame.h"
#include "kernel/vm.h"

#define PAUSE_COUNT     3000u // PAUSEs of one spin loop until it exits
#define PAUSE_THRESHOLD 128u  // ticks between two of them, at most

#define CPUID_FEATURES            7u
#define CPUID_EXTENDED            0x80000001u
#define CPUID_7_EBX_INVPCID       BIT(10)
#define CPUID_EXTENDED_EDX_RDTSCP BIT(27)

static void write_controls(struct vmcb *vmcb, const struct vm *vm) {
    const uint64_t always = INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_INIT |
                            INTERCEPT_CR0_SEL_WRITE | INTERCEPT_RDPMC | INTERCEPT_CPUID |
                            INTERCEPT_RSM | INTERCEPT_INVD | INTERCEPT_HLT | INTERCEPT_INVLPGA |
                            INTERCEPT_IOIO | INTERCEPT_MSR | INTERCEPT_TASK_SWITCH |
                            INTERCEPT_SHUTDOWN;
    uint64_t instructions = INTERCEPT_VMRUN | INTERCEPT_VMMCALL | INTERCEPT_VMLOAD |
                            INTERCEPT_VMSAVE | INTERCEPT_STGI | INTERCEPT_CLGI | INTERCEPT_SKINIT |
                            INTERCEPT_WBINVD | INTERCEPT_MONITOR | INTERCEPT_MWAIT |
                            INTERCEPT_MWAIT_CONDITION | INTERCEPT_XSETBV;
    // Instructions are #UD where CPUID hides them.
    if (!(vm_get_cpuid(vm, CPUID_EXTENDED).edx & CPUID_EXTENDED_EDX_RDTSCP) && svm_caps.has_rdtscp)
        instructions |= INTERCEPT_RDTSCP;
    if (!(vm_get_cpuid(vm, CPUID_FEATURES).ebx & CPUID_7_EBX_INVPCID) && svm_caps.has_invpcid)
        vmcb->intercept_3 = (uint32_t)INTERCEPT_INVPCID;
    if (svm_caps.has_rdpru)
        instructions |= INTERCEPT_RDPRU;
    vmcb->intercept_1 = (uint32_t)always;
    if (svm_caps.has_pause_filter) {
        vmcb->intercept_1 |= (uint32_t)INTERCEPT_PAUSE;
        vmcb->pause_count = PAUSE_COUNT;
        vmcb->pause_threshold = PAUSE_THRESHOLD;
    }
    vmcb->intercept_2 = (uint32_t)instructions;
    vmcb->intercept_exception = (uint32_t)(BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC));
    vmcb->iopm = svm_caps.maps;
    vmcb->msrpm = svm_caps.maps + SVM_IOPM_PAGES * PAGE_SIZE;
    vmcb->interrupt = VINTR_MASKING;
    vmcb->np_enable = 1;
    vmcb->n_cr3 = vm->space.pt.root.v;
}

void svm_vcpu_create(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    x->vmcb = vcpu->control;
    x->vmcb_at = frame_of_kernel(x->vmcb);
    write_controls(x->vmcb, vcpu->vm);
    static const struct vcpu_registers nothing;
    svm_write_registers(vcpu, &nothing);
}
