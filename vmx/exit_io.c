// SPDX-License-Identifier: Apache-2.0
// IN, OUT, INS, OUTS. Each port exits; a port with a doorbell ends here, any other is the VMM's.
#include "kernel/vm.h"
#include "vmx/exit.h"
#include "vmx/vmx.h"

// Where VT-x does not describe INS and OUTS, what they do without prefixes. The VMM can look.
static void guess_string(struct vcpu *vcpu) {
    vcpu->page->io.address_size = vcpu->page->walk.code_size;
    vcpu->page->io.segment = vcpu->page->io.is_in ? VMCS_ES : VMCS_DS;
}

static __attribute__((noinline)) void describe_string(struct vcpu *vcpu) {
    vmx_fill_walk(vcpu);
    if (vmx_caps.has_string_io_info)
        io_decode_string(&vcpu->page->io, vmcs_read32(VMCS_EXIT_INSTRUCTION_INFO));
    else
        guess_string(vcpu);
}

enum exit_action exit_io(struct vcpu *vcpu) {
    struct vcpu_exit_io io = io_decode(vmcs_read(VMCS_EXIT_QUALIFICATION));
    bool is_plain_out = !io.is_in && !io.is_string;
    if (is_plain_out && vcpu->vm->doorbell_count && vm_ring_doorbell(vcpu->vm, io.port))
        return EXIT_ADVANCE;
    vcpu->page->io = io;
    if (io.is_string)
        describe_string(vcpu);
    return vmx_exit_to_vmm(vcpu, VCPU_EXIT_IO);
}
