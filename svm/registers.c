// SPDX-License-Identifier: Apache-2.0
// What the VMCB holds of a vCPU's registers, for its VMM: one table of where each member of struct
// vcpu_registers stands serves reading and writing. Values are the VMM's. What no processor can
// have, VMRUN refuses, and that ends that VM alone; what is the host's is kept out here.
#include "svm/svm.h"

#include "lib/string.h"

#define RFLAGS_DEFINED 0x3f7fd7ULL
#define EFER_GUEST     (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

// Interruptibility as VT-x has it (include/abi.h).
#define BLOCKING_BY_STI BIT(0)
#define BLOCKING_BY_NMI BIT(3)

#define PENDING_SINGLE_STEP BIT(14) // as in DR6

#define SEGMENT_LOW     0xffu  // attributes: type, S, DPL, P
#define SEGMENT_HIGH    0xf00u // AVL, L, D, G, in the VMCB's place
#define SEGMENT_PRESENT 0x80u
#define SEGMENT_DPL_AT  5

// ---- control registers --------------------------------------------------------------------------

uint64_t svm_get_cr0(const struct svm_vcpu *x) {
    return (x->vmcb->cr0 & ~CR0_HOST) | (x->cr0 & CR0_HOST);
}

uint64_t svm_get_cr4(const struct svm_vcpu *x) {
    return (x->vmcb->cr4 & CR4_GUEST) | (x->cr4 & ~CR4_GUEST);
}

// The guest reads a register by itself when it stands there as the guest sees it, and then a write
// of CR0 that changes TS or MP alone does not exit, either.
static void set_intercepts(struct svm_vcpu *x) {
    bool is_cr0_plain = svm_get_cr0(x) == x->vmcb->cr0,
         is_cr4_plain = svm_get_cr4(x) == x->vmcb->cr4;
    uint64_t bits = x->vmcb->intercept_cr & INTERCEPT_CR_WRITE(8);
    bits |= INTERCEPT_CR_WRITE(4);
    bits |= is_cr0_plain ? 0 : INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0);
    bits |= is_cr4_plain ? 0 : INTERCEPT_CR_READ(4);
    x->vmcb->intercept_cr = (uint32_t)bits;
    svm_touch(x, CLEAN_INTERCEPTS | CLEAN_CONTROL);
    x->last_cpu = NULL; // no translation that the guest has used so far is used again
}

// APM 2 14.6.1 "Activating Long Mode": where it is enabled and paging is on.
void svm_set_long_mode(struct vmcb *vmcb) {
    vmcb->efer &= ~EFER_LMA;
    vmcb->efer |= (vmcb->efer & EFER_LME) && (vmcb->cr0 & CR0_PG) ? EFER_LMA : 0;
}

void svm_set_cr0(struct svm_vcpu *x, uint64_t value) {
    struct vmcb *vmcb = x->vmcb;
    x->cr0 = value;
    vmcb->cr0 = (value & ~(CR0_CD | CR0_NW)) | CR0_NE | CR0_ET;
    svm_set_long_mode(vmcb);
    set_intercepts(x);
}

void svm_set_cr4(struct svm_vcpu *x, uint64_t value) {
    uint64_t may = cpu_features.has_xsave ? CR4_GUEST : CR4_GUEST & ~CR4_OSXSAVE;
    x->cr4 = value;
    x->vmcb->cr4 = (value & may) | (x86_read_cr4() & CR4_MCE);
    set_intercepts(x);
}

static __attribute__((noinline)) void accept_control(struct vcpu *vcpu) {
    struct vcpu_exit_control control = vcpu->page->control;
    __asm__ volatile("" : "+m"(control)); // one look: the page is shared
    if (control.number == 0)
        svm_set_cr0(vcpu->backend, control.value);
    else if (control.number == 4)
        svm_set_cr4(vcpu->backend, control.value);
    else if (control.number == 8)
        vlapic_set_cr8(vcpu, control.value & VINTR_TPR);
}

void svm_sync_registers(struct vcpu *vcpu, uint32_t dirty) {
    struct svm_vcpu *x = vcpu->backend;
    const struct vcpu_page *page = vcpu->page;
    if (dirty & VCPU_DIRTY_RIP) {
        svm_move_rip(x, page->rip);
        if (x->steps != 0 && !vcpu->is_stepping)
            (void)svm_finish_step(vcpu, EXIT_RETRY);
    }
    if (dirty & VCPU_DIRTY_RSP)
        x->vmcb->rsp = page->gpr[GPR_RSP];
    if (dirty & VCPU_DIRTY_RFLAGS)
        svm_set_rflags(x, (page->rflags & RFLAGS_DEFINED) | RFLAGS_ONE);
    if (dirty & VCPU_DIRTY_CONTROL)
        accept_control(vcpu);
    // What was written may not be what the page says: the next `leave` reads it again.
    x->entry_work &= ~(uint32_t)WORK_IS_LEFT;
}

// ---- segments -----------------------------------------------------------------------------------

// What is not present is what VT-x calls unusable.
struct vcpu_segment svm_segment_to_vmm(struct vcpu_segment segment) {
    uint32_t packed = segment.attributes;
    uint32_t attributes = (packed & SEGMENT_LOW) | (packed & SEGMENT_HIGH) << 4;
    segment.attributes =
        (uint16_t)(packed & SEGMENT_PRESENT ? attributes : attributes | VCPU_SEGMENT_UNUSABLE);
    return segment;
}

static struct vcpu_segment segment_from_vmm(struct vcpu_segment segment) {
    uint32_t attributes = segment.attributes;
    bool is_unusable = attributes & VCPU_SEGMENT_UNUSABLE;
    attributes = (attributes & SEGMENT_LOW) | (attributes >> 4 & SEGMENT_HIGH);
    segment.attributes = (uint16_t)(is_unusable ? attributes & ~SEGMENT_PRESENT : attributes);
    return segment;
}

// ---- all of it ----------------------------------------------------------------------------------

#define PLACE(member, at)                                                                          \
    { offsetof(struct vcpu_registers, member), offsetof(struct vmcb, at) }
static const struct {
    uint16_t member, at;
} places[] = {
    PLACE(gpr[GPR_RSP], rsp),
    PLACE(rip, rip),
    PLACE(cr3, cr3),
    PLACE(dr6, dr6),
    PLACE(dr7, dr7),
    PLACE(star, star),
    PLACE(lstar, lstar),
    PLACE(cstar, cstar),
    PLACE(sfmask, sfmask),
    PLACE(kernel_gs_base, kernel_gs_base),
    PLACE(pat, g_pat),
    PLACE(sysenter_cs, sysenter_cs),
    PLACE(sysenter_esp, sysenter_esp),
    PLACE(sysenter_eip, sysenter_eip),
    PLACE(gdtr.base, gdtr.base),
    PLACE(idtr.base, idtr.base),
};

// Of ES CS SS DS FS GS LDTR TR, as struct vcpu_registers has them, in the VMCB's row.
static const uint8_t segment_at[] = {0, 1, 2, 3, 4, 5, 7, 9};

void svm_read_registers(struct vcpu *vcpu, struct vcpu_registers *r) {
    const struct svm_vcpu *x = vcpu->backend;
    const struct vmcb *vmcb = x->vmcb;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++)
        memcpy((uint8_t *)r + places[i].member, (const uint8_t *)vmcb + places[i].at,
               sizeof(uint64_t));
    for (size_t i = 0; i < ARRAY_COUNT(segment_at); i++)
        (&r->es)[i] = svm_segment_to_vmm((&vmcb->es)[segment_at[i]]);
    // The CPL is that of SS, as VT-x has it.
    r->ss.attributes &= (uint16_t) ~(3u << SEGMENT_DPL_AT);
    r->ss.attributes |= (uint16_t)((vmcb->cpl & 3u) << SEGMENT_DPL_AT);
    r->gdtr.limit = vmcb->gdtr.limit;
    r->idtr.limit = vmcb->idtr.limit;
    r->rflags = svm_get_rflags(x);
    r->cr0 = svm_get_cr0(x);
    r->cr4 = svm_get_cr4(x);
    r->cr0_own = x->cr0_own;
    r->cr4_own = x->cr4_own;
    r->efer = vmcb->efer & ~EFER_SVME;
    r->debugctl = x->debugctl;
    r->spec_ctrl = vmcb->spec_ctrl & x->spec_allowed;
    r->spec_ctrl_own = x->spec_allowed;
    r->pending_debug = 0;
    for (size_t i = 0; i < ARRAY_COUNT(r->pdpte); i++)
        r->pdpte[i] = 0;
    r->interruptibility = vmcb->shadow & SHADOW_STI_MOV_SS ? (uint32_t)BLOCKING_BY_STI : 0;
    bool is_nmi_blocked = x->nmi_state == NMI_STATE_BLOCKED ||
                          (x->nmi_state == NMI_STATE_IRET && vmcb->rip == x->iret_rip);
    r->interruptibility |= is_nmi_blocked ? (uint32_t)BLOCKING_BY_NMI : 0;
    r->has_pending = (vmcb->event & EVENT_VALID) != 0;
    r->pending = exception_to_vmm(vmcb->event);
}

void svm_write_registers(struct vcpu *vcpu, const struct vcpu_registers *r) {
    struct svm_vcpu *x = vcpu->backend;
    struct vmcb *vmcb = x->vmcb;
    for (size_t i = 0; i < ARRAY_COUNT(places); i++)
        memcpy((uint8_t *)vmcb + places[i].at, (const uint8_t *)r + places[i].member,
               sizeof(uint64_t));
    for (size_t i = 0; i < ARRAY_COUNT(segment_at); i++)
        (&vmcb->es)[segment_at[i]] = segment_from_vmm((&r->es)[i]);
    vmcb->cpl = r->ss.attributes >> SEGMENT_DPL_AT & 3;
    vmcb->gdtr.limit = r->gdtr.limit;
    vmcb->idtr.limit = r->idtr.limit;
    svm_restore_event(vcpu, &r->pending, r->has_pending != 0);
    svm_set_rflags(x, r->rflags);
    vmcb->efer = (r->efer & EFER_GUEST) | EFER_SVME;
    x->cr0_own = r->cr0_own;
    x->cr4_own = r->cr4_own;
    svm_set_cr0(x, r->cr0);
    svm_set_cr4(x, r->cr4);
    vmcb->tsc_offset = vcpu->tsc_offset;
    vmcb->shadow = r->interruptibility & (BLOCKING_BY_STI | BIT(1)) ? SHADOW_STI_MOV_SS : 0;
    svm_set_nmi_blocked(x, (r->interruptibility & BLOCKING_BY_NMI) != 0);
    if (r->pending_debug & PENDING_SINGLE_STEP)
        svm_trap_after_step(x);
    x->debugctl = r->debugctl;
    x->spec_allowed = svm_caps.has_spec_ctrl ? r->spec_ctrl_own : 0;
    vmcb->spec_ctrl = r->spec_ctrl & x->spec_allowed;
    vmcb->clean = 0;
    x->entry_work = WORK_CR2 | WORK_IS_LEFT;
}
