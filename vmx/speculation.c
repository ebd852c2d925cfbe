// SPDX-License-Identifier: Apache-2.0
// The guest's IA32_SPEC_CTRL beside the host's, which is in force whenever the guest is not.
//
// The register's bits only ever restrict speculation. So a guest whose bits the host has set as
// well runs with the host's value, and nobody writes the register at entries and exits: its own
// value is a word that RDMSR shows. The first value with a bit that the host's lacks has the
// processor move it from then on, by the VMCS's lists of MSRs: no instruction of ours runs with the
// guest's. It is the guest's alone then, without exits, for kernels that change it at each system
// call.
#include "kernel/frame.h"
#include "vmx/vmx.h"

void speculation_create(struct vmx_vcpu *x) {
    x->spec_guest.index = x->spec_host.index = MSR_SPEC_CTRL;
    // An exit stores where the next entry loads from. Their counts are 0.
    vmcs_write64(VMCS_ENTRY_MSR_LOAD, frame_of_kernel(&x->spec_guest).v);
    vmcs_write64(VMCS_EXIT_MSR_STORE, frame_of_kernel(&x->spec_guest).v);
    vmcs_write64(VMCS_EXIT_MSR_LOAD, frame_of_kernel(&x->spec_host).v);
}

static void move(struct vmx_vcpu *x) {
    x->is_spec_moved = true;
    vmcs_write32(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
    vmcs_write32(VMCS_EXIT_MSR_STORE_COUNT, 1);
    vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 1);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_msr_bitmap(x->is_apic_open, true));
}

void speculation_write(struct vmx_vcpu *x, uint64_t value) {
    x->spec_guest.value = value;
    if (!x->is_spec_moved && (value & ~x->spec_host.value) != 0)
        move(x);
}

void speculation_load(struct vmx_vcpu *x) {
    if (x->spec_allowed == 0)
        return;
    x->spec_host.value = x86_rdmsr(MSR_SPEC_CTRL);
    speculation_write(x, x->spec_guest.value);
}
