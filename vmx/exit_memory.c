// SPDX-License-Identifier: Apache-2.0
// EPT violations: memory of the VM that was not mapped yet is mapped; anything else is the VMM's.
#include "arch/mitigation.h"
#include "kernel/vm.h"
#include "vmx/exit.h"
#include "vmx/registers.h"

// SDM 3C Table 28-7 "Exit Qualification for EPT Violations". Bits 2:0 are enum vcpu_access.
#define EPT_VIOLATION_ACCESS        (BIT(0) | BIT(1) | BIT(2))
#define EPT_VIOLATION_HAS_LINEAR    BIT(7)
#define EPT_VIOLATION_IS_TRANSLATED BIT(8) // else to a paging structure, when HAS_LINEAR
#define EPT_VIOLATION_NMI_UNBLOCKED BIT(12)
_Static_assert(VCPU_ACCESS_READ == 1 && VCPU_ACCESS_WRITE == 2 && VCPU_ACCESS_FETCH == 4,
               "as in the exit qualification");

void vmx_fill_walk(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    struct vcpu_walk *walk = &vcpu->page->walk;
    walk->cr0 = vmx_get_cr0(x);
    walk->cr3 = vmcs_read(VMCS_GUEST_CR3);
    walk->cr4 = vmx_get_cr4(vcpu);
    walk->efer = vmcs_read64(VMCS_GUEST_EFER);
    // The DPL of SS is the CPL (SDM 3C 25.4.1 "Guest Register State").
    uint32_t stack = vmcs_read32(VMCS_ACCESS_RIGHTS(VMCS_SS));
    walk->cpl = (uint8_t)((stack & SEGMENT_DPL) >> SEGMENT_DPL_SHIFT);
    uint32_t code = vmcs_read32(VMCS_ACCESS_RIGHTS(VMCS_CS));
    bool is_64bit = (walk->efer & EFER_LMA) && (code & SEGMENT_LONG);
    const uint8_t size_by_db = code & SEGMENT_DB ? 4 : 2;
    walk->code_size = is_64bit ? 8 : size_by_db;
    unsigned segment = is_64bit ? VMCS_FS : VMCS_ES;
    for (; segment < ARRAY_COUNT(walk->segment); segment++)
        if (is_64bit)
            walk->segment[segment].base = vmcs_read(VMCS_BASE(segment));
        else
            walk->segment[segment] = vmx_read_segment(segment);
}

enum exit_action exit_ept_violation(struct vcpu *vcpu) {
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    uint64_t gpa = vmcs_read64(VMCS_GUEST_PHYSICAL_ADDRESS);
    bool is_delivery = vmx_requeue_event(vcpu, (qualification & EPT_VIOLATION_NMI_UNBLOCKED) != 0);
    uint32_t access = (uint32_t)(qualification & EPT_VIOLATION_ACCESS);
    switch (vm_handle_fault(vcpu->vm, (gpa_t){gpa}, access)) {
    case SPACE_FAULT_RETRY:
        mitigation_clear_buffers(); // what was cleared was somebody else's
        return EXIT_RETRY;
    case SPACE_FAULT_SHORTAGE:
        return vcpu_fail(vcpu, VCPU_FAILURE_MEMORY, gpa);
    case SPACE_FAULT_NONE:
        break;
    }
    bool has_gva = (qualification & EPT_VIOLATION_HAS_LINEAR) != 0;
    vcpu->page->exit = VCPU_EXIT_MEMORY;
    vcpu->page->memory = (struct vcpu_exit_memory){
        .gpa = gpa,
        .gva = has_gva ? vmcs_read(VMCS_GUEST_LINEAR_ADDRESS) : 0,
        .access = access,
        .has_gva = has_gva,
        .is_walk = has_gva && !(qualification & EPT_VIOLATION_IS_TRANSLATED),
        .is_delivery = is_delivery,
    };
    vcpu->page->instruction_length = 0;
    vmx_fill_walk(vcpu);
    return EXIT_VMM;
}
