// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS. Each port exits; a port with a doorbell ends here, any other is the VMM's.
// EXITINFO1: APM 2 15.10.2 "IN and OUT Behavior".
#include "kernel/vm.h"
#include "svm/exit.h"

enum { SEGMENT_ES, SEGMENT_DS = 3 };

#define INFO_IN     BIT(0)
#define INFO_STRING BIT(2)

// Without decode assists: what they do without prefixes. The VMM looks.
static __attribute__((noinline)) enum exit_action describe_string(struct vcpu *vcpu,
                                                                  uint64_t info) {
    struct vcpu_exit_io *io = &vcpu->page->io;
    svm_fill_walk(vcpu);
    io->is_repeated = info >> 3 & 1;
    io->address_size = (uint8_t)((info >> 7 & 7) * 2);
    io->segment = (uint8_t)(info >> 10 & 7);
    if (!svm_caps.has_decode_assists) {
        io->address_size = vcpu->page->walk.code_size;
        io->segment = SEGMENT_DS;
    }
    if (info & INFO_IN)
        io->segment = SEGMENT_ES;
    return EXIT_VMM;
}

static __attribute__((noinline)) enum exit_action ring_doorbell(struct vcpu *vcpu, uint16_t port) {
    return vm_ring_doorbell(vcpu->vm, port) ? EXIT_ADVANCE : EXIT_VMM;
}

enum exit_action svm_exit_io(struct vcpu *vcpu) {
    const struct vmcb *vmcb = ((struct svm_vcpu *)vcpu->backend)->vmcb;
    uint64_t info = vmcb->exit_info_1;
    uint16_t port = (uint16_t)(info >> 16);
    vcpu->page->io = (struct vcpu_exit_io){
        .port = port, .size = info >> 4 & 7, .is_in = info & 1, .is_string = info >> 2 & 1};
    svm_exit_to_vmm(vcpu, VCPU_EXIT_IO, (uint32_t)(vmcb->exit_info_2 - vmcb->rip));
    if (info & INFO_STRING)
        return describe_string(vcpu, info);
    bool has_doorbells = !(info & INFO_IN) && vcpu->vm->doorbell_count != 0;
    return has_doorbells ? ring_doorbell(vcpu, port) : EXIT_VMM;
}
