// SPDX-License-Identifier: Apache-2.0
// The processor's part of the virtual local APIC, on the page of registers that kernel/vlapic.c
// has. SDM 3C chapter 30 "APIC Virtualization and Virtual Interrupts".
//
// The page is the truth: whatever software changed there, vmx_sync_apic derives the VMCS's fields
// from it before the next entry. Only x2APIC mode is virtualized as such; in xAPIC mode registers
// are the VMM's to decode, as any device's, and the processor does no more than to shadow CR8 and
// to deliver.
#include "arch/cpu.h"
#include "kernel/frame.h"
#include "vmx/exit.h"
#include "vmx/vmx.h"

#define STATUS_SERVICE_SHIFT 8 // SDM 3C 25.4.2 "Guest Non-Register State", guest interrupt status

void vmx_apic_create(struct vcpu *vcpu) {
    struct vlapic *vlapic = &vcpu->vlapic;
    if (vmx_caps.apic >= APIC_TPR) {
        vmcs_write64(VMCS_VIRTUAL_APIC_PAGE, frame_of_kernel(vlapic->page).v);
        vmcs_write32(VMCS_TPR_THRESHOLD, 0);
    }
    if (vmx_caps.apic >= APIC_REGISTERS)
        vlapic->abilities |= VLAPIC_DELIVERS;
    if (vmx_caps.apic >= APIC_POSTED) {
        vlapic->abilities |= VLAPIC_POSTS;
        vmcs_write16(VMCS_POSTED_INTERRUPT_VECTOR, VECTOR_POSTED);
        vmcs_write64(VMCS_POSTED_INTERRUPT_DESCRIPTOR, frame_of_kernel(&vlapic->posted).v);
    }
}

static void set_open(struct vmx_vcpu *x, bool is_open) {
    uint32_t mode = is_open ? (uint32_t)SECONDARY_X2APIC_MODE : 0;
    x->is_apic_open = is_open;
    vmcs_write32(VMCS_SECONDARY_CONTROLS, x->secondary | mode);
    vmcs_write64(VMCS_MSR_BITMAP, vmx_msr_bitmap(is_open, x->is_spec_moved));
}

static void sync_delivery(struct vcpu *vcpu) {
    uint64_t vectors[VLAPIC_VECTOR_WORDS];
    uint32_t service = vlapic_get_service(vcpu);
    vmcs_write16(VMCS_GUEST_INTERRUPT_STATUS,
                 (uint16_t)(service << STATUS_SERVICE_SHIFT | vlapic_get_request(vcpu)));
    if (!vlapic_take_tmr(vcpu, vectors))
        return;
    for (unsigned i = 0; i < VLAPIC_VECTOR_WORDS; i++)
        vmcs_write64(VMCS_EOI_EXIT_BITMAP(i), vectors[i]);
}

void vmx_sync_apic(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    if (vmx_caps.apic == APIC_SOFTWARE)
        return;
    bool is_open = vmx_caps.has_x2apic_mode && vlapic_is_open(vcpu);
    if (is_open != x->is_apic_open)
        set_open(x, is_open);
    if (vmx_caps.apic >= APIC_REGISTERS)
        sync_delivery(vcpu);
    else // never above TPR, which VM entry checks
        vmcs_write32(VMCS_TPR_THRESHOLD, vlapic_get_held_class(vcpu));
}

// All three come behind the instruction, which is done.

enum exit_action exit_tpr_below_threshold(struct vcpu *vcpu) {
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
    return EXIT_RETRY;
}

enum exit_action exit_virtualized_eoi(struct vcpu *vcpu) {
    vlapic_report_eoi(vcpu, (uint8_t)vmcs_read(VMCS_EXIT_QUALIFICATION));
    return EXIT_RETRY;
}

// The processor wrote the page and leaves what follows from it to us: in x2APIC mode, an illegal
// vector of a self-IPI.
enum exit_action exit_apic_write(struct vcpu *vcpu) {
    if (vmcs_read(VMCS_EXIT_QUALIFICATION) != LAPIC_SELF_IPI)
        return exit_unexpected(vcpu);
    const void *reg = vcpu->vlapic.page + LAPIC_SELF_IPI;
    vlapic_accept(vcpu, (uint8_t) * (const uint32_t *)reg, false);
    return EXIT_RETRY;
}
