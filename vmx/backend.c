// SPDX-License-Identifier: Apache-2.0
// VT-x as the kernel sees it: whether this machine has it, turning it on, and the table of
// operations.
#include "vmx/ept.h"
#include "vmx/vmx.h"

#include "arch/mitigation.h"
#include "kernel/frame.h"
#include "kernel/machine.h"
#include "kernel/vm.h"

struct vmx_caps vmx_caps;

static void vmx_init(void) {
    vmx_caps = machine.vmx;
    ept_init(vmx_caps.has_2m_pages, vmx_caps.has_1g_pages, mitigation.has_page_hazard);
}

// SDM 3C 24.7 "Enabling and Entering VMX Operation" and 24.8 "Restrictions on VMX Operation". The
// firmware may have left IA32_FEATURE_CONTROL open.
static const char *vmx_cpu_init(struct cpu *cpu) {
    uint64_t control = x86_rdmsr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_CONTROL_LOCK))
        x86_wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMXON | FEATURE_CONTROL_LOCK);
    else if (!(control & FEATURE_CONTROL_VMXON))
        return "VT-x is locked off by the firmware";
    x86_write_cr0((x86_read_cr0() | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1);
    x86_write_cr4((x86_read_cr4() | CR4_VMXE | vmx_caps.cr4_fixed0) & vmx_caps.cr4_fixed1);
    *(uint32_t *)cpu->host_region = vmx_caps.revision;
    hpa_t region = frame_of_kernel(cpu->host_region);
    bool has_failed;
    __asm__ volatile("vmxon %1" : "=@ccbe"(has_failed) : "m"(region.v) : "memory");
    return has_failed ? "VMXON failed: this CPU is in use by another hypervisor" : NULL;
}

const struct vcpu_backend vmx_backend = {
    .name = "VT-x",
    .kind = ABI_VIRTUALIZATION_VTX,
    .space_format = &ept_format,
    .init = vmx_init,
    .cpu_init = vmx_cpu_init,
    .vcpu_create = vmx_vcpu_create,
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
    .get_cr4 = vmx_get_cr4,
    .read_registers = vmx_read_registers,
    .write_registers = vmx_write_registers,
};
