// SPDX-License-Identifier: Apache-2.0
// Events on their way into the guest. One event at a time is queued for the next entry, in the
// VMCS's VM-entry interruption-information field, whose valid bit an exit clears. SDM 3C 25.8.3
// "VM-Entry Controls for Event Injection", SDM 3C 27.6 "Event Injection"; requeueing: SDM 3C 28.2.4
// "Information for VM Exits During Event Delivery".
//
// What a VMM orders while the guest runs is made valid here; what it restores (inject_restore) is
// VT-x's to refuse.
#include "vmx/inject.h"
#include "vmx/exit.h"
#include "vmx/registers.h"

static void queue_event(uint64_t event, uint32_t length) {
    vmcs_write32(VMCS_ENTRY_INTERRUPTION_INFO, (uint32_t)event);
    if (event & EVENT_HAS_ERROR)
        vmcs_write32(VMCS_ENTRY_EXCEPTION_ERROR, event >> EVENT_ERROR_SHIFT & EVENT_ERROR_MASK);
    if (event_has_length(event))
        vmcs_write32(VMCS_ENTRY_INSTRUCTION_LENGTH, length);
}

static void set_primary(struct vmx_vcpu *x, uint32_t value) {
    if (value == x->primary)
        return;
    x->primary = value;
    vmcs_write32(VMCS_PRIMARY_CONTROLS, value);
}

// Nothing goes in where something is queued, nor where a #DB of the instruction before is due: it
// comes first, and an entry that injects would lose it (SDM 3C 27.7.3 "Delivery of Pending Debug
// Exceptions after VM Entry").
static bool is_occupied(void) {
    return (vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO) & EVENT_VALID) ||
           (vmcs_read(VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_ANY);
}

bool vmx_can_take_interrupt(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    const uint32_t blocking = BLOCKING_UNTIL_NEXT;
    if ((vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_IF) &&
        !(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & blocking) && !is_occupied())
        return true;
    set_primary(x, x->primary | (uint32_t)PRIMARY_INTERRUPT_WINDOW_EXITING);
    return false;
}

enum nmi_gate vmx_can_take_nmi(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    uint32_t blocking = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    uint32_t queued = vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO) & (EVENT_VALID | EVENT_TYPE);
    if (!(blocking & (BLOCKING_UNTIL_NEXT | BLOCKING_BY_NMI)) && !is_occupied())
        return NMI_OPEN;
    set_primary(x, x->primary | (uint32_t)PRIMARY_NMI_WINDOW_EXITING);
    bool is_in_service = (blocking & BLOCKING_BY_NMI) || queued == (EVENT_VALID | EVENT_NMI);
    return is_in_service ? NMI_IN_SERVICE : NMI_SHUT;
}

enum exit_action exit_interrupt_window(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    set_primary(x, x->primary & ~(uint32_t)PRIMARY_INTERRUPT_WINDOW_EXITING);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    return EXIT_RETRY;
}

enum exit_action exit_nmi_window(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    set_primary(x, x->primary & ~(uint32_t)PRIMARY_NMI_WINDOW_EXITING);
    vcpu_post_to_self(vcpu, VCPU_PENDING_NMI);
    return EXIT_RETRY;
}

// SDM 3C 26.5.2 "Monitor Trap Flag".
bool vmx_step(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    if (!vmx_caps.has_trap_flag)
        return false;
    set_primary(x, x->primary | (uint32_t)PRIMARY_MONITOR_TRAP_FLAG);
    return true;
}

enum exit_action exit_monitor_trap(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    set_primary(x, x->primary & ~(uint32_t)PRIMARY_MONITOR_TRAP_FLAG);
    if (!vcpu->is_stepping) // the VMM asked for none, or has been told of it where the vCPU halted
        return EXIT_RETRY;
    vcpu->is_stepping = false;
    vcpu->page->exit = VCPU_EXIT_STEPPED;
    return EXIT_VMM;
}

void vmx_inject_interrupt(struct vcpu *vcpu, uint8_t vector) {
    (void)vcpu;
    queue_event(EVENT_VALID | EVENT_INTERRUPT | vector, 0);
}

void vmx_inject_nmi(struct vcpu *vcpu) {
    (void)vcpu;
    queue_event(EVENT_VALID | EVENT_NMI | EXC_NMI, 0);
}

void vmx_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    bool is_protected = (vmcs_read(VMCS_GUEST_CR0) & CR0_PE) != 0;
    uint64_t event =
        exception_compose(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), vector, error, is_protected);
    if (event == 0) {
        vcpu_post_to_self(vcpu, VCPU_PENDING_SHUTDOWN);
        return;
    }
    // A fault saves RF set, so that a breakpoint on the instruction does not fire again.
    if (exception_is_fault(event))
        vmcs_write(VMCS_GUEST_RFLAGS, vmcs_read(VMCS_GUEST_RFLAGS) | RFLAGS_RF);
    queue_event(event, 0);
}

// Queues again what the processor describes in these fields: their format is the queue's.
static inline __attribute__((always_inline)) void queue_again(uint32_t info,
                                                              enum vmcs_field32 error) {
    queue_event((info & EVENT_ENTRY_MASK) | (uint64_t)vmcs_read32(error) << EVENT_ERROR_SHIFT,
                vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH));
}

// An exception that exited so that it could not keep the processor busy for ever is the guest's all
// the same: SDM 3C 25.9.2 "Information for VM Exits Due to Vectored Events".
void inject_reflected(void) {
    queue_again(vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO), VMCS_EXIT_INTERRUPTION_ERROR);
}

bool vmx_requeue_event(struct vcpu *vcpu, bool is_nmi_unblocked) {
    (void)vcpu;
    uint32_t info = vmcs_read32(VMCS_IDT_VECTORING_INFO);
    if (!(info & EVENT_VALID)) {
        // IRET unblocked NMIs and then failed: it will be executed again (SDM 3C 28.2.3).
        if (is_nmi_unblocked)
            vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
                         vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) | (uint32_t)BLOCKING_BY_NMI);
        return false;
    }
    // The delivery of an NMI blocked the next one already; its injection wants that undone.
    if ((info & EVENT_TYPE) == EVENT_NMI)
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
                     vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint32_t)BLOCKING_BY_NMI);
    queue_again(info, VMCS_IDT_VECTORING_ERROR);
    return true;
}

bool inject_save(struct vcpu_inject *event) {
    uint64_t error = vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR);
    uint64_t queued = vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO) | error << EVENT_ERROR_SHIFT;
    bool is_valid = (queued & EVENT_VALID) != 0;
    *event = exception_to_vmm(queued);
    if (is_valid && event_has_length(queued))
        event->length = (uint8_t)vmcs_read32(VMCS_ENTRY_INSTRUCTION_LENGTH);
    return is_valid;
}

void inject_restore(struct vcpu *vcpu, const struct vcpu_inject *event, bool has_event) {
    struct vmx_vcpu *x = vcpu->backend;
    uint64_t none = PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_NMI_WINDOW_EXITING;
    if (!vcpu->is_stepping)
        none |= PRIMARY_MONITOR_TRAP_FLAG;
    vmcs_write32(VMCS_ENTRY_INTERRUPTION_INFO, 0);
    set_primary(x, x->primary & ~(uint32_t)none);
    if (has_event)
        queue_event(exception_from_vmm(event), event->length);
}
