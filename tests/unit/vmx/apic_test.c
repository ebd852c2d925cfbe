// SPDX-License-Identifier: Apache-2.0
// vmx/apic.c against a VMCS of paper (exit_test.c) and the real kernel/vlapic.c
// (kernel/vlapic_test.c).
#include <criterion/criterion.h>

#include "kernel/vm.h"
#include "vmx/apic.c"

#define BITMAP_CLOSED 0x10000ULL
#define BITMAP_OPEN   (BITMAP_CLOSED + VMX_BITMAP_APIC * PAGE_SIZE)
#define X2APIC_BASE   (VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_X2APIC)
#define SECONDARY     0x82u

struct vmx_caps vmx_caps; // of all tests of vmx/ in this program

static struct vm apic_vm;
static struct vmx_vcpu apic_x;
static struct vcpu_page apic_vcpu_page;
static struct vcpu apic_vcpu;
static _Alignas(PAGE_SIZE) uint8_t apic_page[PAGE_SIZE];

static void apic_set_up(enum apic_level level) {
    vmx_caps.apic = level;
    vmx_caps.msr_bitmaps = BITMAP_CLOSED;
    vmx_caps.has_x2apic_mode = level >= APIC_TPR;
    apic_x.secondary = SECONDARY;
    apic_vcpu = (struct vcpu){.vm = &apic_vm, .page = &apic_vcpu_page, .backend = &apic_x};
    apic_vcpu.vlapic.page = apic_page;
    vmcs_write32(VMCS_SECONDARY_CONTROLS, SECONDARY);
    vmcs_write64(VMCS_MSR_BITMAP, BITMAP_CLOSED);
    vlapic_init(&apic_vcpu);
    vmx_apic_create(&apic_vcpu);
}

static void enable(uint64_t base) {
    vlapic_restore_msrs(&apic_vcpu, base, 0);
    if (base & APIC_BASE_X2APIC)
        vlapic_msr_write(&apic_vcpu, MSR_X2APIC(LAPIC_SVR), 0x1ff);
    else
        vlapic_mmio_write(&apic_vcpu, LAPIC_SVR, 0x1ff);
    apic_vcpu.pending = 0;
}

static void arrive(uint8_t vector, bool is_level) {
    vlapic_accept(&apic_vcpu, vector, is_level);
    vlapic_take_requests(&apic_vcpu);
    vmx_sync_apic(&apic_vcpu);
}

Test(vmx_apic, the_level_says_who_works) {
    const uint32_t abilities[] = {0, 0, VLAPIC_DELIVERS, VLAPIC_DELIVERS | VLAPIC_POSTS};
    for (enum apic_level level = APIC_SOFTWARE; level <= APIC_POSTED; level++) {
        vmcs_write64(VMCS_VIRTUAL_APIC_PAGE, 0);
        vmcs_write64(VMCS_POSTED_INTERRUPT_DESCRIPTOR, 0);
        apic_set_up(level);
        cr_expect_eq(apic_vcpu.vlapic.abilities, abilities[level], "level %d", level);
        cr_expect_eq(vmcs_read64(VMCS_VIRTUAL_APIC_PAGE),
                     level >= APIC_TPR ? frame_of_kernel(apic_page).v : 0);
        hpa_t descriptor = frame_of_kernel(&apic_vcpu.vlapic.posted);
        cr_expect_eq(vmcs_read64(VMCS_POSTED_INTERRUPT_DESCRIPTOR),
                     level >= APIC_POSTED ? descriptor.v : 0);
        cr_expect_eq(descriptor.v % 64, 0);
    }
}

// Opening the one must not close the other.
Test(vmx_apic, speculation_control_stays_open) {
    apic_set_up(APIC_REGISTERS);
    apic_x.is_spec_moved = true;
    enable(X2APIC_BASE);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_OPEN + PAGE_SIZE);
}

Test(vmx_apic, x2apic_mode_opens_and_closes) {
    apic_set_up(APIC_REGISTERS);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_CLOSED);
    enable(X2APIC_BASE);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_OPEN);
    cr_expect_eq(vmcs_read32(VMCS_SECONDARY_CONTROLS), SECONDARY | SECONDARY_X2APIC_MODE);
    vlapic_reset(&apic_vcpu); // INIT: the mode stays, but it is off by software
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_CLOSED);
    cr_expect_eq(vmcs_read32(VMCS_SECONDARY_CONTROLS), SECONDARY);
    enable(X2APIC_BASE);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_OPEN);
    enable(VLAPIC_BASE | APIC_BASE_ENABLE); // restored into xAPIC mode
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_CLOSED);
}

Test(vmx_apic, without_x2apic_mode_nothing_opens) {
    apic_set_up(APIC_TPR);
    vmx_caps.has_x2apic_mode = false;
    enable(X2APIC_BASE);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read64(VMCS_MSR_BITMAP), BITMAP_CLOSED);
    cr_expect_eq(vmcs_read32(VMCS_SECONDARY_CONTROLS), SECONDARY);
}

Test(vmx_apic, threshold_is_what_tpr_holds_back) {
    apic_set_up(APIC_TPR);
    enable(VLAPIC_BASE | APIC_BASE_ENABLE);
    vlapic_set_cr8(&apic_vcpu, 7);
    arrive(0x55, false);
    cr_expect_eq(vmcs_read32(VMCS_TPR_THRESHOLD), 5);
    apic_vcpu.pending = 0;
    cr_expect_eq(exit_tpr_below_threshold(&apic_vcpu), EXIT_RETRY);
    cr_expect_eq(apic_vcpu.pending, VCPU_PENDING_INTERRUPT);
    vlapic_set_cr8(&apic_vcpu, 0);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read32(VMCS_TPR_THRESHOLD), 0);
}

Test(vmx_apic, status_and_eoi_exits_follow_the_page) {
    apic_set_up(APIC_REGISTERS);
    enable(X2APIC_BASE);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS), 0);
    arrive(0x41, false);
    arrive(0x93, true);
    cr_expect_eq(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS), 0x0093);
    cr_expect_eq(vmcs_read64(VMCS_EOI_EXIT_BITMAP(1)), 0);
    cr_expect_eq(vmcs_read64(VMCS_EOI_EXIT_BITMAP(2)), BIT(0x93 - 128));
    vlapic_acknowledge(&apic_vcpu, 0x93); // as the processor does
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS), 0x9341);
    arrive(0x93, false);
    cr_expect_eq(vmcs_read64(VMCS_EOI_EXIT_BITMAP(2)), 0, "now an edge");
    vlapic_reset(&apic_vcpu);
    vmx_sync_apic(&apic_vcpu);
    cr_expect_eq(vmcs_read16(VMCS_GUEST_INTERRUPT_STATUS), 0);
}

Test(vmx_apic, virtualized_eoi_is_told) {
    apic_set_up(APIC_REGISTERS);
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0x93);
    apic_vcpu.pending = 0;
    cr_expect_eq(exit_virtualized_eoi(&apic_vcpu), EXIT_RETRY);
    cr_expect_eq(apic_vcpu.pending, VCPU_PENDING_EOI);
    cr_expect_eq(apic_vcpu.vlapic.eoi_vector, 0x93);
}

Test(vmx_apic, self_ipi_of_an_illegal_vector_is_an_error) {
    apic_set_up(APIC_REGISTERS);
    enable(X2APIC_BASE);
    apic_page[LAPIC_SELF_IPI] = 5;
    vmcs_write(VMCS_EXIT_QUALIFICATION, LAPIC_SELF_IPI);
    cr_expect_eq(exit_apic_write(&apic_vcpu), EXIT_RETRY);
    cr_expect_eq(apic_vcpu.vlapic.esr_pending, BIT(6));
    vmcs_write(VMCS_EXIT_QUALIFICATION, LAPIC_ICR);
    cr_expect_eq(exit_apic_write(&apic_vcpu), EXIT_FAIL);
}
