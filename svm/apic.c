// SPDX-License-Identifier: Apache-2.0
// The processor's part of the virtual local APIC: CR8. It reads and writes V_TPR; a write exits
// only while an interrupt waits for a lower one, or for its window: QEMU 7.2 aborts where a guest
// writes CR8 while V_IRQ is set. APM 2 15.21.2 "Virtualizing APIC.TPR". AVIC has its place here.
#include "svm/svm.h"

void svm_sync_apic(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    uint32_t bit = (uint32_t)INTERCEPT_CR_WRITE(8);
    bool has_window = (x->vmcb->interrupt & VINTR_IRQ) != 0;
    uint32_t wanted = has_window || vlapic_get_held_class(vcpu) != 0 ? bit : 0;
    if ((x->vmcb->intercept_cr & bit) == wanted)
        return;
    x->vmcb->intercept_cr ^= bit;
    svm_touch(x, CLEAN_INTERCEPTS);
}
