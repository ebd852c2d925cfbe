// SPDX-License-Identifier: Apache-2.0
// svm/exit_cr.c, the control registers of svm/registers.c, and CR8.
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

#define CR4_LA57 BIT(12)
#define PLAIN    (CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP)

TestSuite(svm_control, .init = paper_set_up);

static bool exits(uint64_t bit) {
    return (paper_vmcb()->intercept_cr & bit) != 0;
}

// MOV to a control register, as the processor reports it.
static enum exit_action move(unsigned number, unsigned gpr, uint64_t value) {
    if (gpr == GPR_RSP)
        paper_vmcb()->rsp = value;
    else
        paper_page.gpr[gpr] = value;
    return paper_run(
        (struct paper_exit){.code = CODE_WRITE_CR0 + number, .info_1 = BIT(63) | gpr, .length = 3});
}

// ---- what the guest changes by itself -----------------------------------------------------------

Test(svm_control, own_plain_bits_are_committed) {
    const struct {
        unsigned number;
        uint64_t flips;
    } cases[] = {{0, CR0_TS},
                 {0, CR0_MP | CR0_EM},
                 {0, CR0_WP},
                 {0, CR0_AM},
                 {4, CR4_PGE},
                 {4, CR4_OSFXSR | CR4_OSXMMEXCPT},
                 {4, CR4_SMEP | CR4_SMAP}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_set_up();
        bool is_cr0 = cases[i].number == 0;
        uint64_t old = is_cr0 ? svm_get_cr0(paper_x()) : svm_get_cr4(paper_x());
        cr_expect_eq(move(cases[i].number, GPR_RSI, old ^ cases[i].flips), EXIT_RETRY);
        cr_expect_eq(is_cr0 ? svm_get_cr0(paper_x()) : svm_get_cr4(paper_x()), old ^ cases[i].flips,
                     "case %u", i);
        cr_expect_eq(paper_vmcb()->rip, 0x1003);
    }
}

Test(svm_control, rsp_is_not_in_the_page) {
    paper_page.gpr[GPR_RSP] = 0;
    cr_expect_eq(move(0, GPR_RSP, PLAIN | CR0_TS), EXIT_RETRY);
    cr_expect_eq(svm_get_cr0(paper_x()), PLAIN | CR0_TS);
}

Test(svm_control, rest_is_the_vmms) {
    const struct {
        unsigned number;
        uint64_t value;
    } cases[] = {{0, PLAIN & ~CR0_PG},
                 {0, PLAIN & ~CR0_PE},
                 {0, PLAIN | CR0_CD},
                 {0, PLAIN & ~CR0_NE},
                 {0, PLAIN | BIT(40)},
                 {4, CR4_MCE},
                 {4, CR4_PAE | CR4_MCE | CR4_PCIDE},
                 {4, CR4_PAE},
                 {4, CR4_PAE | CR4_MCE | CR4_VMXE},
                 {4, CR4_PAE | CR4_MCE | CR4_LA57},
                 {8, 16},
                 {8, BIT(32)},
                 {2, 7}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_set_up();
        struct vmcb before = *paper_vmcb();
        cr_expect_eq(move(cases[i].number, GPR_RDI, cases[i].value), EXIT_VMM, "case %u", i);
        cr_expect_eq(paper_page.exit, VCPU_EXIT_CONTROL);
        cr_expect(paper_page.control.is_known && paper_page.control.value == cases[i].value);
        cr_expect(paper_page.control.number == cases[i].number && !paper_page.control.is_repeated);
        cr_expect_eq(paper_page.instruction_length, 3);
        cr_expect_eq(paper_page.walk.code_size, 8);
        cr_expect(paper_vmcb()->rip == 0x1000 && paper_vmcb()->cr0 == before.cr0 &&
                  paper_vmcb()->cr4 == before.cr4);
    }
}

Test(svm_control, bits_that_are_not_its_own_are_the_vmms) {
    struct vcpu_registers r = paper_registers();
    r.cr0_own = CR0_TS;
    r.cr4_own = CR4_PGE;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(move(0, GPR_RDI, PLAIN & ~CR0_WP), EXIT_VMM);
    cr_expect_eq(move(0, GPR_RDI, PLAIN | CR0_TS), EXIT_RETRY);
    cr_expect_eq(move(4, GPR_RDI, CR4_PAE | CR4_MCE | CR4_SMEP), EXIT_VMM);
    cr_expect_eq(move(4, GPR_RDI, CR4_PAE | CR4_MCE | CR4_PGE), EXIT_RETRY);
}

// What 64-bit code left above.
Test(svm_control, move_outside_64_bit_mode_is_of_32_bits) {
    for (unsigned is_long = 0; is_long < 2; is_long++) {
        paper_set_up();
        paper_vmcb()->cs.attributes = 0xc9b;
        if (!is_long) {
            paper_vmcb()->cr0 &= ~CR0_PG;
            paper_vmcb()->efer &= ~EFER_LMA;
        }
        svm_touch(paper_x(), CLEAN_ALL);
        uint64_t cr0 = svm_get_cr0(paper_x()) | CR0_TS;
        cr_expect_eq(move(0, GPR_RDI, BIT(40) | cr0), EXIT_RETRY);
        cr_expect_eq(svm_get_cr0(paper_x()), cr0);
        cr_expect_eq(move(4, GPR_RSP, BIT(63) | CR4_PAE), EXIT_VMM);
        cr_expect_eq(paper_page.control.value, CR4_PAE);
    }
}

// CLTS, LMSW, SMSW; and all on processors that do not tell.
Test(svm_control, what_is_not_told_the_vmm_decodes) {
    for (unsigned has_assists = 0; has_assists < 2; has_assists++) {
        paper_set_up();
        svm_caps.has_decode_assists = has_assists != 0;
        const uint64_t codes[] = {CODE_CR0_SEL_WRITE, CODE_WRITE_CR0, CODE_WRITE_CR0 + 4,
                                  CODE_READ_CR0, CODE_READ_CR0 + 4};
        const uint32_t numbers[] = {0, 0, 4, 0, 4};
        for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
            cr_expect_eq(paper_run((struct paper_exit){
                             .code = codes[i], .info_1 = has_assists ? 0 : BIT(63), .length = 3}),
                         EXIT_VMM);
            cr_expect_eq(paper_page.exit, VCPU_EXIT_CONTROL);
            cr_expect(!paper_page.control.is_known && paper_page.instruction_length == 0);
            cr_expect_eq(paper_page.control.number, numbers[i]);
            cr_expect_eq(paper_page.walk.cr0, PLAIN);
        }
    }
}

Test(svm_control, selective_write_is_one_of_cr0) {
    paper_page.gpr[GPR_RAX] = PLAIN & ~CR0_WP;
    cr_expect_eq(
        paper_run((struct paper_exit){.code = CODE_CR0_SEL_WRITE, .info_1 = BIT(63), .length = 3}),
        EXIT_RETRY);
    cr_expect_eq(svm_get_cr0(paper_x()), PLAIN & ~CR0_WP);
}

Test(svm_control, vmm_lets_it_be_done) {
    paper_page.control = (struct vcpu_exit_control){.number = 0, .value = PLAIN & ~CR0_PG};
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_CONTROL);
    cr_expect_eq(svm_get_cr0(paper_x()), PLAIN & ~CR0_PG);
    paper_page.control = (struct vcpu_exit_control){.number = 4, .value = CR4_PSE};
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_CONTROL);
    cr_expect_eq(svm_get_cr4(paper_x()), CR4_PSE);
    paper_page.control = (struct vcpu_exit_control){.number = 8, .value = 0xf9};
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_CONTROL);
    cr_expect_eq(paper.cr8, 9);
}

// ---- what is the host's of them -----------------------------------------------------------------

// The processor's rule, APM 2 15.8: which write of CR0 exits. What does not is done.
static void write_cr0(uint64_t value) {
    struct vmcb *vmcb = paper_vmcb();
    bool is_selective = (vmcb->intercept_1 & INTERCEPT_CR0_SEL_WRITE) &&
                        ((value ^ vmcb->cr0) & ~(CR0_TS | CR0_MP)) != 0;
    if (exits(INTERCEPT_CR_WRITE(0)) || is_selective)
        svm_set_cr0(paper_x(), value); // the VMM agrees
    else
        vmcb->cr0 = value;
}
static uint64_t read_cr0(void) {
    return exits(INTERCEPT_CR_READ(0)) ? svm_get_cr0(paper_x()) : paper_vmcb()->cr0;
}
static uint64_t read_cr4(void) {
    return exits(INTERCEPT_CR_READ(4)) ? svm_get_cr4(paper_x()) : paper_vmcb()->cr4;
}

// Every way from one value to another, by bits that are the host's and some that are not.
Test(svm_control, guest_reads_back_what_it_wrote_to_cr0) {
    const uint64_t bits[] = {CR0_PE, CR0_MP, CR0_TS, CR0_NE, CR0_NW, CR0_CD, CR0_PG};
    const unsigned count = 1u << ARRAY_COUNT(bits);
    for (unsigned from = 0; from < count; from++)
        for (unsigned to = 0; to < count; to++) {
            uint64_t first = CR0_ET, second = CR0_ET;
            for (unsigned i = 0; i < ARRAY_COUNT(bits); i++) {
                first |= from >> i & 1 ? bits[i] : 0;
                second |= to >> i & 1 ? bits[i] : 0;
            }
            write_cr0(first);
            cr_assert_eq(read_cr0(), first, "%#lx", first);
            write_cr0(second);
            cr_assert_eq(read_cr0(), second, "%#lx, then %#lx", first, second);
            cr_assert_eq(svm_get_cr0(paper_x()), second);
            cr_assert_eq(paper_vmcb()->cr0 & (CR0_CD | CR0_NW | CR0_NE | CR0_ET), CR0_NE | CR0_ET);
        }
}

Test(svm_control, guest_reads_back_what_it_wrote_to_cr4) {
    for (unsigned is_on = 0; is_on < 2; is_on++) {
        paper.reg[PAPER_CR4] = is_on ? CR4_PAE | CR4_MCE : CR4_PAE;
        const uint64_t values[] = {CR4_PAE,  CR4_PAE | CR4_MCE,    0, CR4_VMXE | CR4_PAE,
                                   CR4_LA57, CR4_OSXSAVE | CR4_PAE};
        for (unsigned i = 0; i < ARRAY_COUNT(values); i++) {
            svm_set_cr4(paper_x(), values[i]);
            cr_expect(exits(INTERCEPT_CR_WRITE(4)), "always");
            cr_expect_eq(read_cr4(), values[i]);
            cr_expect_eq(paper_vmcb()->cr4 & ~CR4_GUEST, is_on ? CR4_MCE : 0);
        }
    }
    cpu_features.has_xsave = false; // the processor would not let it in
    svm_set_cr4(paper_x(), CR4_PAE | CR4_OSXSAVE);
    cr_expect_not(paper_vmcb()->cr4 & CR4_OSXSAVE);
}

Test(svm_control, plain_registers_are_read_without_an_exit) {
    cr_expect_not(exits(INTERCEPT_CR_READ(0) | INTERCEPT_CR_READ(4) | INTERCEPT_CR_WRITE(0)));
    svm_set_cr0(paper_x(), PLAIN | CR0_CD);
    cr_expect(exits(INTERCEPT_CR_READ(0)) && exits(INTERCEPT_CR_WRITE(0)));
    svm_set_cr0(paper_x(), PLAIN);
    cr_expect_not(exits(INTERCEPT_CR_READ(0) | INTERCEPT_CR_WRITE(0)));
    svm_set_cr4(paper_x(), CR4_PAE);
    cr_expect(exits(INTERCEPT_CR_READ(4)));
}

// APM 2 14.6.1 "Activating Long Mode".
Test(svm_control, long_mode_is_active_where_paging_is_on) {
    struct vcpu_registers r = paper_registers();
    svm_set_cr0(paper_x(), PLAIN & ~CR0_PG);
    cr_expect_eq(paper_vmcb()->efer & (EFER_LMA | EFER_LME), EFER_LME);
    svm_set_cr0(paper_x(), PLAIN);
    cr_expect_eq(paper_vmcb()->efer & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
    r.efer = EFER_LMA; // not enabled
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->efer, EFER_SVME);
    r.efer = EFER_LME | BIT(14) | BIT(15); // no FFXSR, no TCE
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->efer, EFER_LME | EFER_LMA | EFER_SVME);
}

// ---- CR8 ----------------------------------------------------------------------------------------

static void write_tpr(void) {
    cr_assert_eq(paper_vmcb()->interrupt & VINTR_TPR, 5);
    paper_vmcb()->interrupt = (paper_vmcb()->interrupt & ~VINTR_TPR) | 9;
}

Test(svm_control, tpr_moves_both_ways) {
    paper.cr8 = 5;
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE, .guest = write_tpr});
    cr_expect_eq(paper.cr8, 9);
    cr_expect(paper.entered.interrupt & VINTR_MASKING);
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect_eq(paper.cr8, 9);
    cr_expect(paper.entered.clean & CLEAN_INTERRUPT, "nothing moved");
}

Test(svm_control, cr8_exits_while_an_interrupt_is_held_back) {
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    svm_sync_apic(&paper_vcpu);
    cr_expect_not(exits(INTERCEPT_CR_WRITE(8)));
    paper.held_class = 4;
    svm_sync_apic(&paper_vcpu);
    cr_expect(exits(INTERCEPT_CR_WRITE(8)));
    svm_set_cr4(paper_x(), CR4_PAE | CR4_MCE); // which leaves it alone
    cr_expect(exits(INTERCEPT_CR_WRITE(8)));
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect_eq(move(8, GPR_RDI, 3), EXIT_RETRY);
    cr_expect_eq(paper.cr8, 3);
    paper.held_class = 0;
    svm_sync_apic(&paper_vcpu);
    cr_expect_not(exits(INTERCEPT_CR_WRITE(8)));
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
}

Test(svm_control, cr8_exits_while_a_window_is_waited_for) {
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    paper_vmcb()->rflags = RFLAGS_ONE; // interrupts are off
    cr_expect_not(svm_can_take_interrupt(&paper_vcpu));
    cr_expect(exits(INTERCEPT_CR_WRITE(8)));
    (void)paper_run((struct paper_exit){.code = CODE_VINTR});
    cr_expect_not(exits(INTERCEPT_CR_WRITE(8)));
}
