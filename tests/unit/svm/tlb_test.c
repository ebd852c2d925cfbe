// SPDX-License-Identifier: Apache-2.0
// svm/tlb.c: whose translations a guest can use. The processor of paper demands at each entry that
// nobody else's are left under its ASID.
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

#define VCPUS 20u

TestSuite(svm_tlb, .init = paper_set_up);

static enum exit_action pause(void) {
    return paper_run((struct paper_exit){.code = CODE_PAUSE});
}

static struct vcpu *make_vcpu(void) {
    struct vcpu_registers registers = paper_registers();
    static struct vcpu vcpus[VCPUS];
    static unsigned count;
    struct vcpu *vcpu = &vcpus[count++];
    *vcpu = (struct vcpu){.vm = &paper_vm,
                          .page = &paper_page,
                          .cpu = &paper_cpus[0],
                          .xsave = paper_vcpu.xsave,
                          .xcr0 = XCR0_X87};
    paper_make(vcpu);
    svm_write_registers(vcpu, &registers);
    return vcpu;
}

// Runs a vCPU on a CPU, as vcpu_run would.
static void run_on(struct vcpu *vcpu, unsigned cpu) {
    paper_cpu = cpu;
    vcpu->cpu = &paper_cpus[cpu];
    svm_vmload((hpa_t){(uint64_t)paper_cpus[cpu].host_region});
    svm_load(vcpu);
    struct vcpu saved = paper_vcpu;
    paper_vcpu = *vcpu;
    cr_assert_eq(pause(), EXIT_YIELD);
    svm_unload(&paper_vcpu);
    *vcpu = paper_vcpu;
    paper_vcpu = saved;
}

Test(svm_tlb, vcpus_share_no_asid) {
    struct vcpu *vcpus[VCPUS];
    unsigned seed = 1;
    for (unsigned i = 0; i < VCPUS; i++)
        vcpus[i] = make_vcpu();
    for (unsigned i = 0; i < 4000; i++) {
        seed = seed * 1103515245 + 12345;
        struct vcpu *vcpu = vcpus[(seed >> 16) % VCPUS];
        if ((seed >> 8) % 8 == 0) { // what it used is gone: nothing of it may be there
            struct svm_vcpu *x = vcpu->backend;
            svm_flush_space(vcpu);
            for (unsigned cpu = 0; cpu < 2; cpu++)
                for (unsigned asid = 0; asid < PAPER_ASIDS; asid++)
                    if (paper.translations[cpu][asid] == x->vmcb)
                        paper.translations[cpu][asid] = "old";
        }
        run_on(vcpu, seed >> 24 & 1);
    }
    cr_expect_gt(paper.flushes, 100);
}

Test(svm_tlb, asid_stays_while_nobody_comes_between) {
    (void)pause();
    uint32_t asid = paper_vmcb()->asid;
    for (unsigned i = 0; i < 100; i++)
        (void)pause();
    cr_expect_eq(paper_vmcb()->asid, asid);
    cr_expect_eq(paper.flushes, 1);
    cr_expect(paper.entered.clean & CLEAN_ASID);
}

Test(svm_tlb, first_use_of_a_cpu_flushes_all) {
    (void)pause();
    cr_expect_eq(paper.entered.tlb_control, TLB_FLUSH_ALL);
    paper_move(1);
    (void)pause();
    cr_expect_eq(paper.entered.tlb_control, TLB_FLUSH_ALL, "of CPU 1, too");
    (void)pause();
    cr_expect_eq(paper.entered.tlb_control, 0);
}

Test(svm_tlb, flush_takes_the_next) {
    (void)pause();
    uint32_t asid = paper_vmcb()->asid;
    svm_flush_space(&paper_vcpu);
    (void)pause();
    cr_expect_eq(paper_vmcb()->asid, asid + 1);
    cr_expect_eq(paper.entered.tlb_control, 0);
    cr_expect_not(paper.entered.clean & CLEAN_ASID);
}

Test(svm_tlb, all_is_flushed_when_they_run_out) {
    for (unsigned i = 1; i < 3 * 15 + 1; i++) {
        svm_flush_space(&paper_vcpu);
        paper.translations[0][paper_vmcb()->asid] = NULL; // of its own
        (void)pause();
        cr_expect_eq(paper_vmcb()->asid, (i - 1) % 15 + 1, "15 of 16 are guests'");
        cr_expect_eq(paper.entered.tlb_control, (i - 1) % 15 == 0 ? TLB_FLUSH_ALL : 0);
    }
    cr_expect_eq(paper.flushes, 3);
}

Test(svm_tlb, another_cpus_asid_is_not_its_own) {
    (void)pause();
    paper_move(1);
    cr_expect_not(svm_has_asid(paper_x(), &paper_cpus[1]));
    (void)pause();
    paper_move(0);
    cr_expect_not(svm_has_asid(paper_x(), &paper_cpus[0]), "what it left there may be stale");
    (void)pause();
    cr_expect_eq(paper_vmcb()->asid, 2);
}

// An entry that is refused may have flushed nothing: its VMM must not get at what others left.
Test(svm_tlb, refused_entry_flushes_again) {
    paper.exits[0] = (struct paper_exit){.code = UINT64_MAX};
    cr_expect_eq(paper_enter(), EXIT_FAIL);
    cr_expect_eq(paper.entered.tlb_control, TLB_FLUSH_ALL);
    struct vcpu *other = make_vcpu();
    run_on(other, 0);
    cr_expect_eq(paper.entered.tlb_control, TLB_FLUSH_ALL);
}

// What changes a mode changes what translations mean.
Test(svm_tlb, control_registers_flush) {
    (void)pause();
    svm_set_cr0(paper_x(), svm_get_cr0(paper_x()) & ~CR0_WP);
    cr_expect_not(svm_has_asid(paper_x(), &paper_cpus[0]));
    (void)pause();
    svm_set_cr4(paper_x(), svm_get_cr4(paper_x()) | CR4_PGE);
    cr_expect_not(svm_has_asid(paper_x(), &paper_cpus[0]));
}

// ---- nested page tables -------------------------------------------------------------------------

Test(svm_npt, entries_are_those_of_long_mode, .init = paper_set_up) {
    const struct pt_format *f = svm_backend.space_format;
    const hpa_t frame = {0x12345678000};
    const uint32_t read = PT_READ | PT_USER;
    cr_expect_eq(f->leaf(frame, read | PT_WRITE | PT_EXECUTE, 0), 0x12345678007);
    cr_expect_eq(f->leaf(frame, read, 0), BIT(63) | 0x12345678005);
    cr_expect_eq(f->leaf(frame, read | PT_EXECUTE, 1), 0x12345678085);
    cr_expect_eq(f->leaf(frame, read | PT_UNCACHED, 0), BIT(63) | 0x1234567801d);
    cr_expect_eq(f->table(frame), 0x12345678007);
    for (uint32_t rights = 0; rights < 8; rights++) {
        uint32_t wanted = read;
        wanted |= rights & 1 ? PT_WRITE : 0;
        wanted |= rights & 2 ? PT_EXECUTE : 0;
        wanted |= rights & 4 ? PT_UNCACHED : 0;
        cr_expect_eq(f->rights(f->leaf(frame, wanted, 0), 0), wanted);
    }
}
