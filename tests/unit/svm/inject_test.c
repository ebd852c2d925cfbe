// SPDX-License-Identifier: Apache-2.0
// svm/inject.c: events on their way into the guest, windows, NMIs and single steps.
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

#define EXCEPTION_EVENT(vector) (EVENT_VALID | EVENT_EXCEPTION | (vector))
#define ERROR(error)            (EVENT_HAS_ERROR | (uint64_t)(error) << EVENT_ERROR_SHIFT)
#define DR6_STEP                BIT(14)

TestSuite(svm_inject, .init = paper_set_up);

static enum exit_action run(uint64_t code) {
    return paper_run((struct paper_exit){.code = code, .length = 2});
}

// ---- in the middle of a delivery ----------------------------------------------------------------

Test(svm_inject, interrupted_delivery_begins_again) {
    const struct {
        uint64_t was, is;
    } cases[] = {
        {EVENT_VALID | EVENT_INTERRUPT | 0x31, EVENT_VALID | EVENT_INTERRUPT | 0x31},
        {EVENT_VALID | EVENT_NMI | 2, EVENT_VALID | EVENT_NMI | 2},
        {EXCEPTION_EVENT(EXC_PF) | ERROR(6), EXCEPTION_EVENT(EXC_PF) | ERROR(6)},
        {EXCEPTION_EVENT(EXC_UD), EXCEPTION_EVENT(EXC_UD)},
        {EVENT_VALID | EVENT_SOFTWARE | 0x80, 0}, // executed again
        {EXCEPTION_EVENT(EXC_BP), 0},
        {EXCEPTION_EVENT(EXC_OF), 0},
        {EVENT_SOFTWARE | 0x80, 0}, // not valid: there was none
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper.fault = SPACE_FAULT_RETRY;
        (void)paper_run((struct paper_exit){.code = CODE_NPF, .int_info = cases[i].was});
        cr_expect_eq(paper_vmcb()->event, cases[i].is, "case %u", i);
        cr_expect_eq(paper_vmcb()->rip, 0x1000);
    }
}

// ---- exceptions ---------------------------------------------------------------------------------

Test(svm_inject, error_code_goes_by_vector_and_mode) {
    struct {
        uint8_t vector;
        bool is_real;
        uint64_t event;
    } cases[] = {{EXC_GP, false, EXCEPTION_EVENT(EXC_GP) | ERROR(0x8008)},
                 {EXC_UD, false, EXCEPTION_EVENT(EXC_UD)},
                 {EXC_PF, false, EXCEPTION_EVENT(EXC_PF) | ERROR(0x8008)},
                 {EXC_DF, false, EXCEPTION_EVENT(EXC_DF) | EVENT_HAS_ERROR},
                 {EXC_AC, false, EXCEPTION_EVENT(EXC_AC) | ERROR(0x8008)},
                 {EXC_GP, true, EXCEPTION_EVENT(EXC_GP)},
                 {32 + EXC_UD, false, EXCEPTION_EVENT(EXC_UD)}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_vmcb()->event = 0;
        paper_vmcb()->cr0 = cases[i].is_real ? CR0_NE : CR0_NE | CR0_PE;
        svm_inject_exception(&paper_vcpu, cases[i].vector, 0x8008);
        cr_expect_eq(paper_vmcb()->event, cases[i].event, "case %u", i);
    }
}

Test(svm_inject, faults_save_rf_and_traps_do_not) {
    svm_inject_exception(&paper_vcpu, EXC_GP, 0);
    cr_expect(paper_vmcb()->rflags & RFLAGS_RF);
    paper_set_up();
    svm_inject_exception(&paper_vcpu, EXC_DB, 0);
    svm_inject_exception(&paper_vcpu, EXC_BP, 0);
    cr_expect_not(paper_vmcb()->rflags & RFLAGS_RF);
}

Test(svm_inject, exceptions_combine_with_what_is_queued) {
    svm_inject_exception(&paper_vcpu, EXC_PF, 2);
    svm_inject_exception(&paper_vcpu, EXC_GP, 5);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_DF) | EVENT_HAS_ERROR);
    svm_inject_exception(&paper_vcpu, EXC_PF, 5);
    cr_expect_eq(paper_vcpu.pending, VCPU_PENDING_SHUTDOWN);
    paper_vmcb()->event = EVENT_VALID | EVENT_INTERRUPT | EXC_GP; // its vector is no exception's
    svm_inject_exception(&paper_vcpu, EXC_GP, 5);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_GP) | ERROR(5));
    paper_vmcb()->event = EVENT_EXCEPTION | EXC_GP; // not valid
    svm_inject_exception(&paper_vcpu, EXC_GP, 5);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_GP) | ERROR(5));
}

// #DB and #AC are looked at since their delivery can raise them again, and are the guest's.
Test(svm_inject, intercepted_exceptions_are_the_guests) {
    paper_vmcb()->dr6 = 0xffff0ff1;
    cr_expect_eq(run(CODE_DB), EXIT_RETRY);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_DB));
    cr_expect_eq(paper_vmcb()->dr6, 0xffff0ff1);
    (void)paper_run((struct paper_exit){.code = CODE_AC, .info_1 = 0});
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_AC) | EVENT_HAS_ERROR);
    // Raised by the delivery of itself.
    (void)paper_run((struct paper_exit){
        .code = CODE_GP, .info_1 = 0x10, .int_info = EXCEPTION_EVENT(EXC_GP) | ERROR(8)});
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_DF) | EVENT_HAS_ERROR);
    (void)paper_run((struct paper_exit){
        .code = CODE_PF, .info_1 = 2, .int_info = EXCEPTION_EVENT(EXC_DF) | EVENT_HAS_ERROR});
    cr_expect(paper_vcpu.pending & VCPU_PENDING_SHUTDOWN);
}

// ---- the interrupt window -----------------------------------------------------------------------

#define WINDOW (VINTR_IRQ | VINTR_PRIORITY | VINTR_NO_TPR)

static bool has_window(void) {
    bool is_requested = (paper_vmcb()->interrupt & WINDOW) == WINDOW;
    cr_assert_eq((paper_vmcb()->interrupt & VINTR_IRQ) != 0, is_requested);
    cr_assert_eq((paper_vmcb()->intercept_1 & INTERCEPT_VINTR) != 0, is_requested);
    return is_requested;
}

Test(svm_inject, interrupt_goes_in_where_nothing_bars_it) {
    cr_expect(svm_can_take_interrupt(&paper_vcpu) && !has_window());
    svm_inject_interrupt(&paper_vcpu, 0xef);
    cr_expect_eq(paper_vmcb()->event, EVENT_VALID | 0xef);
    cr_expect_not(svm_can_take_interrupt(&paper_vcpu), "one is queued");
    for (unsigned i = 0; i < 2; i++) {
        paper_set_up();
        if (i == 0)
            paper_vmcb()->rflags &= ~RFLAGS_IF;
        else
            paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
        cr_expect_not(svm_can_take_interrupt(&paper_vcpu), "case %u", i);
        cr_expect(has_window());
    }
}

Test(svm_inject, window_exits_once_and_has_both_sources_looked_at) {
    paper_vmcb()->rflags &= ~RFLAGS_IF;
    (void)run(CODE_PAUSE);
    (void)svm_can_take_interrupt(&paper_vcpu);
    paper_vcpu.pending = 0;
    cr_expect_eq(run(CODE_VINTR), EXIT_RETRY);
    cr_expect_not(has_window());
    cr_expect_eq(paper_vcpu.pending, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    cr_expect(paper_vmcb()->interrupt & VINTR_MASKING);
}

// It would come before the instruction that is to be stepped, again and again.
Test(svm_inject, step_has_no_window_and_ends_with_a_look) {
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    cr_expect_not(svm_can_take_interrupt(&paper_vcpu));
    cr_expect(has_window());
    (void)svm_step(&paper_vcpu);
    cr_expect_not(svm_can_take_interrupt(&paper_vcpu));
    cr_expect_not(has_window());
    paper_vcpu.pending = 0;
    paper_vmcb()->dr6 = DR6_STEP;
    (void)run(CODE_DB);
    cr_expect(paper_vcpu.pending & VCPU_PENDING_INTERRUPT);
    cr_expect(paper_vcpu.pending & VCPU_PENDING_EXTINT);
}

// ---- NMIs ---------------------------------------------------------------------------------------

static uint64_t flags_after_iret;
static void do_iret(void) {
    paper_vmcb()->rip = 0x2000;
    paper_vmcb()->rflags = flags_after_iret;
    paper_vmcb()->dr6 = DR6_STEP;
}

static bool does_iret_exit(void) {
    return (paper_vmcb()->intercept_1 & INTERCEPT_IRET) != 0;
}

static void take_nmi(void) {
    cr_assert_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
    svm_inject_nmi(&paper_vcpu);
    (void)run(CODE_PAUSE);
    cr_assert_eq(paper.entered.event, EVENT_VALID | EVENT_NMI | EXC_NMI);
}

Test(svm_inject, nmi_blocks_the_next_until_its_iret_is_done) {
    take_nmi();
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
    cr_expect(does_iret_exit());
    paper_vcpu.pending = 0;
    cr_expect_eq(run(CODE_IRET), EXIT_RETRY);
    cr_expect_eq(paper_vmcb()->rip, 0x1000, "the guest does it");
    cr_expect_eq(paper_vcpu.pending, VCPU_PENDING_NMI);
    cr_expect_not(does_iret_exit());
    // At IRET still.
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
    cr_expect(paper_vmcb()->rflags & RFLAGS_TF);
    paper_vcpu.pending = 0;
    flags_after_iret = RFLAGS_ONE;
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_DB, .guest = do_iret}), EXIT_RETRY);
    cr_expect(paper_vcpu.pending & VCPU_PENDING_NMI);
    cr_expect_eq(paper_vmcb()->event, 0, "the #DB was ours");
    cr_expect_not(paper_vmcb()->rflags & RFLAGS_TF);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
}

Test(svm_inject, nmi_is_open_again_where_iret_is_behind) {
    take_nmi();
    (void)run(CODE_IRET);
    paper_vmcb()->rip = 0x2000; // nobody asked meanwhile
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
    cr_expect_eq(paper_x()->steps, 0);
}

// A #PF at IRET's stack: the VMM's, and then it begins again, still blocked.
Test(svm_inject, iret_that_exits_again_is_not_done) {
    take_nmi();
    (void)run(CODE_IRET);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
    (void)run(CODE_NPF);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
    struct vcpu_registers r;
    svm_read_registers(&paper_vcpu, &r);
    cr_expect_eq(r.interruptibility, BIT(3));
}

// The debugger in the guest whose instruction the NMI came behind.
Test(svm_inject, iret_brings_back_the_trap_flag) {
    for (unsigned has_tf = 0; has_tf < 2; has_tf++) {
        paper_set_up();
        take_nmi();
        (void)run(CODE_IRET);
        cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
        flags_after_iret = RFLAGS_ONE | (has_tf ? RFLAGS_TF : 0);
        (void)paper_run((struct paper_exit){.code = CODE_DB, .guest = do_iret});
        cr_expect_eq(paper_vmcb()->rflags, flags_after_iret, "TF %u", has_tf);
        cr_expect_eq(svm_get_rflags(paper_x()), flags_after_iret);
        cr_expect_eq(paper_vmcb()->event, 0);
    }
}

Test(svm_inject, nmi_behind_a_queued_event_exits_as_soon_as_that_is_in) {
    svm_inject_interrupt(&paper_vcpu, 0x30);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_SHUT);
    cr_expect_eq(paper.seen.wakes, 1, "an interrupt of our own");
    cr_expect_eq(paper_x()->steps, 0, "TF would be the handler's");
    paper_vcpu.nmi_count = 1;
    (void)run(CODE_INTR);
    cr_expect_eq(paper_vcpu.pending & VCPU_PENDING_NMI, VCPU_PENDING_NMI);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
}

Test(svm_inject, nmi_waits_for_the_end_of_a_shadow) {
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_SHUT);
    cr_expect(paper_vmcb()->rflags & RFLAGS_TF);
    cr_expect_not(svm_get_rflags(paper_x()) & RFLAGS_TF);
    paper_vmcb()->shadow = 0;
    paper_vmcb()->dr6 = DR6_STEP;
    (void)run(CODE_DB);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
}

// STI, then HLT, which the kernel does: were the step not over, nothing would ever wake the vCPU.
Test(svm_inject, hlt_behind_sti_ends_the_step) {
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_SHUT);
    paper_vcpu.pending = 0;
    cr_expect_eq(run(CODE_HLT), EXIT_BLOCK);
    cr_expect_eq(paper_vcpu.pending & VCPU_PENDING_LOOKS, VCPU_PENDING_LOOKS);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
    cr_expect(svm_can_take_interrupt(&paper_vcpu));
    cr_expect_not(paper_vmcb()->rflags & RFLAGS_TF);
}

Test(svm_inject, vmm_that_did_the_instruction_ends_the_step_for_an_nmi) {
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    (void)svm_can_take_nmi(&paper_vcpu);
    paper_page.rip = 0x1002;
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
    cr_expect_not(paper_vmcb()->rflags & RFLAGS_TF);
}

// ---- single steps -------------------------------------------------------------------------------

static void begin_step(void) {
    paper_vcpu.is_stepping = svm_step(&paper_vcpu);
    cr_assert(paper_vcpu.is_stepping);
}

Test(svm_inject, step_ends_behind_the_instruction) {
    begin_step();
    cr_expect_eq(paper_vmcb()->rflags, RFLAGS_ONE | RFLAGS_IF | RFLAGS_TF);
    svm_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rflags, RFLAGS_ONE | RFLAGS_IF, "TF is hidden");
    struct vcpu_registers r;
    svm_read_registers(&paper_vcpu, &r);
    cr_expect_eq(r.rflags, RFLAGS_ONE | RFLAGS_IF);
    paper_vmcb()->dr6 = DR6_STEP | 0xff0;
    cr_expect_eq(run(CODE_DB), EXIT_VMM);
    cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
    cr_expect_not(paper_vcpu.is_stepping);
    cr_expect_eq(paper_vmcb()->event, 0);
    cr_expect_eq(paper_vmcb()->dr6, 0xff0);
    cr_expect_eq(paper_vmcb()->rflags, RFLAGS_ONE | RFLAGS_IF);
    cr_expect_eq(paper_vmcb()->intercept_exception, 0x60002);
    cr_expect_eq(paper_vcpu.pending & VCPU_PENDING_LOOKS, VCPU_PENDING_LOOKS);
}

static void do_step(void) {
    paper_vmcb()->dr6 = DR6_STEP;
}

// The processor, which knows the VMCB already, learns of what exits for it, and of the end.
Test(svm_inject, step_in_a_running_guest) {
    (void)run(CODE_PAUSE);
    begin_step();
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_DB, .guest = do_step}), EXIT_VMM);
    (void)run(CODE_PAUSE);
    cr_expect_eq(paper.entered.intercept_exception, 0x60002);
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS;
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_SHUT);
    (void)run(CODE_PAUSE);
    cr_expect_neq(paper.entered.intercept_exception, 0x60002);
}

Test(svm_inject, guests_own_step_goes_on_beside_ours) {
    paper_vmcb()->rflags |= RFLAGS_TF;
    begin_step();
    cr_expect(svm_get_rflags(paper_x()) & RFLAGS_TF);
    paper_vmcb()->dr6 = DR6_STEP;
    cr_expect_eq(run(CODE_DB), EXIT_VMM);
    cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_DB));
    cr_expect_eq(paper_vmcb()->dr6, DR6_STEP);
    cr_expect(paper_vmcb()->rflags & RFLAGS_TF);
}

// A breakpoint of the guest's that is met by the instruction which is stepped; DR6 keeps what the
// guest left there.
Test(svm_inject, breakpoint_in_our_step_is_the_guests) {
    const struct {
        uint64_t before, at_exit, after;
        bool is_guests;
    } cases[] = {
        {0xff0, 0xff0 | DR6_STEP, 0xff0, false},
        {0xff0, 0xff1 | DR6_STEP, 0xff1, true}, // data, behind the instruction
        {0xff0, 0xff8, 0xff8, true},            // of the instruction, before it
        {0xff0, 0xff0 | BIT(13), 0xff0 | BIT(13), true},
        {0xff2, 0xff2 | DR6_STEP, 0xff2, false}, // an old one
        {0xff0 | DR6_STEP, 0xff0 | DR6_STEP, 0xff0 | DR6_STEP, false},
        {0xff0 | DR6_STEP, 0xff4 | DR6_STEP, 0xff4 | DR6_STEP, true},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_set_up();
        paper_vmcb()->dr6 = cases[i].before;
        begin_step();
        paper_vmcb()->dr6 = cases[i].at_exit;
        cr_expect_eq(run(CODE_DB), EXIT_VMM);
        cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
        cr_expect_eq(paper_vmcb()->event, cases[i].is_guests ? EXCEPTION_EVENT(EXC_DB) : 0,
                     "case %u", i);
        cr_expect_eq(paper_vmcb()->dr6, cases[i].after, "case %u", i);
    }
}

Test(svm_inject, tf_that_the_vmm_writes_while_it_steps_is_the_guests) {
    begin_step();
    paper_page.rflags = RFLAGS_ONE;
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    cr_expect_eq(paper_vmcb()->rflags, RFLAGS_ONE | RFLAGS_TF);
    cr_expect_eq(svm_get_rflags(paper_x()), RFLAGS_ONE);
    paper_page.rflags = RFLAGS_ONE | RFLAGS_TF | BIT(40);
    svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RFLAGS);
    cr_expect_eq(svm_get_rflags(paper_x()), RFLAGS_ONE | RFLAGS_TF);
}

Test(svm_inject, exceptions_end_a_step_and_are_delivered) {
    for (unsigned vector = 0; vector < 32; vector++) {
        if (vector == EXC_DB || vector == EXC_NMI || vector == EXC_BP || vector == EXC_OF ||
            vector == EXC_MC)
            continue;
        paper_set_up();
        begin_step();
        cr_expect(paper_vmcb()->intercept_exception >> vector & 1);
        cr_expect_eq(
            paper_run((struct paper_exit){.code = 0x40 + vector, .info_1 = 2, .info_2 = 0xcafe}),
            EXIT_VMM);
        cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
        cr_expect_eq(paper_vmcb()->event & (EVENT_VALID | EVENT_TYPE | EVENT_VECTOR),
                     EXCEPTION_EVENT(vector));
        cr_expect_eq(paper_vmcb()->cr2, vector == EXC_PF ? 0xcafe : 0);
        cr_expect_not(paper_vmcb()->rflags & RFLAGS_TF, "nothing of it on the guest's stack");
        cr_expect_eq(paper_vmcb()->intercept_exception, 0x60002);
    }
}

// INT3 and INTO push RFLAGS as they are; intercepted, they could not be told from a fault.
Test(svm_inject, traps_are_not_intercepted) {
    begin_step();
    cr_expect_eq(paper_vmcb()->intercept_exception & (BIT(EXC_BP) | BIT(EXC_OF) | BIT(EXC_NMI)), 0);
}

Test(svm_inject, instruction_that_the_kernel_does_is_a_step) {
    begin_step();
    cr_expect_eq(run(CODE_CPUID), EXIT_VMM);
    cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
    cr_expect(paper_vmcb()->rip == 0x1002 && paper_vmcb()->event == 0);
    cr_expect_not(paper_vcpu.is_stepping || (paper_vmcb()->rflags & RFLAGS_TF));
    begin_step();
    cr_expect_eq(run(CODE_HLT), EXIT_BLOCK, "vcpu_run ends that step");
    cr_expect(svm_can_take_interrupt(&paper_vcpu));
    paper_set_up();
    paper_vmcb()->rflags |= RFLAGS_TF;
    begin_step();
    cr_expect_eq(run(CODE_CPUID), EXIT_VMM);
    cr_expect_eq(paper_vmcb()->event, EXCEPTION_EVENT(EXC_DB), "the guest steps, too");
    cr_expect(paper_vmcb()->rflags & RFLAGS_TF);
}

Test(svm_inject, other_exits_come_first) {
    begin_step();
    cr_expect_eq(run(CODE_NPF), EXIT_VMM);
    cr_expect_eq(paper_page.exit, VCPU_EXIT_MEMORY);
    cr_expect(paper_vcpu.is_stepping && paper_vmcb()->rflags & RFLAGS_TF);
}

// An event in its place: TF would be pushed, the handler would run, and until its IRET no interrupt
// would come.
Test(svm_inject, step_over_an_event_ends_behind_its_delivery) {
    for (unsigned i = 0; i < 2; i++) {
        paper_set_up();
        if (i == 0)
            svm_inject_interrupt(&paper_vcpu, 0x30);
        begin_step();
        if (i == 1)
            svm_inject_exception(&paper_vcpu, EXC_GP, 0);
        cr_expect_not(paper_vmcb()->rflags & RFLAGS_TF, "case %u", i);
        cr_expect_eq(paper.seen.wakes, 1);
        cr_expect_eq(run(CODE_INTR), EXIT_VMM);
        cr_expect_not(paper.entered.rflags & RFLAGS_TF);
        cr_expect_eq(paper_page.exit, VCPU_EXIT_STEPPED);
        cr_expect_not(paper_vcpu.is_stepping);
        cr_expect(svm_can_take_interrupt(&paper_vcpu));
        cr_expect_eq(run(CODE_INTR), EXIT_RETRY, "once");
    }
}

Test(svm_inject, step_over_an_event_that_does_not_get_in_is_not_done) {
    svm_inject_interrupt(&paper_vcpu, 0x30);
    begin_step();
    (void)paper_run((struct paper_exit){.code = CODE_INTR, .int_info = EVENT_VALID | 0x30});
    cr_expect(paper_vcpu.is_stepping);
}

// ---- for the VMM --------------------------------------------------------------------------------

Test(svm_inject, queued_event_is_told_and_taken_back) {
    struct vcpu_registers r;
    svm_inject_exception(&paper_vcpu, EXC_GP, 0x18);
    svm_read_registers(&paper_vcpu, &r);
    cr_expect(r.has_pending && r.pending.vector == EXC_GP && r.pending.type == 3);
    cr_expect(r.pending.has_error && r.pending.error == 0x18);
    uint64_t event = paper_vmcb()->event;
    paper_vmcb()->event = 0;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->event, event);
    r.has_pending = 0;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_eq(paper_vmcb()->event, 0);
    r.has_pending = 1;
    for (uint8_t type = 4; type < 8; type++) { // software's: executed again
        r.pending.type = type;
        svm_write_registers(&paper_vcpu, &r);
        cr_expect_eq(paper_vmcb()->event, 0, "type %u", type);
    }
}

Test(svm_inject, written_state_ends_windows_and_steps) {
    struct vcpu_registers r = paper_registers();
    svm_inject_interrupt(&paper_vcpu, 0x30);
    (void)svm_can_take_interrupt(&paper_vcpu);
    cr_expect(has_window());
    paper_vmcb()->event = 0;
    (void)svm_step(&paper_vcpu);
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_not(has_window());
    cr_expect(paper_x()->steps == 0 && !(paper_vmcb()->rflags & RFLAGS_TF));
    begin_step(); // one that the VMM waits for holds
    svm_write_registers(&paper_vcpu, &r);
    cr_expect(paper_vmcb()->rflags & RFLAGS_TF);
    cr_expect_not(svm_get_rflags(paper_x()) & RFLAGS_TF);
}

Test(svm_inject, nmi_in_service_is_told_and_taken_back) {
    struct vcpu_registers r;
    take_nmi();
    svm_read_registers(&paper_vcpu, &r);
    cr_expect_eq(r.interruptibility, BIT(3));
    paper_set_up();
    svm_write_registers(&paper_vcpu, &r);
    cr_expect(does_iret_exit());
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_IN_SERVICE);
    r.interruptibility = 0;
    svm_write_registers(&paper_vcpu, &r);
    cr_expect_not(does_iret_exit());
    cr_expect_eq(svm_can_take_nmi(&paper_vcpu), NMI_OPEN);
}
