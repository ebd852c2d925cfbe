// SPDX-License-Identifier: Apache-2.0
// The dispatch table, and what happens to an exit that nobody can explain: the VM ends with a dump,
// and the instruction is never stepped over.
#include "vmx/exit.h"

#include "arch/log.h"
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

static unsigned long long hex(enum vmcs_field_natural field) {
    return vmcs_read(field);
}

void vmx_dump(const struct vcpu *vcpu, const char *headline) {
    if (!vcpu_may_dump())
        return;
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
    log_line("vCPU %u: %s: exit %u%s qualification %llx rip %llx linear %llx physical %llx",
             vcpu->index, headline, reason & EXIT_REASON_BASIC,
             reason & EXIT_REASON_ENTRY_FAILED ? " (entry failed)" : "",
             hex(VMCS_EXIT_QUALIFICATION), hex(VMCS_GUEST_RIP), hex(VMCS_GUEST_LINEAR_ADDRESS),
             (unsigned long long)vmcs_read64(VMCS_GUEST_PHYSICAL_ADDRESS));
    log_line("  exit event %x error %x vectoring %x entry event %x error %x interruptibility %x "
             "activity %x pending %x",
             vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO), vmcs_read32(VMCS_EXIT_INTERRUPTION_ERROR),
             vmcs_read32(VMCS_IDT_VECTORING_INFO), vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO),
             vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY),
             vmcs_read32(VMCS_GUEST_ACTIVITY), vcpu->pending);
    log_line("  controls %x %x %x entry %x", vmcs_read32(VMCS_PIN_CONTROLS),
             vmcs_read32(VMCS_PRIMARY_CONTROLS), vmcs_read32(VMCS_SECONDARY_CONTROLS),
             vmcs_read32(VMCS_ENTRY_CONTROLS));
}

enum exit_action exit_unexpected(struct vcpu *vcpu) {
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON) & EXIT_REASON_BASIC;
    vmx_dump(vcpu, "unexpected VM exit");
    return vcpu_fail(vcpu, VCPU_FAILURE_UNHANDLED_EXIT, reason);
}
