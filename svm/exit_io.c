// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS. Each port exits; a port with a doorbell ends here, any other is the VMM's.
// EXITINFO1: APM 2 15.10.2 "IN and OUT Behavior".
#include "kernel/vm.h"
#include "svm/exit.h"

#define INFO_IN     BIT(0)
#define INFO_STRING BIT(2)

static __attribute__((noinline)) enum exit_action ring_doorbell(struct vcpu *vcpu, uint16_t port) {
    return vm_ring_doorbell(vcpu->vm, port) ? EXIT_ADVANCE : EXIT_VMM;
}

enum exit_action svm_exit_io(struct vcpu *vcpu) {
    const struct vmcb *vmcb = ((struct svm_vcpu *)vcpu->backend)->vmcb;
    uint64_t info = vmcb->exit_info_1;
    uint16_t port = (uint16_t)(info >> 16);
    vcpu->page->io = (struct vcpu_exit_io){.port = port,
                                           .size = info >> 4 & 7,
                                           .is_in = info & 1,
                                           .is_string = info >> 2 & 1,
                                           .is_repeated = info >> 3 & 1};
    svm_exit_to_vmm(vcpu, VCPU_EXIT_IO, (uint32_t)(vmcb->exit_info_2 - vmcb->rip));
    if (info & INFO_STRING)
        svm_fill_walk(vcpu);
    bool has_doorbells = !(info & (INFO_IN | INFO_STRING)) && vcpu->vm->doorbell_count != 0;
    return has_doorbells ? ring_doorbell(vcpu, port) : EXIT_VMM;
}
