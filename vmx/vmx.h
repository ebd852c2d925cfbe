// SPDX-License-Identifier: Apache-2.0
// What the files of vmx/ share: the per-vCPU state of the backend, and the functions behind struct
// vcpu_backend (their contracts: kernel/vcpu.h).
//
// The life of a vCPU here: vmx_vcpu_create; vmx_load; then vmx_enter and the small operations
// between entries; vmx_unload; ... "VMCS current" below means between load and unload.
#pragma once

#include "include/vmx.h"
#include "kernel/vcpu.h"
#include "vmx/layout.h"
#include "vmx/vmcs.h"

// What has to be done before the next entry. A word that is 0 in all hot paths.
enum vmx_entry_work {
    WORK_CR2 = 1u << 0,     // the guest's CR2 is in vcpu->cr2, not in the processor
    WORK_IS_LEFT = 1u << 1, // page->rip, rsp, rflags are as in the VMCS
};

// SDM 3C 25.7.2 "VM-Exit Controls for MSRs".
struct vmx_msr {
    uint32_t index, reserved;
    uint64_t value;
};
_Static_assert(sizeof(struct vmx_msr) == 16, "Table 25-15");

extern struct vmx_caps vmx_caps; // constant once vmx_backend.init was called

// Physical address of the bitmap that opens these.
static inline uint64_t vmx_msr_bitmap(bool is_apic_open, bool is_spec_open) {
    uint32_t index = (is_apic_open ? VMX_BITMAP_APIC : 0u) | (is_spec_open ? VMX_BITMAP_SPEC : 0u);
    return vmx_caps.msr_bitmaps + index * PAGE_SIZE;
}

// One page, vcpu->backend. All of it belongs to the owner thread.
struct vmx_vcpu {
    uint64_t pushed;      // enter.S: below HOST_RSP
    uint64_t *gpr;        // at HOST_RSP: the page's
    uint64_t rsp;         // of vmx_enter, while the guest runs
    uint32_t is_launched; // the VMCS's launch state
    uint32_t entry_work;  // enum vmx_entry_work
    hpa_t vmcs;
    struct cpu *last_cpu; // whose host state the VMCS holds; NULL: none yet
    uint32_t primary;     // what VMCS_PRIMARY_CONTROLS holds
    uint32_t secondary;   // VMCS_SECONDARY_CONTROLS but for virtualizing x2APIC mode
    bool is_apic_open;    // x2APIC mode is virtualized
    uint16_t vpid;        // 0: this machine has none
    uint64_t cr0_mask;    // what VMCS_CR0_GUEST_HOST_MASK holds: bits that are ours
    uint64_t cr4_mask;
    uint64_t spec_allowed; // bits of IA32_SPEC_CTRL that the guest may set; 0: it has none
    bool is_spec_moved;    // entries and exits change that register; the guest reaches it
    _Alignas(16) struct vmx_msr spec_guest, spec_host; // what the guest has, and the host
};
_Static_assert(offsetof(struct vmx_vcpu, gpr) == VMX_VCPU_GPR, "enter.S");
_Static_assert(offsetof(struct vmx_vcpu, rsp) == VMX_VCPU_RSP, "enter.S");
_Static_assert(offsetof(struct vmx_vcpu, is_launched) == VMX_VCPU_IS_LAUNCHED, "enter.S");
_Static_assert(ASM_VMCS_EXIT_REASON == VMCS_EXIT_REASON, "enter.S");
_Static_assert(sizeof(struct vmx_vcpu) <= PAGE_SIZE, "one page");

// IA32_DEBUGCTL: SDM 3B 18.4.1 "IA32_DEBUGCTL MSR".
#define DEBUGCTL_BTF BIT(1)

// ---- enter.S ------------------------------------------------------------------------------------

// vmx_switch enters the guest with the general registers of gpr[] (but RSP) and stores them there
// after the exit. It ends with the exit reason, or VMX_REFUSED when there was no exit because VT-x
// refused the VMCS. enter.c's only.
extern const uint8_t vmx_exit_entry[]; // HOST_RIP

// ---- enter.c, load.c, state.c, registers.c ------------------------------------------------------

enum exit_action vmx_enter(struct vcpu *vcpu);
void vmx_leave(struct vcpu *vcpu);
// The exit is the VMM's: what it is, and how long its instruction. Returns EXIT_VMM.
enum exit_action vmx_exit_to_vmm(struct vcpu *vcpu, enum vcpu_exit exit);
// An instruction that was carried out for the guest ends here: cut to what its mode has.
uint64_t vmx_wrap_rip(uint64_t rip);
// An instruction was carried out for a guest that single-steps: #DB comes behind it.
void vmx_trap_after_step(void);

void vmx_load(struct vcpu *vcpu);
void vmx_unload(struct vcpu *vcpu);
void vmx_forget(void);

void vmx_vcpu_create(struct vcpu *vcpu);

void vmx_sync_registers(struct vcpu *vcpu, uint32_t dirty);
void vmx_read_registers(struct vcpu *vcpu, struct vcpu_registers *registers);
void vmx_write_registers(struct vcpu *vcpu, const struct vcpu_registers *registers);

// Control registers as the guest sees them. VMCS current.
uint64_t vmx_get_cr0(const struct vmx_vcpu *x);
uint64_t vmx_get_cr4(const struct vcpu *vcpu);
// Everything the VMM needs to walk the guest's page tables and decode: page->walk. VMCS current.
void vmx_fill_walk(struct vcpu *vcpu);

// ---- inject.c -----------------------------------------------------------------------------------

bool vmx_step(struct vcpu *vcpu);
bool vmx_can_take_interrupt(struct vcpu *vcpu);
enum nmi_gate vmx_can_take_nmi(struct vcpu *vcpu);
void vmx_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
void vmx_inject_nmi(struct vcpu *vcpu);
void vmx_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error);
// After an exit that can come in the middle of the delivery of an event: queues that event again,
// or restores what IRET's NMI unblocking lost. True: an event was being delivered.
bool vmx_requeue_event(struct vcpu *vcpu, bool is_nmi_unblocked);

// GUEST_INTERRUPTIBILITY: SDM 3C Table 25-3 "Format of Interruptibility State".
#define BLOCKING_BY_STI    BIT(0)
#define BLOCKING_BY_MOV_SS BIT(1)
#define BLOCKING_BY_NMI    BIT(3)
// What the end of an instruction ends.
#define BLOCKING_UNTIL_NEXT (uint32_t)(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)

// GUEST_PENDING_DEBUG: SDM 3C Table 25-4 "Format of Pending-Debug-Exceptions".
#define PENDING_DEBUG_ENABLED     BIT(12) // a breakpoint of DR7 was met
#define PENDING_DEBUG_SINGLE_STEP BIT(14)
#define PENDING_DEBUG_ANY         (PENDING_DEBUG_ENABLED | PENDING_DEBUG_SINGLE_STEP)

// Access rights of a segment: SDM 3C Table 25-2 "Format of Access Rights".
#define SEGMENT_DPL       (BIT(5) | BIT(6))
#define SEGMENT_DPL_SHIFT 5
#define SEGMENT_LONG      BIT(13)
#define SEGMENT_DB        BIT(14)
#define SEGMENT_UNUSABLE  BIT(16)

// ---- apic.c -------------------------------------------------------------------------------------

// For a fresh VMCS: the fields that stay, and what the processor will do (vlapic->abilities).
void vmx_apic_create(struct vcpu *vcpu);
void vmx_sync_apic(struct vcpu *vcpu);

// ---- speculation.c ------------------------------------------------------------------------------

// For a fresh VMCS. The guest's IA32_SPEC_CTRL is 0, and not moved.
void speculation_create(struct vmx_vcpu *x);
// The vCPU comes to another CPU: learns what the host has there.
void speculation_load(struct vmx_vcpu *x);
// The guest's value is this, bits of spec_allowed. It stands in x->spec_guest.value always.
void speculation_write(struct vmx_vcpu *x, uint64_t value);

// ---- tlb.c --------------------------------------------------------------------------------------

void vmx_flush_vpid(uint16_t vpid); // this CPU; 0: nothing
void vmx_flush_space(struct vcpu *vcpu);
