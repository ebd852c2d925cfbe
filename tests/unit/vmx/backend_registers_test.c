// SPDX-License-Identifier: Apache-2.0
// vmx/registers.c: what the VMCS holds of a vCPU goes in and comes out the same, whatever it is;
// what is the host's stays the host's.
#include <criterion/criterion.h>

#define CR4_PKE BIT(22)

#include "tests/unit/vmx/support.h"

static struct vcpu_registers good;

// A 64-bit guest, each member that is the backend's with a value of its own.
static void make_good(void) {
    paper_set_up();
    vmx_read_registers(&paper_vcpu, &good);
    good.gpr[GPR_RSP] = 0x7ff0;
    good.rip = 0x401000;
    good.rflags = RFLAGS_ONE | RFLAGS_IF | BIT(0);
    good.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
    good.cr3 = 0x12345000;
    good.cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR;
    good.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    for (unsigned i = 0; i < 4; i++)
        good.pdpte[i] = 0x9000 * (i + 1);
    good.dr7 = 0x401;
    struct vcpu_segment *segments = &good.es;
    for (unsigned i = 0; i < VMCS_SEGMENT_COUNT; i++)
        segments[i] = (struct vcpu_segment){(uint16_t)(8 * (i + 1)), 0xc093, 0xfffff000 + i,
                                            0x7000000000ULL + i};
    good.cs.attributes = 0xa09b;
    good.fs.attributes = 0x93 | VCPU_SEGMENT_UNUSABLE;
    good.gdtr = (struct vcpu_segment){.limit = 0x7f, .base = 0xffff800000001000ULL};
    good.idtr = (struct vcpu_segment){.limit = 0xfff, .base = 0xffff800000002000ULL};
    good.pat = 0x0007010600070106ULL;
    good.debugctl = DEBUGCTL_BTF;
    good.pending_debug = PENDING_DEBUG_SINGLE_STEP;
    good.sysenter_cs = 0x10;
    good.sysenter_esp = 0xfffffe0000000000ULL;
    good.sysenter_eip = 0xffffffff81000080ULL;
    good.spec_ctrl = 4;
    good.spec_ctrl_own = 7;
    good.cr0_own = ~(CR0_CD | CR0_NW | CR0_NE);
    good.cr4_own = CR4_PAE | CR4_PGE | CR4_OSXSAVE;
    good.interruptibility = BLOCKING_BY_STI;
    good.has_pending = true;
    good.pending = (struct vcpu_inject){.vector = 14, .type = 3, .has_error = true, .error = 2};
}

TestSuite(backend_registers, .init = make_good);

Test(backend_registers, round_trip) {
    struct vcpu_registers got = {0};
    vmx_write_registers(&paper_vcpu, &good);
    vmx_read_registers(&paper_vcpu, &got);
    cr_assert_arr_eq(&got, &good, sizeof(good));
    // And by way of a processor.
    vmx_load(&paper_vcpu);
    vmx_unload(&paper_vcpu);
    vmx_read_registers(&paper_vcpu, &got);
    cr_assert_arr_eq(&got, &good, sizeof(good));
}

Test(backend_registers, other_vcpu_stays_loaded) {
    paper.current_vmcs = 0x123000;
    vmx_write_registers(&paper_vcpu, &good);
    cr_expect_eq(paper.current_vmcs, 0x123000);
    vmx_read_registers(&paper_vcpu, &good);
    cr_expect_eq(paper.current_vmcs, 0x123000);
    paper.current_vmcs = VMCS_NONE;
    vmx_read_registers(&paper_vcpu, &good);
    cr_expect_eq(paper.current_vmcs, VMCS_NONE);
}

Test(backend_registers, processor_gets_what_it_runs_with) {
    paper_vcpu.lstar = 0xffffffff81000000ULL, paper_vcpu.star = 1, paper_vcpu.cstar = 2;
    paper_vcpu.sfmask = 3, paper_vcpu.kernel_gs_base = 4, paper_vcpu.tsc_aux = 5;
    paper_vcpu.dr[3] = 6, paper_vcpu.dr6 = 0xffff0ff1, paper_vcpu.xcr0 = 3;
    paper_vcpu.tsc_offset = 0x5555;
    vmx_write_registers(&paper_vcpu, &good);
    vmx_load(&paper_vcpu);
    cr_expect_eq(*paper_msr(MSR_LSTAR), 0xffffffff81000000ULL);
    cr_expect(*paper_msr(MSR_STAR) == 1 && *paper_msr(MSR_CSTAR) == 2);
    cr_expect(*paper_msr(MSR_SFMASK) == 3 && *paper_msr(MSR_KERNEL_GS_BASE) == 4);
    cr_expect_eq(*paper_msr(MSR_TSC_AUX), 5);
    cr_expect(paper.reg[PAPER_DR0 + 3] == 6 && paper.reg[PAPER_DR6] == 0xffff0ff1);
    cr_expect_eq(paper.xcr0, 3);
    cr_expect_eq(paper.vmcs[VMCS_TSC_OFFSET], 0x5555);
    cr_expect(paper.vmcs[VMCS_ENTRY_CONTROLS] & ENTRY_CONTROL_IA32E_GUEST);
    cr_expect_eq(paper.vmcs[VMCS_ACCESS_RIGHTS(VMCS_FS)], 0x93 | SEGMENT_UNUSABLE);
    cr_expect(paper_x()->entry_work & WORK_CR2);
    cr_expect(paper_x()->is_spec_moved && paper_x()->spec_guest.value == 4);
}

// On the CPU where it ran last, too.
Test(backend_registers, what_the_registers_before_led_to_is_forgotten) {
    vmx_load(&paper_vcpu);
    vmx_unload(&paper_vcpu);
    paper.step_count = 0;
    vmx_load(&paper_vcpu);
    cr_expect_not(paper_did(STEP_INVVPID, NULL));
    vmx_unload(&paper_vcpu);
    vmx_write_registers(&paper_vcpu, &good);
    vmx_load(&paper_vcpu);
    cr_expect(paper_did(STEP_INVVPID, NULL));
}

// ---- what is the host's -------------------------------------------------------------------------

static void check_hosts(void) {
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR0] & (CR0_CD | CR0_NW), 0, "caches");
    cr_expect(paper.vmcs[VMCS_GUEST_CR0] & CR0_NE);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR4] & ~CR4_GUEST, CR4_VMXE | CR4_MCE);
    cr_expect_eq(paper.vmcs[VMCS_CR0_GUEST_HOST_MASK] & (CR0_CD | CR0_NW | CR0_NE),
                 CR0_CD | CR0_NW | CR0_NE);
    cr_expect_eq(paper.vmcs[VMCS_CR4_GUEST_HOST_MASK] & ~CR4_GUEST, ~CR4_GUEST);
}

Test(backend_registers, hosts_bits_stay_whatever_the_vmm_writes) {
    const uint64_t values[] = {0, UINT64_MAX, CR0_CD | CR0_NW | CR4_VMXE | CR4_PKE};
    for (unsigned i = 0; i < ARRAY_COUNT(values); i++)
        for (unsigned own = 0; own < 2; own++) {
            good.cr0 = good.cr4 = values[i];
            good.cr0_own = good.cr4_own = own ? UINT64_MAX : 0;
            vmx_write_registers(&paper_vcpu, &good);
            check_hosts();
            vmx_read_registers(&paper_vcpu, &good);
            cr_expect_eq(good.cr0 & (CR0_CD | CR0_NW), values[i] & (CR0_CD | CR0_NW),
                         "the guest sees what the VMM wrote");
            cr_expect_eq(good.cr4 & (CR4_VMXE | CR4_PKE), values[i] & (CR4_VMXE | CR4_PKE));
            cr_expect_eq(good.cr4_own, own ? CR4_GUEST & vmx_caps.cr4_fixed1 : 0);
        }
}

Test(backend_registers, modes_that_the_processor_lacks_are_asked_for) {
    vmx_caps.has_unrestricted_guest = false;
    good.cr0 = CR0_ET;
    good.cr0_own = UINT64_MAX;
    vmx_write_registers(&paper_vcpu, &good);
    cr_expect_eq(paper.vmcs[VMCS_CR0_GUEST_HOST_MASK] & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR0] & (CR0_PE | CR0_PG), 0, "which entry refuses");
}

// Long mode without protection is one that the emulator does not survive.
Test(backend_registers, protection_and_paging_are_one) {
    const uint64_t one[] = {CR0_PE, CR0_PG};
    for (unsigned i = 0; i < ARRAY_COUNT(one); i++) {
        good.cr0_own = ~one[i];
        vmx_write_registers(&paper_vcpu, &good);
        cr_expect_eq(paper.vmcs[VMCS_CR0_GUEST_HOST_MASK] & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
    }
}

Test(backend_registers, xsave_needs_a_processor_that_has_it) {
    cpu_features.has_xsave = false;
    good.cr4 |= CR4_OSXSAVE;
    vmx_write_registers(&paper_vcpu, &good);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR4] & CR4_OSXSAVE, 0);
    cr_expect(paper.vmcs[VMCS_CR4_GUEST_HOST_MASK] & CR4_OSXSAVE);
}

// IA32_SPEC_CTRL of a processor without it would fault in the kernel.
Test(backend_registers, register_that_the_processor_lacks_is_nobodys) {
    vmx_caps.has_spec_ctrl = false;
    vmx_write_registers(&paper_vcpu, &good);
    vmx_read_registers(&paper_vcpu, &good);
    cr_expect_eq(good.spec_ctrl | good.spec_ctrl_own, 0);
    cr_expect_eq(paper_x()->spec_allowed, 0);
}

// ---- what the VMM changed between two runs ------------------------------------------------------

static void sync_set_up(void) {
    paper_set_up_loaded();
    paper_page.rip = 0x1003;
    paper_page.gpr[GPR_RSP] = 0x8000;
    paper_page.rflags = ~0ULL;
    paper.vmcs[VMCS_GUEST_RIP] = 0x1000;
    paper.vmcs[VMCS_GUEST_RSP] = 0x7000;
    paper.vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_ONE;
    paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKING_BY_STI | BLOCKING_BY_NMI;
}

TestSuite(backend_sync, .init = sync_set_up);

Test(backend_sync, each_bit_takes_over_its_own) {
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RSP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RSP], 0x8000);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1000);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RFLAGS], RFLAGS_ONE);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY], BLOCKING_BY_STI | BLOCKING_BY_NMI);
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RFLAGS], 0x3f7fd7, "reserved bits of RFLAGS");
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1000);
    paper_page.rflags = 0;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RFLAGS], RFLAGS_ONE);
}

// The guest repeats the write, which no longer differs from the shadow in what is not its own.
Test(backend_sync, good_write_of_a_control_register_goes_to_the_shadow) {
    uint64_t cr0 = paper.vmcs[VMCS_GUEST_CR0], cr4 = paper.vmcs[VMCS_GUEST_CR4];
    paper_page.control = (struct vcpu_exit_control){.number = 0, .value = CR0_PE | CR0_CD};
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_CONTROL);
    cr_expect_eq(paper.vmcs[VMCS_CR0_READ_SHADOW], CR0_PE | CR0_CD);
    paper_page.control = (struct vcpu_exit_control){.number = 4, .value = CR4_PAE | CR4_MCE};
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_CONTROL);
    cr_expect_eq(paper.vmcs[VMCS_CR4_READ_SHADOW], CR4_PAE | CR4_MCE);
    cr_expect(paper.vmcs[VMCS_GUEST_CR0] == cr0 && paper.vmcs[VMCS_GUEST_CR4] == cr4);
    cr_expect(vmx_get_cr0(paper_x()) & CR0_CD);
    cr_expect(vmx_get_cr4(&paper_vcpu) & CR4_MCE);
}

Test(backend_sync, moved_rip_ends_blocking_and_is_a_step) {
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1003);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY], BLOCKING_BY_NMI);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], 0);
    paper.vmcs[VMCS_GUEST_RFLAGS] |= RFLAGS_TF;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], PENDING_DEBUG_SINGLE_STEP);
}

// Or VM entry would refuse it: SDM 3C 27.3.1.4 "Checks on Guest RIP, RFLAGS, and SSP".
Test(backend_sync, moved_rip_wraps_as_the_mode_says) {
    paper_page.rip = 0x100000001ULL;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 1);
    paper.vmcs[VMCS_GUEST_EFER] = EFER_LMA; // compatibility mode
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 1);
    paper.vmcs[VMCS_ACCESS_RIGHTS(VMCS_CS)] = SEGMENT_LONG;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x100000001ULL);
}

Test(backend_sync, next_leave_reads_again) {
    paper_x()->entry_work |= WORK_IS_LEFT;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rflags, 0x3f7fd7);
}
