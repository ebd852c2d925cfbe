// SPDX-License-Identifier: Apache-2.0
// vmx/registers.c: the whole state of a vCPU goes in and comes out the same; what would fault in
// the kernel, or be taken silently, is refused, and then nothing has changed.
#include <criterion/criterion.h>

#include "vmx_support.h"

#define NON_CANONICAL 0x0000800000000000ULL

static struct vcpu_registers good;

// A 64-bit guest, each member with a value of its own.
static void make_good(void) {
    paper_set_up_loaded();
    vmx_read_registers(&paper_vcpu, &good);
    for (unsigned i = 0; i < 16; i++)
        good.gpr[i] = 0x1111111100000000ULL + i;
    good.rip = 0x401000;
    good.rflags = RFLAGS_ONE | RFLAGS_IF | RFLAGS_CF;
    good.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
    good.cr2 = 0xdeadbee0;
    good.cr3 = 0x12345000;
    good.cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR;
    good.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
    for (unsigned i = 0; i < 4; i++) {
        good.dr[i] = 0xd0000 + i;
        good.pdpte[i] = 0x9000 * (i + 1);
    }
    good.dr6 = 0xffff0ff1;
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
    good.star = 0x23001000000000ULL;
    good.lstar = 0xffffffff81000000ULL;
    good.cstar = 0xffffffff81000040ULL;
    good.sfmask = 0x47700;
    good.kernel_gs_base = 0xffff888000000000ULL;
    good.tsc_aux = 3;
    good.debugctl = DEBUGCTL_BTF;
    good.pending_debug = PENDING_DEBUG_SINGLE_STEP;
    good.sysenter_cs = 0x10;
    good.sysenter_esp = 0xfffffe0000000000ULL;
    good.sysenter_eip = 0xffffffff81000080ULL;
    good.xcr0 = 7;
    good.interruptibility = BLOCKING_BY_STI;
    good.has_pending = true;
    good.pending = (struct vcpu_inject){.vector = 14, .type = 3, .has_error = true, .error = 2};
}

TestSuite(backend_registers, .init = make_good);

Test(backend_registers, round_trip) {
    struct vcpu_registers got = {0};
    cr_assert_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK);
    vmx_read_registers(&paper_vcpu, &got);
    cr_assert_arr_eq(&got, &good, sizeof(good));
    // And again by way of memory: what was in the processor is put there and comes back.
    vmx_unload(&paper_vcpu);
    memset(paper.reg, 0xee, sizeof(paper.reg));
    memset(paper.msr, 0xee, sizeof(paper.msr));
    paper.reg[PAPER_CR0] = CR0_PE | CR0_PG | CR0_NE;
    paper.reg[PAPER_CR4] = CR4_PAE | CR4_VMXE;
    vmx_load(&paper_vcpu);
    vmx_read_registers(&paper_vcpu, &got);
    cr_assert_arr_eq(&got, &good, sizeof(good));
}

Test(backend_registers, processor_gets_what_it_runs_with) {
    cr_assert_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK);
    cr_expect_eq(*paper_msr(MSR_LSTAR), good.lstar);
    cr_expect_eq(*paper_msr(MSR_STAR), good.star);
    cr_expect_eq(*paper_msr(MSR_CSTAR), good.cstar);
    cr_expect_eq(*paper_msr(MSR_SFMASK), good.sfmask);
    cr_expect_eq(*paper_msr(MSR_KERNEL_GS_BASE), good.kernel_gs_base);
    cr_expect_eq(*paper_msr(MSR_TSC_AUX), good.tsc_aux);
    cr_expect_eq(paper.reg[PAPER_DR0 + 3], good.dr[3]);
    cr_expect_eq(paper.reg[PAPER_DR6], good.dr6);
    cr_expect_eq(paper.xcr0, good.xcr0);
    cr_expect_eq(paper_page.gpr[5], good.gpr[5]);
    cr_expect_eq(paper_page.rip, good.rip);
    cr_expect_eq(paper_page.rflags, good.rflags);
    cr_expect(paper.vmcs[VMCS_ENTRY_CONTROLS] & ENTRY_CONTROL_IA32E_GUEST);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR0] & (CR0_CD | CR0_NW), 0);
    cr_expect(paper.vmcs[VMCS_GUEST_CR4] & CR4_VMXE);
    cr_expect(paper.vmcs[VMCS_GUEST_CR4] & CR4_MCE, "machine checks are the host's");
    cr_expect_eq(paper.vmcs[VMCS_ACCESS_RIGHTS(VMCS_FS)], 0x93 | SEGMENT_UNUSABLE);
    cr_expect(paper_x()->entry_work & WORK_CR2);
}

Test(backend_registers, caches_stay_on_whatever_the_guest_sees) {
    good.cr0 |= CR0_CD | CR0_NW;
    cr_assert_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR0] & (CR0_CD | CR0_NW), 0);
    cr_expect_eq(vmx_get_cr0(paper_x()) & (CR0_CD | CR0_NW), CR0_CD | CR0_NW);
}

Test(backend_registers, xcr0_is_left_alone_without_xsave) {
    cpu_features.has_xsave = false;
    good.cr4 &= ~CR4_OSXSAVE;
    good.xcr0 = XCR0_X87;
    paper.xcr0 = 0x55;
    cr_assert_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK);
    cr_expect_eq(paper.xcr0, 0x55);
    good.xcr0 = 3;
    cr_expect_eq(vmx_write_registers(&paper_vcpu, &good), ABI_ERROR_ARGUMENT);
}

static void expect_refused(const char *what) {
    static struct paper before;
    struct vcpu vcpu = paper_vcpu;
    struct vcpu_page page = paper_page;
    struct vmx_vcpu x = *paper_x();
    before = paper;
    cr_expect_eq(vmx_write_registers(&paper_vcpu, &good), ABI_ERROR_ARGUMENT, "%s is taken", what);
    cr_expect_arr_eq(&before, &paper, sizeof(paper), "%s: the processor changed", what);
    cr_expect_arr_eq(&vcpu, &paper_vcpu, sizeof(vcpu), "%s: the vCPU changed", what);
    cr_expect_arr_eq(&page, &paper_page, sizeof(page), "%s: the page changed", what);
    cr_expect_arr_eq(&x, paper_x(), sizeof(x), "%s: the backend changed", what);
}

#define REFUSED(member, value)                                                                     \
    do {                                                                                           \
        make_good();                                                                               \
        good.member = (value);                                                                     \
        expect_refused(#member " " #value);                                                        \
    } while (0)

Test(backend_registers, addresses_that_would_fault_in_the_kernel_are_refused) {
    REFUSED(lstar, NON_CANONICAL);
    REFUSED(cstar, NON_CANONICAL);
    REFUSED(kernel_gs_base, NON_CANONICAL);
    REFUSED(sysenter_esp, NON_CANONICAL);
    REFUSED(sysenter_eip, NON_CANONICAL);
    REFUSED(gdtr.base, NON_CANONICAL);
    REFUSED(idtr.base, NON_CANONICAL);
    REFUSED(es.base, NON_CANONICAL);
    REFUSED(fs.base, NON_CANONICAL);
    REFUSED(tr.base, NON_CANONICAL);
    REFUSED(lstar, 0xffff000000000000ULL);
}

Test(backend_registers, reserved_bits_are_refused) {
    REFUSED(sfmask, 1ULL << 32);
    REFUSED(tsc_aux, 1ULL << 32);
    REFUSED(sysenter_cs, 1ULL << 32);
    REFUSED(debugctl, 1);
    REFUSED(debugctl, DEBUGCTL_BTF | BIT(6));
    REFUSED(pat, 2);
    REFUSED(xcr0, 0);
    REFUSED(xcr0, 5);
    REFUSED(xcr0, 0xff);
    REFUSED(cr3, 1ULL << 46);
    REFUSED(cr4, good.cr4 | CR4_VMXE);
    REFUSED(cr0, CR0_PG);
    REFUSED(efer, good.efer | BIT(1));
    REFUSED(rflags, 0);
    REFUSED(rflags, RFLAGS_ONE | BIT(22));
    REFUSED(rflags, RFLAGS_ONE | BIT(3));
    REFUSED(dr6, 1ULL << 32);
    REFUSED(dr7, 1ULL << 32);
    REFUSED(gdtr.limit, 0x10000);
    REFUSED(idtr.limit, 0x10000);
    REFUSED(ldtr.attributes, 0x200);
    REFUSED(tr.attributes, 0x800);
    REFUSED(es.attributes, 0x400);
}

Test(backend_registers, events_that_entry_would_refuse_are_refused) {
    REFUSED(interruptibility, BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    REFUSED(interruptibility, BLOCKING_BY_SMI);
    REFUSED(interruptibility, BIT(4));
    REFUSED(pending.vector, 32);
    REFUSED(pending.has_error, false);
    REFUSED(pending.type, 8);
    make_good();
    good.has_pending = false;
    good.pending = (struct vcpu_inject){.type = 8};
    cr_expect_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK,
                 "nothing pending is not looked at");
}

Test(backend_registers, edges_are_taken) {
    good.cr3 = (1ULL << 46) - 1;
    good.sfmask = good.tsc_aux = good.sysenter_cs = UINT32_MAX;
    good.gdtr.limit = good.idtr.limit = UINT16_MAX;
    good.lstar = 0x00007fffffffffffULL;
    good.cstar = 0xffff800000000000ULL;
    good.dr7 = UINT32_MAX & ~BIT(11);
    good.interruptibility = BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI;
    cr_expect_eq(vmx_write_registers(&paper_vcpu, &good), ABI_OK);
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
    paper.vmcs[VMCS_GUEST_CS_ACCESS_RIGHTS] = SEGMENT_LONG;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x100000001ULL);
}

Test(backend_sync, next_leave_reads_again) {
    paper_x()->entry_work |= WORK_IS_LEFT;
    vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rflags, 0x3f7fd7);
}
