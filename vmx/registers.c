// SPDX-License-Identifier: Apache-2.0
// A vCPU's registers as a whole, for its VMM: to set up the boot state, to save and to restore.
// What comes in is checked first and then taken without a way to fail. Values that VM entry itself
// checks (segments, mostly) are left to it: it refuses them, and that ends that VM only. Checked
// here is whatever would fault in the kernel, or be taken silently.
#include "vmx/cr.h"
#include "vmx/state.h"

#define RFLAGS_DEFINED       0x3f7fd7ULL
#define DR_UPPER             0xffffffff00000000ULL
#define INSTRUCTION_MAX      15u
#define INTERRUPTIBILITY_MAY (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI)

void vmx_sync_registers(struct vcpu *vcpu, uint32_t dirty) {
    struct vmx_vcpu *x = vcpu->backend;
    const struct vcpu_page *page = vcpu->page;
    if (dirty & VCPU_DIRTY_RIP) {
        // The VMM stepped over an instruction whose mode it may not know.
        uint64_t rip = page->rip;
        if ((uint32_t)rip < INSTRUCTION_MAX)
            rip = vmx_wrap_rip(rip);
        vmcs_write(VMCS_GUEST_RIP, rip);
        uint32_t interruptibility = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
        const uint32_t ended = BLOCKING_UNTIL_NEXT;
        if (interruptibility & ended)
            vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~ended);
        if (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF)
            vmx_trap_after_step();
    }
    if (dirty & VCPU_DIRTY_RSP)
        vmcs_write(VMCS_GUEST_RSP, page->gpr[GPR_RSP]);
    if (dirty & VCPU_DIRTY_RFLAGS)
        vmcs_write(VMCS_GUEST_RFLAGS, (page->rflags & RFLAGS_DEFINED) | RFLAGS_ONE);
    // What was written may not be what the page says: the next `leave` reads it again.
    x->entry_work &= ~(uint32_t)WORK_IS_LEFT;
}

// In the order of enum vmcs_segment.
_Static_assert(offsetof(struct vcpu_registers, tr) - offsetof(struct vcpu_registers, es) ==
                   VMCS_TR * sizeof(struct vcpu_segment),
               "es cs ss ds fs gs ldtr tr");

static void read_segments(struct vcpu_registers *registers) {
    struct vcpu_segment *segments = &registers->es;
    for (enum vmcs_segment segment = VMCS_ES; segment < VMCS_SEGMENT_COUNT; segment++)
        segments[segment] = state_get_segment(segment);
    registers->gdtr = (struct vcpu_segment){.base = vmcs_read(VMCS_GUEST_GDTR_BASE),
                                            .limit = vmcs_read32(VMCS_GUEST_GDTR_LIMIT)};
    registers->idtr = (struct vcpu_segment){.base = vmcs_read(VMCS_GUEST_IDTR_BASE),
                                            .limit = vmcs_read32(VMCS_GUEST_IDTR_LIMIT)};
}

static void read_msrs(const struct vcpu *vcpu, struct vcpu_registers *registers) {
    const struct vmx_vcpu *x = vcpu->backend;
    // An emulator may take more than its CPUID shows; what is read here can be written.
    registers->spec_ctrl = x->spec_guest.value & x->spec_allowed;
    registers->efer = vmcs_read64(VMCS_GUEST_EFER);
    registers->pat = vmcs_read64(VMCS_GUEST_PAT);
    registers->star = vcpu->star;
    registers->lstar = vcpu->lstar;
    registers->cstar = vcpu->cstar;
    registers->sfmask = vcpu->sfmask;
    registers->kernel_gs_base = vcpu->kernel_gs_base;
    registers->tsc_aux = vcpu->tsc_aux;
    registers->debugctl = vmcs_read64(VMCS_GUEST_DEBUGCTL);
    registers->sysenter_cs = vmcs_read32(VMCS_GUEST_SYSENTER_CS);
    registers->sysenter_esp = vmcs_read(VMCS_GUEST_SYSENTER_ESP);
    registers->sysenter_eip = vmcs_read(VMCS_GUEST_SYSENTER_EIP);
    registers->xcr0 = vcpu->xcr0;
}

void vmx_read_registers(struct vcpu *vcpu, struct vcpu_registers *registers) {
    struct vmx_vcpu *x = vcpu->backend;
    load_store_registers(vcpu);
    vmx_leave(vcpu);
    for (unsigned i = 0; i < ARRAY_COUNT(registers->gpr); i++)
        registers->gpr[i] = vcpu->page->gpr[i];
    registers->gpr[GPR_RSP] = vmcs_read(VMCS_GUEST_RSP);
    registers->rip = vmcs_read(VMCS_GUEST_RIP);
    registers->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    registers->cr0 = vmx_get_cr0(x);
    registers->cr2 = vcpu->cr2;
    registers->cr3 = vmcs_read(VMCS_GUEST_CR3);
    registers->cr4 = vmx_get_cr4(x);
    for (unsigned i = 0; i < ARRAY_COUNT(registers->dr); i++)
        registers->dr[i] = vcpu->dr[i];
    registers->dr6 = vcpu->dr6;
    registers->dr7 = vmcs_read(VMCS_GUEST_DR7);
    for (unsigned i = 0; i < ARRAY_COUNT(registers->pdpte); i++)
        registers->pdpte[i] = vmcs_read64(VMCS_PDPTE(i));
    read_segments(registers);
    read_msrs(vcpu, registers);
    registers->pending_debug = vmcs_read(VMCS_GUEST_PENDING_DEBUG);
    registers->interruptibility = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    registers->has_pending = inject_save(&registers->pending);
}

static bool are_segments_valid(const struct vcpu_registers *registers) {
    const struct vcpu_segment *segments = &registers->es;
    for (enum vmcs_segment segment = VMCS_ES; segment < VMCS_SEGMENT_COUNT; segment++)
        if ((segments[segment].attributes & ~(SEGMENT_ATTRIBUTES | VCPU_SEGMENT_UNUSABLE)) ||
            !is_canonical(segments[segment].base))
            return false;
    return is_canonical(registers->gdtr.base) && is_canonical(registers->idtr.base) &&
           registers->gdtr.limit <= UINT16_MAX && registers->idtr.limit <= UINT16_MAX;
}

static bool are_msrs_valid(const struct vmx_vcpu *x, const struct vcpu_registers *registers) {
    bool is_xcr0_valid = cpu_features.has_xsave ? xcr0_is_valid(registers->xcr0, x->xcr0_allowed)
                                                : registers->xcr0 == XCR0_X87;
    return is_xcr0_valid && !(registers->spec_ctrl & ~x->spec_allowed) &&
           pat_is_valid(registers->pat) && is_canonical(registers->lstar) &&
           is_canonical(registers->cstar) && is_canonical(registers->kernel_gs_base) &&
           registers->sfmask <= UINT32_MAX && registers->tsc_aux <= UINT32_MAX &&
           registers->sysenter_cs <= UINT32_MAX && !(registers->debugctl & ~DEBUGCTL_MAY) &&
           is_canonical(registers->sysenter_esp) && is_canonical(registers->sysenter_eip);
}

static bool are_registers_valid(const struct vmx_vcpu *x, const struct vcpu_registers *registers) {
    if (!cr_state_is_valid(registers->cr0, registers->cr4, registers->efer, x->cr4_allowed,
                           x->efer_allowed))
        return false;
    if (registers->cr3 >> cpu_features.physical_bits)
        return false;
    if ((registers->rflags & ~RFLAGS_DEFINED) || !(registers->rflags & RFLAGS_ONE))
        return false;
    if ((registers->dr6 | registers->dr7) & DR_UPPER)
        return false;
    const uint32_t either = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
    if ((registers->interruptibility & ~INTERRUPTIBILITY_MAY) ||
        (registers->interruptibility & either) == either)
        return false;
    if (registers->has_pending &&
        !inject_is_valid(&registers->pending, (registers->cr0 & CR0_PE) != 0))
        return false;
    return are_segments_valid(registers) && are_msrs_valid(x, registers);
}

static void write_segments(const struct vcpu_registers *registers) {
    const struct vcpu_segment *segments = &registers->es;
    for (enum vmcs_segment segment = VMCS_ES; segment < VMCS_SEGMENT_COUNT; segment++)
        state_set_segment(segment, &segments[segment]);
    vmcs_write(VMCS_GUEST_GDTR_BASE, registers->gdtr.base);
    vmcs_write32(VMCS_GUEST_GDTR_LIMIT, registers->gdtr.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, registers->idtr.base);
    vmcs_write32(VMCS_GUEST_IDTR_LIMIT, registers->idtr.limit);
}

static void write_msrs(struct vcpu *vcpu, const struct vcpu_registers *registers) {
    speculation_write(vcpu->backend, registers->spec_ctrl);
    vmcs_write64(VMCS_GUEST_PAT, registers->pat);
    vcpu->star = registers->star;
    vcpu->lstar = registers->lstar;
    vcpu->cstar = registers->cstar;
    vcpu->sfmask = registers->sfmask;
    vcpu->kernel_gs_base = registers->kernel_gs_base;
    vcpu->tsc_aux = registers->tsc_aux;
    vmcs_write64(VMCS_GUEST_DEBUGCTL, registers->debugctl);
    vmcs_write32(VMCS_GUEST_SYSENTER_CS, (uint32_t)registers->sysenter_cs);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, registers->sysenter_esp);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, registers->sysenter_eip);
    vcpu->xcr0 = registers->xcr0;
    if (cpu_features.has_xsave)
        x86_xsetbv(0, vcpu->xcr0);
}

static void write_control_registers(struct vmx_vcpu *x, const struct vcpu_registers *registers) {
    state_set_cr0(x, registers->cr0);
    vmcs_write(VMCS_GUEST_CR3, registers->cr3);
    state_set_cr4(x, registers->cr4);
    state_set_efer(x, registers->efer);
    for (unsigned i = 0; i < ARRAY_COUNT(registers->pdpte); i++)
        vmcs_write64(VMCS_PDPTE(i), registers->pdpte[i]);
}

int vmx_write_registers(struct vcpu *vcpu, const struct vcpu_registers *registers) {
    struct vmx_vcpu *x = vcpu->backend;
    if (!are_registers_valid(x, registers))
        return ABI_ERROR_ARGUMENT;
    struct vcpu_page *page = vcpu->page;
    for (unsigned i = 0; i < ARRAY_COUNT(registers->gpr); i++)
        page->gpr[i] = registers->gpr[i];
    page->rip = registers->rip;
    page->rflags = registers->rflags;
    vmcs_write(VMCS_GUEST_RSP, registers->gpr[GPR_RSP]);
    vmcs_write(VMCS_GUEST_RIP, registers->rip);
    vmcs_write(VMCS_GUEST_RFLAGS, registers->rflags);
    vcpu->cr2 = registers->cr2;
    for (unsigned i = 0; i < ARRAY_COUNT(registers->dr); i++)
        vcpu->dr[i] = registers->dr[i];
    vcpu->dr6 = registers->dr6;
    vmcs_write(VMCS_GUEST_DR7, registers->dr7);
    write_control_registers(x, registers);
    write_segments(registers);
    write_msrs(vcpu, registers);
    load_reload_registers(vcpu);
    vmx_flush_vpid(x->vpid); // of what the registers before led to
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, registers->pending_debug);
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, registers->interruptibility);
    inject_restore(vcpu, &registers->pending, registers->has_pending != 0);
    x->entry_work |= WORK_CR2 | WORK_IS_LEFT;
    return ABI_OK;
}
