// SPDX-License-Identifier: Apache-2.0
// Nested page faults: memory of the VM that was not mapped yet is mapped; anything else is the
// VMM's. EXITINFO1 is the page fault's error code with two bits more: APM 2 15.25.6 "Nested versus
// Guest Page Faults, Fault Ordering".
#include "arch/mitigation.h"
#include "kernel/vm.h"
#include "svm/exit.h"

enum { SEGMENT_FS = 4 };

void svm_fill_walk(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    const struct vmcb *vmcb = x->vmcb;
    struct vcpu_walk *walk = &vcpu->page->walk;
    svm_save(x);
    walk->cr0 = svm_get_cr0(x);
    walk->cr3 = vmcb->cr3;
    walk->cr4 = svm_get_cr4(x);
    walk->efer = vmcb->efer & ~EFER_SVME;
    walk->cpl = vmcb->cpl;
    bool is_64bit = svm_is_64bit(vmcb);
    const uint8_t size_by_db = vmcb->cs.attributes & SEGMENT_DB ? 4 : 2;
    walk->code_size = is_64bit ? 8 : size_by_db;
    for (unsigned i = is_64bit ? SEGMENT_FS : 0; i < ARRAY_COUNT(walk->segment); i++)
        walk->segment[i] = svm_segment_to_vmm((&vmcb->es)[i]);
}

static uint32_t access_of(uint64_t info) {
    if (info & NESTED_WRITE)
        return VCPU_ACCESS_WRITE;
    return info & NESTED_FETCH ? VCPU_ACCESS_FETCH : VCPU_ACCESS_READ;
}

// Of the linear address AMD-V tells nothing: the VMM decodes.
enum exit_action svm_exit_nested_page_fault(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    uint64_t info = x->vmcb->exit_info_1, gpa = x->vmcb->exit_info_2;
    switch (vm_handle_fault(vcpu->vm, (gpa_t){gpa}, access_of(info))) {
    case SPACE_FAULT_RETRY:
        mitigation_clear_buffers(); // what was cleared was somebody else's
        return EXIT_RETRY;
    case SPACE_FAULT_SHORTAGE:
        return vcpu_fail(vcpu, VCPU_FAILURE_MEMORY, gpa);
    case SPACE_FAULT_NONE:
        break;
    }
    vcpu->page->memory = (struct vcpu_exit_memory){
        .gpa = gpa,
        .access = access_of(info),
        .is_walk = (info & NESTED_IN_GUEST_TABLES) != 0,
        .is_delivery = (x->vmcb->exit_int_info & EVENT_VALID) != 0,
    };
    svm_fill_walk(vcpu);
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_MEMORY, 0);
}
