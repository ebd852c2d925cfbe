// SPDX-License-Identifier: Apache-2.0
// VT-x as the kernel sees it: whether this machine has it, turning it on, and the table of
// operations.
#include "vmx/ept.h"
#include "vmx/msr_bitmap.h"
#include "vmx/vmx.h"

#include "arch/log.h"
#include "arch/mitigation.h"
#include "kernel/frame.h"
#include "kernel/vm.h"

static const char *vmx_probe(enum apic_level limit) {
    if (!cpu_features.has_vmx)
        return "this CPU has no VT-x, or the firmware hides it: Bulkhead needs an Intel CPU with "
               "VT-x "
               "and EPT, with \"Intel Virtualization Technology\" enabled in the firmware setup";
    // A locked-off VT-x is named before what its capabilities say.
    const char *refusal = caps_unlock();
    if (refusal)
        return refusal;
    caps_read(&vmx_caps);
    refusal = caps_judge(&vmx_caps);
    if (refusal)
        return refusal;
    caps_limit_apic(&vmx_caps, limit);
    caps_report(&vmx_caps);
    ept_init(vmx_caps.has_2m_pages, vmx_caps.has_1g_pages, mitigation.has_page_hazard);
    return msr_bitmap_init() ? NULL : "no memory for the MSR bitmaps: add memory";
}

// SDM 3C 24.7 "Enabling and Entering VMX Operation" and 24.8 "Restrictions on VMX Operation".
static const char *vmx_cpu_init(struct cpu *cpu) {
    const char *refusal = caps_unlock();
    if (refusal)
        return refusal;
    x86_write_cr0((x86_read_cr0() | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1);
    x86_write_cr4((x86_read_cr4() | CR4_VMXE | vmx_caps.cr4_fixed0) & vmx_caps.cr4_fixed1);
    *(uint32_t *)cpu->vmx_region = vmx_caps.revision;
    hpa_t region = frame_of_kernel(cpu->vmx_region);
    bool has_failed;
    __asm__ volatile("vmxon %1" : "=@ccbe"(has_failed) : "m"(region.v) : "memory");
    return has_failed ? "VMXON failed: this CPU is in use by another hypervisor" : NULL;
}

static bool vmx_has_tsc_scaling(void) {
    return vmx_caps.has_tsc_scaling;
}

static bool vmx_has_unrestricted_guest(void) {
    return vmx_caps.has_unrestricted_guest;
}

// A VM is its EPT and its CPUID table: nothing of VT-x's own.
static int vmx_vm_create(struct vm *vm) {
    vm->backend = NULL;
    return ABI_OK;
}

static void vmx_vm_destroy(struct vm *vm) {
    (void)vm;
}

static void vmx_set_tsc_offset(struct vcpu *vcpu) {
    vmcs_write64(VMCS_TSC_OFFSET, vcpu->tsc_offset);
}

static uint64_t get_cr4(const struct vcpu *vcpu) {
    return vmx_get_cr4(vcpu->backend);
}

const struct vcpu_backend vmx_backend = {
    .name = "VT-x",
    .space_format = &ept_format,
    .probe = vmx_probe,
    .cpu_init = vmx_cpu_init,
    .has_unrestricted_guest = vmx_has_unrestricted_guest,
    .has_tsc_scaling = vmx_has_tsc_scaling,
    .vm_create = vmx_vm_create,
    .vm_destroy = vmx_vm_destroy,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .load = vmx_load,
    .unload = vmx_unload,
    .forget = vmx_forget,
    .enter = vmx_enter,
    .leave = vmx_leave,
    .sync_registers = vmx_sync_registers,
    .step = vmx_step,
    .can_take_interrupt = vmx_can_take_interrupt,
    .can_take_nmi = vmx_can_take_nmi,
    .inject_interrupt = vmx_inject_interrupt,
    .inject_nmi = vmx_inject_nmi,
    .sync_apic = vmx_sync_apic,
    .inject_exception = vmx_inject_exception,
    .flush_space = vmx_flush_space,
    .set_tsc_offset = vmx_set_tsc_offset,
    .get_cr4 = get_cr4,
    .read_registers = vmx_read_registers,
    .write_registers = vmx_write_registers,
};
