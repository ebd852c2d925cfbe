// SPDX-License-Identifier: Apache-2.0
// The dispatch table, and what happens to an exit that nobody can explain: the VM ends with a dump,
// and the instruction is never stepped over.
#include "vmx/exit.h"

#include "vmx/vmx.h"

#define ALL_REASONS 0 ... VMX_EXIT_COUNT - 1

// Rows override the default of the whole range, which those without a row keep.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winitializer-overrides"
exit_handler *const vmx_exit_handlers[VMX_EXIT_COUNT] = {[ALL_REASONS] = exit_unexpected,
#define HANDLER_ROW(first, last, name, handler) [first... last] = handler,
                                                         VMX_EXITS(HANDLER_ROW)
#undef HANDLER_ROW
};
#pragma clang diagnostic pop

enum exit_action vmx_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail) {
    static const uint16_t fields[] = {
        [VCPU_WORD_INFO] = VMCS_EXIT_QUALIFICATION,
        [VCPU_WORD_ADDRESS] = VMCS_GUEST_PHYSICAL_ADDRESS,
        [VCPU_WORD_LINEAR] = VMCS_GUEST_LINEAR_ADDRESS,
        [VCPU_WORD_EXIT_EVENT] = VMCS_EXIT_INTERRUPTION_INFO,
        [VCPU_WORD_EXIT_ERROR] = VMCS_EXIT_INTERRUPTION_ERROR,
        [VCPU_WORD_VECTORING] = VMCS_IDT_VECTORING_INFO,
        [VCPU_WORD_ENTRY_EVENT] = VMCS_ENTRY_INTERRUPTION_INFO,
        [VCPU_WORD_ENTRY_ERROR] = VMCS_ENTRY_EXCEPTION_ERROR,
        [VCPU_WORD_INTERRUPTIBILITY] = VMCS_GUEST_INTERRUPTIBILITY,
        [VCPU_WORD_ACTIVITY] = VMCS_GUEST_ACTIVITY,
        [VCPU_WORD_PIN] = VMCS_PIN_CONTROLS,
        [VCPU_WORD_PRIMARY] = VMCS_PRIMARY_CONTROLS,
        [VCPU_WORD_SECONDARY] = VMCS_SECONDARY_CONTROLS,
        [VCPU_WORD_ENTRY] = VMCS_ENTRY_CONTROLS,
    };
    for (unsigned i = 0; i < ARRAY_COUNT(fields); i++)
        vcpu->page->failure_words[i] = vmcs_read_field(fields[i]);
    return vcpu_fail(vcpu, failure, detail);
}

enum exit_action exit_unexpected(struct vcpu *vcpu) {
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON) & EXIT_REASON_BASIC;
    return vmx_fail(vcpu, VCPU_FAILURE_UNHANDLED_EXIT, reason);
}
