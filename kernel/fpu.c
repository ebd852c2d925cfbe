// SPDX-License-Identifier: Apache-2.0
// See kernel/fpu.h.
#include "kernel/fpu.h"

#include "arch/cpu.h"
#include "kernel/vcpu.h"

// CR0.TS closes the FPU against ring 3 (features_enable); it is opened around the moves only.
static void close_fpu(void) {
    x86_write_cr0(x86_read_cr0() | CR0_TS);
}

static void load_registers(const struct vcpu *vcpu) {
    x86_write_dr0(vcpu->dr[0]);
    x86_write_dr1(vcpu->dr[1]);
    x86_write_dr2(vcpu->dr[2]);
    x86_write_dr3(vcpu->dr[3]);
    if (cpu_features.has_rdtscp)
        x86_wrmsr(MSR_TSC_AUX, vcpu->tsc_aux);
}

void fpu_load(const struct vcpu *vcpu) {
    load_registers(vcpu);
    x86_clts();
    if (cpu_features.has_xsave) {
        uint64_t mask = cpu_features.xcr0_mask;
        if (x86_xgetbv(0) != mask) // where XSETBV does not exit (QEMU 7.2) it may be anything
            x86_xsetbv(0, mask);
        x86_xrstor(vcpu->xsave, mask);
        if (vcpu->xcr0 != mask)
            x86_xsetbv(0, vcpu->xcr0);
    } else {
        x86_fxrstor(vcpu->xsave);
    }
    close_fpu();
}

void fpu_unload(struct vcpu *vcpu) {
    vcpu->dr[0] = x86_read_dr0();
    vcpu->dr[1] = x86_read_dr1();
    vcpu->dr[2] = x86_read_dr2();
    vcpu->dr[3] = x86_read_dr3();
    if (cpu_features.has_rdtscp)
        vcpu->tsc_aux = x86_rdmsr(MSR_TSC_AUX);
    x86_clts();
    if (cpu_features.has_xsave) {
        uint64_t mask = cpu_features.xcr0_mask;
        if (vcpu->xcr0 != mask)
            x86_xsetbv(0, mask);
        x86_xsave(vcpu->xsave, mask);
    } else {
        x86_fxsave(vcpu->xsave);
    }
    close_fpu();
}

void fpu_forget(void) {
    static const uint8_t initial[PAGE_SIZE] __attribute__((aligned(64))) = {
        [0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f}; // FCW, MXCSR; no feature in use
    static const struct vcpu nobody;
    load_registers(&nobody);
    x86_clts();
    if (cpu_features.has_xsave)
        x86_xrstor(initial, cpu_features.xcr0_mask);
    else
        x86_fxrstor(initial);
    close_fpu();
}
