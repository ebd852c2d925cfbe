// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS. Each port exits; a port with a doorbell ends here, any other is the VMM's.
#include "kernel/vm.h"
#include "vmx/exit.h"
#include "vmx/vmx.h"

enum exit_action exit_io(struct vcpu *vcpu) {
    // SDM 3C Table 28-5 "Exit Qualification for I/O Instructions".
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    struct vcpu_exit_io io = {
        .port = (uint16_t)(qualification >> 16),
        .size = (uint8_t)((qualification & 7) + 1),
        .is_in = (qualification >> 3) & 1,
        .is_string = (qualification >> 4) & 1,
        .is_repeated = (qualification >> 5) & 1,
    };
    bool is_plain_out = !io.is_in && !io.is_string;
    if (is_plain_out && vcpu->vm->doorbell_count && vm_ring_doorbell(vcpu->vm, io.port))
        return EXIT_ADVANCE;
    vcpu->page->io = io;
    if (io.is_string)
        vmx_fill_walk(vcpu);
    return vmx_exit_to_vmm(vcpu, VCPU_EXIT_IO);
}
