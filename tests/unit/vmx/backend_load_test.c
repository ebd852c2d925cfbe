// SPDX-License-Identifier: Apache-2.0
// vmx/load.c and tlb.c: what a CPU has of a vCPU and of the one before, and what it still remembers
// of translations.
#include <criterion/criterion.h>

#include "tests/unit/vmx/support.h"

#include "arch/mitigation.h"

#include "vmx/ept.h"

TestSuite(backend_load, .init = paper_set_up);

static void give_values(void) {
    paper_vcpu.star = 1, paper_vcpu.lstar = 2, paper_vcpu.cstar = 3, paper_vcpu.sfmask = 4;
    paper_vcpu.kernel_gs_base = 5, paper_vcpu.tsc_aux = 6;
    for (unsigned i = 0; i < 4; i++)
        paper_vcpu.dr[i] = 0x10 + i;
    paper_vcpu.dr6 = 0xffff0ff2;
    memset(paper_vcpu.xsave, 0x5a, PAGE_SIZE);
}

Test(backend_load, processor_gets_the_vcpu) {
    give_values();
    *paper_msr(MSR_TSC_AUX) = 99;
    vmx_load(&paper_vcpu);
    const uint32_t msrs[] = {MSR_STAR,   MSR_LSTAR,          MSR_CSTAR,
                             MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX};
    for (unsigned i = 0; i < ARRAY_COUNT(msrs); i++)
        cr_expect_eq(*paper_msr(msrs[i]), i + 1);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(paper.reg[PAPER_DR0 + i], 0x10 + i);
    cr_expect_eq(paper.reg[PAPER_DR6], 0xffff0ff2);
    cr_expect_arr_eq(paper.fpu, paper_vcpu.xsave, sizeof(paper.fpu));
    cr_expect_eq(paper.fpu_xcr0, 7, "everything is restored, whatever the guest's XCR0");
    cr_expect_eq(paper.fpu_mask, 7);
    cr_expect_eq(paper.xcr0, paper_vcpu.xcr0);
    cr_expect_eq(paper.current_vmcs, paper_x()->vmcs.v);
    cr_expect(paper_x()->entry_work & WORK_CR2);
}

Test(backend_load, memory_gets_the_vcpu_back) {
    vmx_load(&paper_vcpu);
    paper_x()->is_launched = 1;
    const uint32_t msrs[] = {MSR_STAR,   MSR_LSTAR,          MSR_CSTAR,
                             MSR_SFMASK, MSR_KERNEL_GS_BASE, MSR_TSC_AUX};
    for (unsigned i = 0; i < ARRAY_COUNT(msrs); i++)
        *paper_msr(msrs[i]) = 0x100 + i;
    for (unsigned i = 0; i < 4; i++)
        paper.reg[PAPER_DR0 + i] = 0x20 + i;
    paper.reg[PAPER_DR6] = 0xffff4ff0;
    memset(paper.fpu, 0x77, sizeof(paper.fpu));
    paper.step_count = 0;
    vmx_unload(&paper_vcpu);
    const uint64_t got[] = {paper_vcpu.star,   paper_vcpu.lstar,          paper_vcpu.cstar,
                            paper_vcpu.sfmask, paper_vcpu.kernel_gs_base, paper_vcpu.tsc_aux};
    for (unsigned i = 0; i < ARRAY_COUNT(msrs); i++)
        cr_expect_eq(got[i], 0x100 + i);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(paper_vcpu.dr[i], 0x20 + i);
    cr_expect_eq(paper_vcpu.dr6, 0xffff4ff0);
    cr_expect_arr_eq(paper.fpu, paper_vcpu.xsave, sizeof(paper.fpu));
    cr_expect_eq(paper.fpu_xcr0, 7, "everything is saved, whatever the guest's XCR0");
    cr_expect(paper_did(STEP_VMCLEAR, NULL), "the VMCS is in memory");
    cr_expect_eq(paper_x()->is_launched, 0);
}

Test(backend_load, guests_xcr0_is_the_guests) {
    paper_vcpu.xcr0 = 3;
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper.xcr0, 3);
    paper_vcpu.xcr0 = 7;
    paper.xcr0 = 7;
    vmx_unload(&paper_vcpu);
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper.xcr0, 7);
}

Test(backend_load, closed_fpu_is_opened_for_the_move_only) {
    vmx_load(&paper_vcpu);
    cr_expect(paper_did(STEP_CLTS, NULL));
    cr_expect(paper.reg[PAPER_CR0] & CR0_TS);
    vmx_unload(&paper_vcpu);
    cr_expect(paper.reg[PAPER_CR0] & CR0_TS);
    vmx_forget();
    cr_expect(paper.reg[PAPER_CR0] & CR0_TS);
}

Test(backend_load, without_xsave_it_is_fxsave) {
    cpu_features.has_xsave = false;
    paper.xcr0 = 0x123;
    memset(paper_vcpu.xsave, 0x5a, PAGE_SIZE);
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper.fpu_mask, PAPER_FX);
    cr_expect_eq(paper.fpu[511], 0x5a);
    paper.fpu_mask = 0;
    memset(paper.fpu, 0x77, sizeof(paper.fpu));
    vmx_unload(&paper_vcpu);
    cr_expect_eq(paper.fpu_mask, PAPER_FX);
    cr_expect_eq(((const uint8_t *)paper_vcpu.xsave)[511], 0x77);
    paper.fpu_mask = 0;
    vmx_forget();
    cr_expect_eq(paper.fpu_mask, PAPER_FX);
    cr_expect_eq(paper.fpu[511], 0, "nothing of anybody's");
    cr_expect_eq(paper.xcr0, 0x123);
}

Test(backend_load, cleared_fpu_holds_nothing_of_anybodys) {
    memset(paper.fpu, 0x77, sizeof(paper.fpu));
    vmx_forget();
    cr_expect_eq(paper.fpu[0], 0x7f);
    cr_expect_eq(paper.fpu[1], 0x03);
    cr_expect_eq(paper.fpu[24], 0x80);
    cr_expect_eq(paper.fpu[25], 0x1f);
    for (unsigned i = 26; i < sizeof(paper.fpu); i++)
        cr_assert_eq(paper.fpu[i], 0, "byte %u", i);
    cr_expect_eq(paper.fpu_mask, 7);
}

// Ring 3 cannot read these, but by speculation (CVE-2018-3640).
Test(backend_load, registers_of_the_last_domain_are_cleared) {
    const uint32_t msrs[] = {MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK, MSR_KERNEL_GS_BASE};
    for (unsigned is_off = 0; is_off < 2; is_off++) {
        give_values();
        vmx_load(&paper_vcpu);
        vmx_unload(&paper_vcpu);
        mitigation.is_off = is_off != 0;
        vmx_forget();
        for (unsigned i = 0; i < ARRAY_COUNT(msrs); i++)
            cr_expect_eq(*paper_msr(msrs[i]), is_off ? i + 1 : 0, "%#x", msrs[i]);
        for (unsigned i = 0; i < 4; i++)
            cr_expect_eq(paper.reg[PAPER_DR0 + i], 0);
        cr_expect_eq(paper.reg[PAPER_DR6], is_off ? 0xffff0ff2 : 0);
        cr_expect_eq(*paper_msr(MSR_TSC_AUX), 0, "ring 3 reads it by an instruction");
        cr_expect_eq(paper_vcpu.lstar, 2, "the vCPU keeps its own");
        cr_expect(paper_x()->entry_work & WORK_CR2);
    }
}

Test(backend_load, tsc_aux_is_left_alone_without_rdtscp) {
    cpu_features.has_rdtscp = false;
    paper_vcpu.tsc_aux = 5;
    *paper_msr(MSR_TSC_AUX) = 9;
    vmx_load(&paper_vcpu);
    cr_expect_eq(*paper_msr(MSR_TSC_AUX), 9);
    vmx_unload(&paper_vcpu);
    cr_expect_eq(paper_vcpu.tsc_aux, 5);
    vmx_forget();
    cr_expect_eq(*paper_msr(MSR_TSC_AUX), 9);
}

Test(backend_load, new_cpu_gets_its_host_state_and_forgets_translations) {
    *paper_msr(MSR_SYSENTER_ESP) = 0x111;
    *paper_msr(MSR_SYSENTER_EIP) = 0x222;
    *paper_msr(MSR_SYSENTER_CS) = 8;
    *paper_msr(MSR_EFER) = 0xd01;
    *paper_msr(MSR_PAT) = PAT_RESET;
    vmx_load(&paper_vcpu);
    cr_expect(paper_did(STEP_INVVPID, NULL));
    cr_expect_eq(paper.invalidated.target, paper_x()->vpid);
    cr_expect_eq(paper.vmcs[VMCS_HOST_TR_BASE], (uint64_t)paper_cpus[0].tss);
    cr_expect_eq(paper.vmcs[VMCS_HOST_SYSENTER_ESP], 0x111);
    cr_expect_eq(paper.vmcs[VMCS_HOST_SYSENTER_EIP], 0x222);
    cr_expect_eq(paper.vmcs[VMCS_HOST_SYSENTER_CS], 8);
    cr_expect_eq(paper.vmcs[VMCS_HOST_EFER], 0xd01);
    cr_expect_eq(paper.vmcs[VMCS_HOST_PAT], PAT_RESET);
    cr_expect_eq(paper.vmcs[VMCS_HOST_CR0], paper.reg[PAPER_CR0]);
    cr_expect_eq(paper.vmcs[VMCS_HOST_CR4], paper.reg[PAPER_CR4]);

    paper.step_count = 0;
    vmx_unload(&paper_vcpu);
    vmx_load(&paper_vcpu);
    cr_expect_not(paper_did(STEP_INVVPID, NULL), "the CPU where it ran last");

    paper.step_count = 0;
    vmx_unload(&paper_vcpu);
    paper_cpu = 1;
    vmx_load(&paper_vcpu);
    cr_expect(paper_did(STEP_INVVPID, NULL));
    cr_expect_eq(paper.vmcs[VMCS_HOST_TR_BASE], (uint64_t)paper_cpus[1].tss);

    paper.step_count = 0;
    vmx_unload(&paper_vcpu);
    paper_cpu = 0;
    vmx_load(&paper_vcpu);
    cr_expect(paper_did(STEP_INVVPID, NULL), "back again, where older ones may be remembered");
}

Test(backend_load, each_thread_has_its_address_space) {
    paper.reg[PAPER_CR3] = 0x5000;
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_HOST_CR3], 0x5000);
    vmx_unload(&paper_vcpu);
    paper.reg[PAPER_CR3] = 0x6000;
    vmx_load(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_HOST_CR3], 0x6000);
}

// ---- tlb.c --------------------------------------------------------------------------------------

TestSuite(backend_tlb, .init = paper_set_up);

static uint16_t vpid_of(uint32_t index) {
    static struct vcpu second;
    static struct vcpu_page page;
    second = (struct vcpu){.vm = &paper_vm,
                           .index = index,
                           .page = &page,
                           .cpu = &paper_cpus[0],
                           .xsave = paper_vcpu.xsave};
    paper_make(&second);
    uint16_t vpid = ((struct vmx_vcpu *)second.backend)->vpid;
    cr_expect_eq(paper.vmcs[VMCS_VPID], vpid);
    return vpid;
}

Test(backend_tlb, no_two_vcpus_of_a_vm_share_a_vpid) {
    static bool is_used[0x10000];
    is_used[0] = true; // the host's
    for (uint32_t i = 0; i < VM_VCPUS_MAX; i++) {
        paper.step_count = 0;
        uint16_t vpid = vpid_of(i);
        cr_assert_not(is_used[vpid], "VPID %u twice", vpid);
        is_used[vpid] = true;
    }
    // Nor does a neighbour, whose tables lie elsewhere.
    const hpa_t root = paper_vm.space.pt.root;
    for (uint32_t vm = 1; vm < 8; vm++) {
        paper_vm.space.pt.root.v = root.v + vm * PAGE_SIZE;
        paper.step_count = 0;
        cr_expect_not(is_used[vpid_of(0)]);
    }
    paper_vm.space.pt.root = root;
}

Test(backend_tlb, none_without_the_feature) {
    vmx_caps.has_vpid = false;
    paper.vmcs[VMCS_VPID] = 0;
    cr_assert_eq(vpid_of(5), 0);
}

Test(backend_tlb, flushes_one_or_all) {
    vmx_flush_vpid(5);
    cr_expect_eq(paper.invalidated_type, 1);
    cr_expect_eq(paper.invalidated.target, 5);
    vmx_caps.invvpid_type = 2;
    vmx_flush_vpid(5);
    cr_expect_eq(paper.invalidated_type, 2);
    paper_vm.space.pt.root = (hpa_t){0x7000};
    vmx_flush_space(&paper_vcpu);
    cr_expect_eq(paper.invalidated_type, 1);
    cr_expect_eq(paper.invalidated.target, ept_pointer((hpa_t){0x7000}));
    vmx_caps.invept_type = 2;
    vmx_flush_space(&paper_vcpu);
    cr_expect_eq(paper.invalidated_type, 2);
    paper.step_count = 0;
    vmx_flush_vpid(0);
    cr_expect_eq(paper.step_count, 0, "the host's own is not ours to flush");
}

Test(backend_tlb, flush_that_fails_is_a_bug_of_ours) {
    paper.fails_to_invalidate = true;
    cr_expect(PANICS((vmx_flush_vpid(5), 0)));
    cr_expect(PANICS((vmx_flush_space(&paper_vcpu), 0)));
}
