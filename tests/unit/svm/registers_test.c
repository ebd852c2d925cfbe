// SPDX-License-Identifier: Apache-2.0
// svm/registers.c, state.c, load.c and backend.c: where a vCPU's registers stand, in the
// VMCB and in the processor.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/svm/support.h"

#include "kernel/machine.h"

TestSuite(svm_registers, .init = paper_set_up);

static enum exit_action pause(void) {
    return paper_run((struct paper_exit){.code = CODE_PAUSE});
}

// ---- all of it, there and back ------------------------------------------------------------------

// Each member that AMD-V keeps has a value of its own.
static struct vcpu_registers distinct(void) {
    struct vcpu_registers r = paper_registers();
    struct vcpu_segment *const segments[] = {&r.es, &r.cs, &r.ss,   &r.ds,
                                             &r.fs, &r.gs, &r.ldtr, &r.tr};
    for (unsigned i = 0; i < ARRAY_COUNT(segments); i++)
        *segments[i] = (struct vcpu_segment){.selector = (uint16_t)(0x100 + i),
                                             .attributes = (uint16_t)(0x5090 + (i % 8) * 0x1001),
                                             .limit = 0x1111 * i,
                                             .base = 0x10000000ULL * i + 1};
    r.cs.attributes = 0xa0fb;
    r.ss.attributes = 0xc0f3; // CPL 3
    r.gpr[GPR_RSP] = 0x2001;
    r.rip = 0x2002;
    r.rflags = 0x10a97;
    r.cr3 = 0x2003000;
    r.dr6 = 0xffff0ff1;
    r.dr7 = 0x455;
    r.star = 0x2010, r.lstar = 0x2011, r.cstar = 0x2012, r.sfmask = 0x2013;
    r.kernel_gs_base = 0x2014;
    r.pat = 0x0606060606060606;
    r.sysenter_cs = 0x2004;
    r.sysenter_esp = 0x2005;
    r.sysenter_eip = 0x2006;
    r.gdtr = (struct vcpu_segment){.limit = 0x2007, .base = 0x2008};
    r.idtr = (struct vcpu_segment){.limit = 0x2009, .base = 0x200a};
    r.cr0 |= CR0_TS;
    r.cr4 |= CR4_PGE | CR4_OSXSAVE;
    r.debugctl = 0x200b;
    r.spec_ctrl = 3;
    r.spec_ctrl_own = 7;
    r.interruptibility = BIT(0) | BIT(3);
    r.has_pending = 1;
    r.pending = (struct vcpu_inject){.vector = 14, .type = 3, .has_error = 1, .error = 0x200c};
    return r;
}

Test(svm_registers, come_back_as_they_were_written) {
    struct vcpu_registers written = distinct(), read;
    memset(&read, 0, sizeof(read));
    svm_write_registers(&paper_vcpu, &written);
    svm_read_registers(&paper_vcpu, &read);
    const uint8_t *w = (const uint8_t *)&written, *r = (const uint8_t *)&read;
    for (size_t i = 0; i < sizeof(written); i++)
        cr_expect_eq(r[i], w[i], "byte %zu", i);
    // And of another vCPU, by what was read.
    paper_set_up();
    svm_write_registers(&paper_vcpu, &read);
    memset(&read, 0, sizeof(read));
    svm_read_registers(&paper_vcpu, &read);
    cr_expect_arr_eq(&read, &written, sizeof(read));
}

Test(svm_registers, stand_in_the_vmcb_by_the_manuals_offsets) {
    struct vcpu_registers r = distinct();
    svm_write_registers(&paper_vcpu, &r);
    const struct {
        unsigned at;
        uint64_t value;
    } words[] = {{0x4d0, r.efer | BIT(12)},
                 {0x550, r.cr3},
                 {0x560, r.dr7},
                 {0x568, r.dr6},
                 {0x570, r.rflags},
                 {0x578, r.rip},
                 {0x5d8, 0x2001},
                 {0x600, 0x2010},
                 {0x608, 0x2011},
                 {0x610, 0x2012},
                 {0x618, 0x2013},
                 {0x620, 0x2014},
                 {0x628, 0x2004},
                 {0x630, 0x2005},
                 {0x638, 0x2006},
                 {0x668, r.pat},
                 {0x468, 0x2008},
                 {0x488, 0x200a},
                 {0x6e0, 3},
                 {0x558, r.cr0},
                 {0x548, r.cr4},
                 {0xa8, 0x200c80000b0eULL},
                 {0xb0, 0x123000},
                 {0x68, 1}};
    for (unsigned i = 0; i < ARRAY_COUNT(words); i++) {
        uint64_t value;
        memcpy(&value, (const uint8_t *)paper_vmcb() + words[i].at, sizeof(value));
        cr_expect_eq(value, words[i].value, "offset %#x: %#lx", words[i].at, value);
    }
    cr_expect_eq(*((const uint8_t *)paper_vmcb() + 0x4cb), 3, "CPL");
    cr_expect_eq(*(const uint16_t *)((const uint8_t *)paper_vmcb() + 0x412), 0xafb, "CS");
    cr_expect_eq(paper_vmcb()->clean, 0);
}

Test(svm_registers, attributes_are_packed_and_unusable_is_not_present) {
    const struct {
        uint16_t vmm, vmcb, back;
    } cases[] = {{0xc093, 0xc93, 0xc093},
                 {0xa09b, 0xa9b, 0xa09b},
                 {0x008b, 0x08b, 0x008b},
                 {VCPU_SEGMENT_UNUSABLE, 0, VCPU_SEGMENT_UNUSABLE},
                 {VCPU_SEGMENT_UNUSABLE | 0xc093, 0xc13, VCPU_SEGMENT_UNUSABLE | 0xc013},
                 {0x0013, 0x013, VCPU_SEGMENT_UNUSABLE | 0x13}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct vcpu_registers r = paper_registers();
        r.ds.attributes = cases[i].vmm;
        svm_write_registers(&paper_vcpu, &r);
        cr_expect_eq(paper_vmcb()->ds.attributes, cases[i].vmcb, "case %u", i);
        svm_read_registers(&paper_vcpu, &r);
        cr_expect_eq(r.ds.attributes, cases[i].back, "case %u", i);
    }
}

Test(svm_registers, cpl_is_the_dpl_of_ss) {
    struct vcpu_registers r;
    for (uint8_t cpl = 0; cpl < 4; cpl++) {
        paper_vmcb()->cpl = cpl; // SYSCALL and SYSRET leave SS's attributes
        svm_read_registers(&paper_vcpu, &r);
        cr_expect_eq(r.ss.attributes >> 5 & 3, cpl);
        cr_expect_eq(r.ss.attributes & ~0x60, 0xc093);
        svm_write_registers(&paper_vcpu, &r);
        cr_expect_eq(paper_vmcb()->cpl, cpl);
    }
}

Test(svm_registers, shadow_and_pending_step_are_taken_over) {
    struct vcpu_registers r = paper_registers();
    r.interruptibility = BIT(1); // MOV SS
    r.pending_debug = BIT(14);
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->shadow, SHADOW_STI_MOV_SS);
    cr_expect_eq(paper_vmcb()->event, EVENT_VALID | EVENT_EXCEPTION | EXC_DB);
    cr_expect(paper_vmcb()->dr6 & BIT(14), "what #DB's handler looks at");
    r.interruptibility = r.pending_debug = 0;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect(paper_vmcb()->shadow == 0 && paper_vmcb()->event == 0);
}

Test(svm_registers, spec_ctrl_is_there_where_the_vmcb_has_it) {
    struct vcpu_registers r = paper_registers();
    r.spec_ctrl = 7;
    r.spec_ctrl_own = 1;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->spec_ctrl, 1);
    paper_vmcb()->spec_ctrl = 5;
    svm_read_registers(&paper_vcpu, &r);
    cr_expect(r.spec_ctrl == 1 && r.spec_ctrl_own == 1);
    svm_caps.has_spec_ctrl = false;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->spec_ctrl, 0);
    svm_read_registers(&paper_vcpu, &r);
    cr_expect_eq(r.spec_ctrl_own, 0);
}

// The VMM's changes, one by one.
Test(svm_registers, dirty_says_what_is_taken) {
    paper_page.rip = 0x4000;
    paper_page.gpr[GPR_RSP] = 0x5000;
    paper_page.rflags = UINT64_MAX;
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    svm_sync_registers(&paper_vcpu, 0);
    cr_expect(paper_vmcb()->rip == 0x1000 && paper_vmcb()->rsp == 0x8000);
    cr_expect_eq(paper_vmcb()->rflags, RFLAGS_ONE | RFLAGS_IF);
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect(paper_vmcb()->rip == 0x4000 && paper_vmcb()->shadow == 0);
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RSP);
    cr_expect_eq(paper_vmcb()->rsp, 0x5000);
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    cr_expect_eq(paper_vmcb()->rflags, 0x3f7fd7);
    (void)pause();
    svm_leave(&paper_vcpu);
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    paper_page.rflags = 0;
    svm_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rflags, 0x3f7fd7, "read again");
}

Test(svm_registers, tsc_offset_is_the_vmcbs) {
    struct vcpu_registers r = paper_registers();
    paper_vcpu.tsc_offset = 77;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->tsc_offset, 77);
    (void)pause();
    paper_vcpu.tsc_offset = 88;
    svm_unload(&paper_vcpu);
    svm_write_registers(&paper_vcpu, &r);
    svm_load(&paper_vcpu);
    cr_expect_eq(paper_vmcb()->tsc_offset, 88);
    (void)pause();
    cr_expect_not(paper.entered.clean & CLEAN_INTERCEPTS);
    cr_expect_eq(svm_backend.get_cr4(&paper_vcpu), CR4_PAE | CR4_MCE);
}

// ---- creation -----------------------------------------------------------------------------------

Test(svm_registers, instructions_that_cpuid_hides_exit) {
    const struct {
        uint32_t rdtscp, invpcid;
        bool has_rdtscp, has_invpcid, has_rdpru, has_filter;
        bool is_rdtscp, is_invpcid;
    } cases[] = {{1, 1, true, true, true, true, false, false},
                 {0, 0, true, true, true, true, true, true},
                 {0, 0, false, false, false, false, false, false}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        struct vcpu vcpu = {.vm = &paper_vm, .page = &paper_page};
        paper.cpuid_rdtscp = cases[i].rdtscp;
        paper.cpuid_invpcid = cases[i].invpcid;
        svm_caps.has_rdtscp = cases[i].has_rdtscp;
        svm_caps.has_invpcid = cases[i].has_invpcid;
        svm_caps.has_rdpru = cases[i].has_rdpru;
        svm_caps.has_pause_filter = cases[i].has_filter;
        paper_make(&vcpu);
        const struct vmcb *v = ((struct svm_vcpu *)vcpu.backend)->vmcb;
        cr_expect_eq((v->intercept_2 >> 7 & 1) != 0, cases[i].is_rdtscp, "case %u", i);
        cr_expect_eq(v->intercept_3, cases[i].is_invpcid ? 4 : 0, "case %u", i);
        cr_expect_eq((v->intercept_2 >> 14 & 1) != 0, cases[i].has_rdpru);
        cr_expect_eq((v->intercept_1 >> 23 & 1) != 0, cases[i].has_filter);
        cr_expect_eq(v->intercept_2 & 0x3e7f, 0x3e7f & ~BIT(8), "all of them but ICEBP");
        cr_expect_eq(v->intercept_1 & 0xbd448020, 0xbd448020 & ~BIT(23));
    }
}

// ---- on a CPU and off it ------------------------------------------------------------------------

Test(svm_registers, debug_registers_and_fpu_move) {
    paper_move(1);
    for (unsigned i = 0; i < 4; i++)
        paper_vcpu.dr[i] = 0x100 + i;
    paper_vcpu.tsc_aux = 0x42;
    memset(paper_vcpu.xsave, 0xf7, ABI_XSAVE_SIZE);
    svm_load(&paper_vcpu);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_eq(paper.reg[PAPER_DR0 + i], 0x100 + i);
    cr_expect_eq(*paper_msr(0xc0000103), 0x42);
    cr_expect_eq(paper.fpu[7], 0xf7);
    cr_expect_eq(paper.xcr0, XCR0_X87);
    (void)pause();
    // The guest changes them.
    paper.reg[PAPER_DR0 + 2] = 0x222;
    *paper_msr(0xc0000103) = 0x43;
    paper.xcr0 = 3;
    paper.fpu[9] = 0x99;
    svm_unload(&paper_vcpu);
    cr_expect(paper_vcpu.dr[2] == 0x222 && paper_vcpu.tsc_aux == 0x43 && paper_vcpu.xcr0 == 3);
    cr_expect_eq(((uint8_t *)paper_vcpu.xsave)[9], 0x99);
    // Without an intercept it can have set more than CPUID shows it, and an outer KVM forget it.
    const uint64_t left[] = {cpu_features.xcr0_mask | BIT(9), XCR0_X87};
    for (unsigned i = 0; i < ARRAY_COUNT(left); i++) {
        svm_load(&paper_vcpu);
        paper.xcr0 = cpu_features.xcr0_mask | BIT(9);
        svm_unload(&paper_vcpu);
        cr_expect_eq(paper_vcpu.xcr0, cpu_features.xcr0_mask);
        paper.xcr0 = left[i];
        svm_load(&paper_vcpu);
        cr_expect_eq(paper.xcr0, cpu_features.xcr0_mask);
        svm_unload(&paper_vcpu);
    }
}

static void change_lstar(void) {
    paper.hidden.lstar = 0x77;
    paper.hidden.kernel_gs_base = 0x88;
}
Test(svm_registers, what_the_guest_wrote_is_unloaded) {
    struct vcpu_registers r = distinct();
    svm_write_registers(&paper_vcpu, &r);
    (void)pause();
    cr_expect(paper.entered.star == 0x2010 && paper.entered.lstar == 0x2011 &&
              paper.entered.cstar == 0x2012 && paper.entered.sfmask == 0x2013 &&
              paper.entered.kernel_gs_base == 0x2014);
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE, .guest = change_lstar});
    svm_unload(&paper_vcpu);
    paper.hidden.lstar = 0; // the host's, which nobody may take for the guest's
    svm_read_registers(&paper_vcpu, &r);
    cr_expect(r.lstar == 0x77 && r.kernel_gs_base == 0x88 && r.star == 0x2010);
}

Test(svm_registers, no_msr_is_used_that_is_not_there) {
    cpu_features.has_rdtscp = svm_caps.has_tsc_ratio = false;
    *paper_msr(0xc0000103) = 0x1234;
    *paper_msr(0xc0000104) = 0x5678;
    paper_vcpu.tsc_aux = 9;
    svm_load(&paper_vcpu);
    svm_unload(&paper_vcpu);
    cr_expect(*paper_msr(0xc0000103) == 0x1234 && *paper_msr(0xc0000104) == 0x5678);
    cr_expect_eq(paper_vcpu.tsc_aux, 9);
}

Test(svm_registers, tsc_runs_at_the_vms_rate) {
    cr_expect_eq(*paper_msr(0xc0000104), BIT(32));
    paper_vm.tsc_ratio = 0x180000000;
    svm_load(&paper_vcpu);
    cr_expect_eq(*paper_msr(0xc0000104), 0x180000000);
}

Test(svm_registers, nothing_is_believed_on_another_cpu) {
    (void)pause();
    paper_move(1);
    cr_expect_eq(paper_vmcb()->clean, 0);
    (void)pause();
}

Test(svm_registers, last_guest_is_forgotten) {
    paper_vcpu.tsc_aux = 7;
    paper_vcpu.dr[1] = 8;
    svm_load(&paper_vcpu);
    svm_backend.forget();
    cr_expect(paper.reg[PAPER_DR0 + 1] == 0 && *paper_msr(0xc0000103) == 0);
    cr_expect(paper.fpu[0] == 0x7f && paper.fpu[9] == 0);
    cr_expect(paper_did(STEP_XRSTOR, NULL));
}

// ---- the CPU ------------------------------------------------------------------------------------

Test(svm_registers, cpu_is_turned_on) {
    cr_expect_eq(*paper_msr(MSR_EFER), EFER_SVME);
    cr_expect_eq(*paper_msr(MSR_VM_HSAVE_PA), (uint64_t)paper_cpus[0].host_region);
    *paper_msr(MSR_VM_CR) = VM_CR_SVMDIS | 1;
    cr_expect_null(svm_backend.cpu_init(&paper_cpus[0]));
    cr_expect_eq(*paper_msr(MSR_VM_CR), 1, "off, not locked");
    *paper_msr(MSR_VM_CR) = VM_CR_LOCK;
    cr_expect_null(svm_backend.cpu_init(&paper_cpus[0]), "locked on");
    *paper_msr(MSR_VM_CR) = VM_CR_LOCK | VM_CR_SVMDIS;
    *paper_msr(MSR_EFER) = 0;
    cr_expect_not_null(strstr(svm_backend.cpu_init(&paper_cpus[0]), "locked off"));
    cr_expect_eq(*paper_msr(MSR_EFER), 0, "WRMSR would be #GP");
}
