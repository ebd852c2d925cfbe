// SPDX-License-Identifier: Apache-2.0
// Moving a vCPU onto a CPU and off it again: the guest state that stays in the processor across
// exits (kernel/fpu.h, DR6, the MSRs of SYSCALL), and the host state that exits restore, which
// is partly the CPU's (descriptor tables, SYSENTER) and partly the thread's (address space; the
// stack is enter.S's).
//
// Neither the kernel nor ring 3 uses these MSRs, so they need no copy of the host's.
#include "arch/mitigation.h"
#include "kernel/fpu.h"
#include "vmx/vmx.h"

static void load_registers(const struct vcpu *vcpu) {
    x86_write_dr6(vcpu->dr6);
    x86_wrmsr(MSR_STAR, vcpu->star);
    x86_wrmsr(MSR_LSTAR, vcpu->lstar);
    x86_wrmsr(MSR_CSTAR, vcpu->cstar);
    x86_wrmsr(MSR_SFMASK, vcpu->sfmask);
    x86_wrmsr(MSR_KERNEL_GS_BASE, vcpu->kernel_gs_base);
}

static void unload_registers(struct vcpu *vcpu) {
    vcpu->dr6 = x86_read_dr6();
    vcpu->star = x86_rdmsr(MSR_STAR);
    vcpu->lstar = x86_rdmsr(MSR_LSTAR);
    vcpu->cstar = x86_rdmsr(MSR_CSTAR);
    vcpu->sfmask = x86_rdmsr(MSR_SFMASK);
    vcpu->kernel_gs_base = x86_rdmsr(MSR_KERNEL_GS_BASE);
}

void vmx_forget(void) {
    // No instruction of ring 3 reads these, but its speculation may (rogue system register read,
    // CVE-2018-3640), and no bit says which processors are free of that.
    static const struct vcpu nobody;
    fpu_forget();
    if (!mitigation.is_off)
        load_registers(&nobody);
}

struct __attribute__((packed)) table_register {
    uint16_t limit;
    uint64_t base;
};

// What this CPU's exits have to restore. SDM 3C 25.5 "Host-State Area".
static void write_cpu_host_state(const struct cpu *cpu) {
    struct table_register gdt, idt;
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("sidt %0" : "=m"(idt));
    vmcs_write(VMCS_HOST_GDTR_BASE, gdt.base);
    vmcs_write(VMCS_HOST_IDTR_BASE, idt.base);
    vmcs_write(VMCS_HOST_TR_BASE, (uint64_t)cpu->tss);
    vmcs_write32(VMCS_HOST_SYSENTER_CS, (uint32_t)x86_rdmsr(MSR_SYSENTER_CS));
    vmcs_write(VMCS_HOST_SYSENTER_ESP, x86_rdmsr(MSR_SYSENTER_ESP));
    vmcs_write(VMCS_HOST_SYSENTER_EIP, x86_rdmsr(MSR_SYSENTER_EIP));
    vmcs_write(VMCS_HOST_CR0, x86_read_cr0());
    vmcs_write(VMCS_HOST_CR4, x86_read_cr4());
    vmcs_write64(VMCS_HOST_PAT, x86_rdmsr(MSR_PAT));
    vmcs_write64(VMCS_HOST_EFER, x86_rdmsr(MSR_EFER));
}

void vmx_load(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    struct cpu *cpu = cpu_current();
    vmcs_make_current(x->vmcs);
    if (x->last_cpu != cpu) {
        write_cpu_host_state(cpu);
        speculation_load(x);
        vmx_flush_vpid(x->vpid);
        x->last_cpu = cpu;
    }
    vmcs_write(VMCS_HOST_CR3, x86_read_cr3());
    fpu_load(vcpu);
    load_registers(vcpu);
    x->entry_work |= WORK_CR2;
}

void vmx_unload(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    unload_registers(vcpu);
    fpu_unload(vcpu);
    vmcs_clear(x->vmcs);
    x->is_launched = 0;
}
