// SPDX-License-Identifier: Apache-2.0
// Creation of a vCPU. Its registers are the VMM's to set.
#include "vmx/registers.h"

#include "kernel/frame.h"
#include "kernel/vmtime.h"
#include "vmx/ept.h"

#define PLE_GAP    128u  // ticks between two PAUSEs of one spin loop, at most
#define PLE_WINDOW 4096u // ticks a spin loop may last

#define TSC_MULTIPLIER_BITS 48 // behind its point

#define VPID_SPACES (UINT16_MAX / VM_VCPUS_MAX)

#define CPUID_FEATURES            7u
#define CPUID_EXTENDED            0x80000001u
#define CPUID_7_EBX_INVPCID       BIT(10)
#define CPUID_EXTENDED_EDX_RDTSCP BIT(27)

// Instructions that need a control are #UD without it, which is what CPUID says where they are
// hidden.
static uint32_t secondary_controls(const struct vmx_vcpu *x, const struct vm *vm) {
    uint32_t secondary = vmx_caps.control[CONTROL_SECONDARY];
    if (!x->vpid)
        secondary &= ~(uint32_t)SECONDARY_VPID;
    if (!(vm_get_cpuid(vm, CPUID_FEATURES).ebx & CPUID_7_EBX_INVPCID))
        secondary &= ~(uint32_t)SECONDARY_INVPCID;
    if (!(vm_get_cpuid(vm, CPUID_EXTENDED).edx & CPUID_EXTENDED_EDX_RDTSCP))
        secondary &= ~(uint32_t)SECONDARY_RDTSCP;
    if (vm->tsc_ratio == 0)
        secondary &= ~(uint32_t)SECONDARY_TSC_SCALING;
    return secondary;
}

static void write_controls(struct vmx_vcpu *x, const struct vm *vm) {
    const uint32_t *control = vmx_caps.control;
    x->secondary = secondary_controls(x, vm);
    x->primary = control[CONTROL_PRIMARY];
    vmcs_write32(VMCS_PIN_CONTROLS, control[CONTROL_PIN]);
    vmcs_write32(VMCS_PRIMARY_CONTROLS, x->primary);
    vmcs_write32(VMCS_SECONDARY_CONTROLS, x->secondary);
    vmcs_write32(VMCS_EXIT_CONTROLS, control[CONTROL_EXIT]);
    vmcs_write32(VMCS_EXCEPTION_BITMAP, (uint32_t)(BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC)));
    vmcs_write32(VMCS_PAGE_FAULT_ERROR_MASK, 0);
    vmcs_write32(VMCS_PAGE_FAULT_ERROR_MATCH, 0);
    vmcs_write32(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write32(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_msr_bitmap(false, false));
    vmcs_write64(VMCS_EPTP, ept_pointer(vm->space.pt.root));
    vmcs_write64(VMCS_LINK_POINTER, VMCS_NONE);
    vmcs_write32(VMCS_GUEST_ACTIVITY, 0);
    if (x->vpid)
        vmcs_write16(VMCS_VPID, x->vpid);
    if (x->secondary & SECONDARY_TSC_SCALING)
        vmcs_write64(VMCS_TSC_MULTIPLIER,
                     vm->tsc_ratio << (TSC_MULTIPLIER_BITS - VMTIME_RATIO_BITS));
    // SGX is hidden, with all of its leaves: SDM 3C 25.6.16 "ENCLS-Exiting Bitmap".
    if (x->secondary & SECONDARY_ENCLS_EXITING)
        vmcs_write64(VMCS_ENCLS_BITMAP, UINT64_MAX);
    if (x->secondary & SECONDARY_ENCLV_EXITING)
        vmcs_write64(VMCS_ENCLV_BITMAP, UINT64_MAX);
    if (vmx_caps.has_ple) {
        vmcs_write32(VMCS_PLE_GAP, PLE_GAP);
        vmcs_write32(VMCS_PLE_WINDOW, PLE_WINDOW);
    }
}

// What is the same on each CPU; the rest is load.c's.
static void write_host_constants(const struct vmx_vcpu *x) {
    vmcs_write16(VMCS_HOST_CS_SELECTOR, SELECTOR_KERNEL_CODE);
    vmcs_write16(VMCS_HOST_SS_SELECTOR, SELECTOR_KERNEL_DATA);
    vmcs_write16(VMCS_HOST_DS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_ES_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_FS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_GS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, ABI_CALL_PAGE); // the VMM's, as include/abi.h promises
    vmcs_write(VMCS_HOST_GS_BASE, 0);
    vmcs_write(VMCS_HOST_RIP, (uint64_t)vmx_exit_entry);
    vmcs_write(VMCS_HOST_RSP, (uint64_t)&x->gpr);
}

void vmx_vcpu_create(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    x->gpr = vcpu->page->gpr;
    x->vmcs = frame_of_kernel(vcpu->control);
    // Other VMs mostly have others, since their tables' root lies elsewhere: see vmx/tlb.c.
    uint64_t space = vcpu->vm->space.pt.root.v / PAGE_SIZE % VPID_SPACES;
    x->vpid = vmx_caps.has_vpid ? (uint16_t)(space * VM_VCPUS_MAX + vcpu->index + 1) : 0;
    *(uint32_t *)vcpu->control = vmx_caps.revision;
    hpa_t previous = vmx_open(x);
    write_controls(x, vcpu->vm);
    vmx_apic_create(vcpu);
    speculation_create(x);
    write_host_constants(x);
    vmx_close(x, previous);
    static const struct vcpu_registers nothing;
    vmx_write_registers(vcpu, &nothing);
}
