// SPDX-License-Identifier: Apache-2.0
// The dispatch table, the names, and what happens to an exit that nobody can explain: the VM ends with
// a dump, and the instruction is never stepped over.
#include "vmx/exit.h"

#include "arch/log.h"
#include "arch/tsc.h"
#include "vmx/vmx.h"

#define RESERVED_REASON_AND_ALL_OTHERS 0 ... VMX_EXIT_COUNT - 1

// Rows override the default of the whole range, which the reserved numbers keep.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Winitializer-overrides"
exit_handler *const vmx_exit_handlers[VMX_EXIT_COUNT] = {[RESERVED_REASON_AND_ALL_OTHERS] =
                                                             exit_unexpected,
#define HANDLER_ROW(number, name, handler) [number] = handler,
                                                         VMX_EXITS(HANDLER_ROW)
#undef HANDLER_ROW
};
#pragma clang diagnostic pop

const char *vmx_exit_name(uint32_t reason) {
    switch (reason) {
#define NAME_ROW(number, name, handler)                                                            \
    case number:                                                                                   \
        return #name;
        VMX_EXITS(NAME_ROW)
#undef NAME_ROW
    default:
        return "?";
    }
}

static unsigned long long hex(enum vmcs_field_natural field) {
    return vmcs_read(field);
}

static void dump_segment(const char *name, enum vmcs_segment segment) {
    log_line("  %s %04x base %llx limit %x rights %x", name, vmcs_read16(VMCS_SELECTOR(segment)),
             hex(VMCS_BASE(segment)), vmcs_read32(VMCS_LIMIT(segment)),
             vmcs_read32(VMCS_ACCESS_RIGHTS(segment)));
}

static void dump_events(void) {
    log_line("  exit event %x error %x vectoring %x entry event %x error %x",
             vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO), vmcs_read32(VMCS_EXIT_INTERRUPTION_ERROR),
             vmcs_read32(VMCS_IDT_VECTORING_INFO), vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO),
             vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR));
    log_line("  interruptibility %x activity %x controls %x %x %x entry %x",
             vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY), vmcs_read32(VMCS_GUEST_ACTIVITY),
             vmcs_read32(VMCS_PIN_CONTROLS), vmcs_read32(VMCS_PRIMARY_CONTROLS),
             vmcs_read32(VMCS_SECONDARY_CONTROLS), vmcs_read32(VMCS_ENTRY_CONTROLS));
}

void vmx_dump(const struct vcpu *vcpu, const char *headline) {
    // Printing is slow and a VMM can come here as often as it likes: one dump a second.
    static uint64_t next_dump; // TSC
    uint64_t now = x86_rdtsc(), next = __atomic_load_n(&next_dump, __ATOMIC_RELAXED);
    if (next > now || !__atomic_compare_exchange_n(&next_dump, &next, now + tsc_hz, false,
                                                   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
    log_line("vCPU %u: %s", vcpu->index, headline);
    log_line("  exit %u %s%s qualification %llx length %u", reason & EXIT_REASON_BASIC,
             vmx_exit_name(reason & EXIT_REASON_BASIC),
             reason & EXIT_REASON_ENTRY_FAILED ? " (entry failed)" : "",
             hex(VMCS_EXIT_QUALIFICATION), vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH));
    log_line("  linear %llx physical %llx", hex(VMCS_GUEST_LINEAR_ADDRESS),
             (unsigned long long)vmcs_read64(VMCS_GUEST_PHYSICAL_ADDRESS));
    log_line("  rip %llx rsp %llx rflags %llx cr0 %llx cr3 %llx cr4 %llx efer %llx",
             hex(VMCS_GUEST_RIP), hex(VMCS_GUEST_RSP), hex(VMCS_GUEST_RFLAGS), hex(VMCS_GUEST_CR0),
             hex(VMCS_GUEST_CR3), hex(VMCS_GUEST_CR4),
             (unsigned long long)vmcs_read64(VMCS_GUEST_EFER));
    dump_events();
    log_line("  APIC base %llx request %x service %x pending %x",
             (unsigned long long)vcpu->vlapic.base_msr, vlapic_get_request(vcpu),
             vlapic_get_service(vcpu), vcpu->pending);
    dump_segment("cs", VMCS_CS);
    dump_segment("ss", VMCS_SS);
    dump_segment("tr", VMCS_TR);
}

enum exit_action exit_unexpected(struct vcpu *vcpu) {
    uint32_t reason = vmcs_read32(VMCS_EXIT_REASON) & EXIT_REASON_BASIC;
    vmx_dump(vcpu, "unexpected VM exit");
    return vcpu_fail(vcpu, VCPU_FAILURE_UNHANDLED_EXIT, reason);
}
