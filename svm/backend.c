// SPDX-License-Identifier: Apache-2.0
// AMD-V as the kernel sees it: turning it on, and the table of operations.
#include "svm/svm.h"

#include "arch/paging.h"
#include "kernel/fpu.h"
#include "kernel/frame.h"
#include "kernel/machine.h"

struct svm_caps svm_caps;

static void svm_init(void) {
    svm_caps = machine.svm;
}

// APM 2 15.4 "Enabling SVM", 15.30.1 "VM_CR MSR (C001_0114h)". What VMLOAD gives back to the host
// stands in the host save area, at the VMCB's places, which VMRUN leaves alone.
static const char *svm_cpu_init(struct cpu *cpu) {
    uint64_t control = x86_rdmsr(MSR_VM_CR);
    if ((control & VM_CR_SVMDIS) && (control & VM_CR_LOCK))
        return "AMD-V is locked off by the firmware";
    if (control & VM_CR_SVMDIS)
        x86_wrmsr(MSR_VM_CR, control & ~VM_CR_SVMDIS);
    x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_SVME);
    hpa_t region = frame_of_kernel(cpu->host_region);
    x86_wrmsr(MSR_VM_HSAVE_PA, region.v);
    svm_vmsave(region);
    ((struct vmcb *)cpu->host_region)->fs.base = ABI_CALL_PAGE; // as include/abi.h promises
    return NULL;
}

static uint64_t get_cr4(const struct vcpu *vcpu) {
    return svm_get_cr4(vcpu->backend);
}

const struct vcpu_backend svm_backend = {
    .name = "AMD-V",
    .kind = ABI_VIRTUALIZATION_SVM,
    .space_format = &paging_format,
    .init = svm_init,
    .cpu_init = svm_cpu_init,
    .vcpu_create = svm_vcpu_create,
    .load = svm_load,
    .unload = svm_unload,
    .forget = fpu_forget,
    .enter = svm_enter,
    .leave = svm_leave,
    .sync_registers = svm_sync_registers,
    .step = svm_step,
    .can_take_interrupt = svm_can_take_interrupt,
    .can_take_nmi = svm_can_take_nmi,
    .inject_interrupt = svm_inject_interrupt,
    .inject_nmi = svm_inject_nmi,
    .sync_apic = svm_sync_apic,
    .inject_exception = svm_inject_exception,
    .flush_space = svm_flush_space,
    .get_cr4 = get_cr4,
    .read_registers = svm_read_registers,
    .write_registers = svm_write_registers,
};
