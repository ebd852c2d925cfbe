// SPDX-License-Identifier: Apache-2.0
// What the files of svm/ share: the per-vCPU state of the backend, and the functions behind struct
// vcpu_backend (their contracts: kernel/vcpu.h). AMD-V as VT-x: the same file names.
//
// The VMCB is memory, so it is there whether the vCPU is loaded or not. Between svm_open and
// svm_close the processor holds the guest's FS, GS, TR, LDTR and system-call MSRs, and takes no
// interrupt, NMI or machine check (GIF is 0): the loop of svm_enter handles most exits in there.
#pragma once

#include "include/svm.h"
#include "kernel/exception.h"
#include "kernel/vcpu.h"
#include "svm/vmcb.h"

extern struct svm_caps svm_caps; // constant once svm_backend.init was called

// What has to be done before the next entry. A word that is 0 in all hot paths.
enum svm_entry_work {
    WORK_CR2 = 1u << 0,     // the guest's CR2 is in vcpu->cr2, not in the VMCB
    WORK_IS_LEFT = 1u << 1, // page->rip, rsp, rflags are as in the VMCB
};

// NMIs are blocked from one's delivery to the end of its IRET, which AMD-V does not tell.
enum nmi_state {
    NMI_STATE_OPEN,
    NMI_STATE_BLOCKED, // IRET exits
    NMI_STATE_IRET,    // it has begun, at iret_rip
};

// For which reasons the guest runs one instruction with RFLAGS.TF set by us.
enum step_reason {
    STEP_FOR_VMM = 1u << 0, // VCPU_DIRTY_STEP
    STEP_FOR_NMI = 1u << 1, // an NMI waits for the end of IRET, or of STI's and MOV SS's shadow
};

// One page, vcpu->backend. All of it belongs to the owner thread.
struct svm_vcpu {
    struct vmcb *vmcb;
    hpa_t vmcb_at;
    uint32_t entry_work; // enum svm_entry_work
    bool is_open;        // between svm_open and svm_close
    uint8_t nmi_state;   // enum nmi_state
    uint8_t steps;       // enum step_reason
    bool has_own_tf;     // while it steps: TF was set by the guest, too
    uint32_t dr6_before; // the step: what #DB adds is new
    bool steps_event;    // the VMM's step is the delivery of an event
    uint64_t iret_rip;
    uint64_t cr0, cr4;         // as the guest sees them; of CR0_HOST and CR4.MCE only
    uint64_t cr0_own, cr4_own; // bits that the guest changes by itself
    uint64_t debugctl;         // the guest's; nothing of it is in force
    uint64_t spec_allowed;     // bits of SPEC_CTRL that the guest may set
    struct cpu *last_cpu;      // where the ASID is this vCPU's; NULL: nowhere
    uint64_t asid_generation;  // of last_cpu's ASIDs
};
_Static_assert(sizeof(struct svm_vcpu) <= PAGE_SIZE, "one page");

// Bits of CR0 that are the host's while the guest runs: this CPU's caches stay on, and errors of
// the FPU raise no interrupt outside. Of CR4 it is MCE: machine checks are the host's.
#define CR0_HOST (CR0_CD | CR0_NW | CR0_NE)

// ---- enter.c, load.c, state.c, registers.c ------------------------------------------------------

// Enters the guest with the registers of gpr[] but RAX, RSP and stores them after the exit. Of
// enter.c only.
enum exit_action svm_enter(struct vcpu *vcpu);
void svm_leave(struct vcpu *vcpu);
void svm_open(struct svm_vcpu *x);
void svm_close(struct svm_vcpu *x);
// Makes what VMSAVE stores readable in the VMCB.
void svm_save(struct svm_vcpu *x);
void svm_set_cr2(struct svm_vcpu *x, uint64_t cr2);
// The exit is the VMM's. `length` of the instruction; 0: unknown. Returns EXIT_VMM.
static inline enum exit_action svm_exit_to_vmm(struct vcpu *vcpu, enum vcpu_exit exit,
                                               uint32_t length) {
    vcpu->page->exit = exit;
    vcpu->page->instruction_length = length;
    return EXIT_VMM;
}
// How long the instruction is that exited: told by the processor, else without its prefixes.
uint32_t svm_length(const struct vmcb *vmcb, enum svm_exit row);
// Moves RIP: what ends with an instruction ends, and a debugger in the guest sees a step (true).
bool svm_move_rip(struct svm_vcpu *x, uint64_t rip);

void svm_load(struct vcpu *vcpu);
void svm_unload(struct vcpu *vcpu);

void svm_vcpu_create(struct vcpu *vcpu);

void svm_sync_registers(struct vcpu *vcpu, uint32_t dirty);
void svm_read_registers(struct vcpu *vcpu, struct vcpu_registers *registers);
void svm_write_registers(struct vcpu *vcpu, const struct vcpu_registers *registers);

// Control registers as the guest sees them, and for the guest.
uint64_t svm_get_cr0(const struct svm_vcpu *x);
uint64_t svm_get_cr4(const struct svm_vcpu *x);
void svm_set_long_mode(struct vmcb *vmcb);
void svm_set_cr0(struct svm_vcpu *x, uint64_t value);
void svm_set_cr4(struct svm_vcpu *x, uint64_t value);
// Without the TF of our steps.
static inline uint64_t svm_get_rflags(const struct svm_vcpu *x) {
    bool is_tf_ours = x->steps != 0 && !x->has_own_tf;
    return is_tf_ours ? x->vmcb->rflags & ~RFLAGS_TF : x->vmcb->rflags;
}
void svm_set_rflags(struct svm_vcpu *x, uint64_t value);
// The VMCB packs the attributes.
struct vcpu_segment svm_segment_to_vmm(struct vcpu_segment segment);
// The code that runs is of 64 bits.
static inline bool svm_is_64bit(const struct vmcb *vmcb) {
    return (vmcb->efer & EFER_LMA) && (vmcb->cs.attributes & SEGMENT_LONG);
}
// Everything the VMM needs to walk the guest's page tables and decode: page->walk.
void svm_fill_walk(struct vcpu *vcpu);

// Which processor's caches of the VMCB's parts are stale: CLEAN_* bits.
static inline void svm_touch(struct svm_vcpu *x, uint64_t parts) {
    x->vmcb->clean &= ~(uint32_t)parts;
}

// ---- inject.c -----------------------------------------------------------------------------------

bool svm_step(struct vcpu *vcpu);
// At an interrupt: the event is delivered whose delivery is the VMM's step.
bool svm_finish_event_step(struct vcpu *vcpu);
// While it steps: the kernel, or the VMM, has done the instruction. What happens next, instead of
// `action`.
enum exit_action svm_finish_step(struct vcpu *vcpu, enum exit_action action);
bool svm_can_take_interrupt(struct vcpu *vcpu);
enum nmi_gate svm_can_take_nmi(struct vcpu *vcpu);
void svm_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
void svm_inject_nmi(struct vcpu *vcpu);
void svm_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error);
// The exit came in the middle of the delivery of an event: queues that event again.
void svm_requeue_event(struct svm_vcpu *x);
// An instruction was carried out for a guest that single-steps: #DB comes behind it.
void svm_trap_after_step(struct svm_vcpu *x);
// Queues the VMM's event for the next entry, or none; no window stays, nor a step of ours.
void svm_restore_event(struct vcpu *vcpu, const struct vcpu_inject *event, bool has_event);
void svm_set_nmi_blocked(struct svm_vcpu *x, bool is_blocked);

// ---- apic.c, tlb.c, backend.c -------------------------------------------------------------------

void svm_sync_apic(struct vcpu *vcpu);
// Around each entry: V_TPR is the page's register, which the guest may have written.
static inline void svm_give_tpr(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    uint64_t tpr = vlapic_get_cr8(vcpu);
    if ((x->vmcb->interrupt & VINTR_TPR) == tpr)
        return;
    x->vmcb->interrupt = (x->vmcb->interrupt & ~VINTR_TPR) | tpr;
    svm_touch(x, CLEAN_INTERRUPT);
}
static inline void svm_take_tpr(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    uint64_t tpr = x->vmcb->interrupt & VINTR_TPR;
    if (tpr != vlapic_get_cr8(vcpu))
        vlapic_set_cr8(vcpu, (uint8_t)tpr);
}

// Whether the vCPU's ASID is its own on this CPU still.
bool svm_has_asid(const struct svm_vcpu *x, const struct cpu *cpu);
void svm_take_asid(struct svm_vcpu *x, struct cpu *cpu);
// The CPU may not have done the flush that came with an ASID: it is due again.
void svm_forget_asids(const struct cpu *cpu);
// No translation that the guest has used so far is used again.
void svm_flush_space(struct vcpu *vcpu);
