// SPDX-License-Identifier: Apache-2.0
// Control-register exits. The guest changes by itself the bits that its VMM said are its own,
// paging and long mode included where there is "unrestricted guest". A MOV that changes others goes
// to the VMM. What that finds good stands in the read shadow then (vmx_sync_registers), and the
// guest repeats the instruction: it no longer differs from the shadow, so the processor does the
// rest, with all faults and side effects (PDPTEs and TLB included), although the kernel cannot read
// the guest's memory. SDM 3C 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation".
#include "vmx/exit.h"
#include "vmx/vmx.h"

// SDM 3C Table 28-3 "Exit Qualification for Control-Register Accesses".
enum cr_access { CR_ACCESS_MOV_TO, CR_ACCESS_MOV_FROM, CR_ACCESS_CLTS, CR_ACCESS_LMSW };

// SDM 3A 11.8.6 "Task Priority in IA-32e Mode": CR8's upper bits are reserved.
#define CR8_MAX 15u

static uint64_t read_gpr(const struct vcpu *vcpu, uint8_t gpr) {
    return gpr == GPR_RSP ? vmcs_read(VMCS_GUEST_RSP) : vcpu_gpr(vcpu, gpr);
}

static void write_gpr(struct vcpu *vcpu, uint8_t gpr, uint64_t value) {
    if (gpr == GPR_RSP)
        vmcs_write(VMCS_GUEST_RSP, value);
    else
        vcpu->page->gpr[gpr] = value;
}

static enum exit_action write_cr8(struct vcpu *vcpu, uint64_t value) {
    if (value > CR8_MAX)
        return vcpu_exit_protected(vcpu);
    vlapic_set_cr8(vcpu, (uint8_t)value);
    return EXIT_ADVANCE;
}

// CR3 never exits with EPT, CR0 and CR4 are never read with an exit; CLTS and LMSW exit only where
// a VMM kept from its guest what each guest must have, and end that VM.
enum exit_action exit_control_register(struct vcpu *vcpu) {
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    uint8_t number = qualification & 0xf, type = qualification >> 4 & 3;
    uint8_t gpr = qualification >> 8 & 0xf; // of a MOV
    bool is_write = type == CR_ACCESS_MOV_TO;
    if (is_write && (number == 0 || number == 4)) {
        vcpu->page->control = (struct vcpu_exit_control){
            .value = read_gpr(vcpu, gpr),
            .number = number,
            .is_known = true,
            .is_repeated = true,
        };
        return vmx_exit_to_vmm(vcpu, VCPU_EXIT_CONTROL);
    }
    if (is_write && number == 8)
        return write_cr8(vcpu, read_gpr(vcpu, gpr));
    if (type != CR_ACCESS_MOV_FROM || number != 8)
        return exit_unexpected(vcpu);
    write_gpr(vcpu, gpr, vlapic_get_cr8(vcpu));
    return EXIT_ADVANCE;
}
