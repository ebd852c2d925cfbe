// SPDX-License-Identifier: Apache-2.0
// svm/enter.c and exit_misc.c: the way into the guest and out of it, and the exits of a few lines
// each.
#include <criterion/criterion.h>
#include <signal.h>

#include "tests/unit/svm/support.h"

#include "arch/mitigation.h"

TestSuite(svm_enter, .init = paper_set_up);

// ---- where RIP goes -----------------------------------------------------------------------------

Test(svm_enter, done_instruction_is_stepped_over) {
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_HLT, .length = 3}), EXIT_BLOCK);
    cr_expect_eq(paper_vmcb()->rip, 0x1003);
    cr_expect_eq(paper_vcpu.exits[SVM_EXIT_HLT], 1);
    cr_expect_eq(paper_cpus[0].exits[SVM_EXIT_HLT], 1);
    cr_expect_eq(paper_cpus[0].recent[0], SVM_EXIT_HLT);
    svm_caps.has_next_rip = false; // as long as it is without prefixes
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_CPUID, .length = 3}), EXIT_RETRY);
    cr_expect_eq(paper_vmcb()->rip, 0x1005);
}

Test(svm_enter, other_exits_leave_rip) {
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_PAUSE, .length = 2}), EXIT_YIELD);
    cr_expect_eq(paper_vmcb()->rip, 0x1000);
    cr_expect_eq(paper_run((struct paper_exit){.code = 0x6f, .length = 2}), EXIT_RETRY, "RDPMC");
    cr_expect_eq(paper_vmcb()->rip, 0x1000);
}

Test(svm_enter, rip_wraps_outside_64_bit_mode_alone) {
    struct {
        uint64_t rip, length, is_64bit, next;
    } cases[] = {{0xffffffff, 2, 0, 1},
                 {0xffffffff, 2, 1, 0x100000001},
                 {0xfffffffd, 2, 0, 0xffffffff},
                 {0xfffffff1, 15, 0, 0},
                 {0xfffffff1, 15, 1, 0x100000000},
                 {0x7fffffff0fff, 2, 1, 0x7fffffff1001}};
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_vmcb()->cs.attributes = cases[i].is_64bit ? 0xa9b : 0xc9b; // compatibility mode
        paper_vmcb()->rip = cases[i].rip;
        svm_move_rip(paper_x(), cases[i].rip + cases[i].length);
        cr_expect_eq(paper_vmcb()->rip, cases[i].next, "case %u", i);
    }
    paper_vmcb()->cs.attributes = 0xa9b; // CS.L means nothing outside long mode
    paper_vmcb()->efer &= ~EFER_LMA;
    svm_move_rip(paper_x(), 0x100000001);
    cr_expect_eq(paper_vmcb()->rip, 1);
}

Test(svm_enter, done_instruction_ends_the_shadow) {
    paper_vmcb()->shadow = SHADOW_STI_MOV_SS | BIT(1);
    (void)paper_run((struct paper_exit){.code = CODE_CPUID, .length = 2});
    cr_expect_eq(paper_vmcb()->shadow, BIT(1));
}

Test(svm_enter, debugger_in_the_guest_steps_over_it) {
    paper_vmcb()->rflags |= RFLAGS_TF;
    paper_vmcb()->dr6 = 1;
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_HLT, .length = 1}), EXIT_RETRY,
                 "the #DB behind HLT ends it");
    cr_expect_eq(paper_vmcb()->event, EVENT_VALID | EVENT_EXCEPTION | EXC_DB);
    cr_expect_eq(paper_vmcb()->dr6, BIT(14) | 1);
    paper_vmcb()->event = EVENT_VALID | EVENT_INTERRUPT | 0x30;
    svm_trap_after_step(paper_x());
    cr_expect_eq(paper_vmcb()->event, EVENT_VALID | EVENT_INTERRUPT | 0x30, "one event at a time");
}

// ---- how long it goes on by itself --------------------------------------------------------------

static void post_to_vcpu(void) {
    paper_vcpu.pending = VCPU_PENDING_KICK;
}
static void post_to_cpu(void) {
    paper_cpus[0].is_wanted = 1;
}

Test(svm_enter, goes_on_until_something_is_pending) {
    for (unsigned i = 0; i < 3; i++)
        paper.exits[i] = (struct paper_exit){.code = CODE_CPUID, .length = 2};
    paper.exits[2].guest = post_to_vcpu;
    cr_expect_eq(paper_enter(), EXIT_RETRY);
    cr_expect_eq(paper.entries, 3);
    cr_expect_eq(paper_vmcb()->rip, 0x1006);
    paper_vcpu.pending = 0;
    paper.entries = 0;
    paper.exits[1].guest = post_to_cpu;
    cr_expect_eq(paper_enter(), EXIT_RETRY);
    cr_expect_eq(paper.entries, 2);
}

// ---- what an exit costs -------------------------------------------------------------------------

static unsigned count_steps(enum paper_step what) {
    unsigned count = 0;
    for (unsigned i = 0; i < paper.step_count; i++)
        count += paper.steps[i] == what;
    return count;
}

static void begin_counting(struct paper_exit exit, bool is_mitigated) {
    paper_set_up();
    // All that stands at an exit itself; what stands between domains is arch/mitigation.c's.
    mitigation = (struct mitigation){.stuffs_rsb = is_mitigated, .has_verw = is_mitigated};
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE, .length = 2}); // the first does more
    for (unsigned i = 0; i < ARRAY_COUNT(paper.exits); i++)
        paper.exits[i] = exit;
    paper.entries = paper.step_count = paper.msr_writes = 0;
}

// Six of them: hidden state moves once in and once out, and no MSR is written, with mitigations or
// without. SPEC_CTRL, where the guest has it, is the VMCB's.
Test(svm_enter, cpuid_writes_no_msr_and_moves_no_hidden_state) {
    for (unsigned is_mitigated = 0; is_mitigated < 2; is_mitigated++) {
        begin_counting((struct paper_exit){.code = CODE_CPUID, .length = 2}, is_mitigated != 0);
        paper.exits[5].guest = post_to_vcpu;
        cr_expect_eq(paper_enter(), EXIT_RETRY);
        cr_expect(paper.entries == 6 && paper_vmcb()->rip == 0x1000 + 6 * 2);
        cr_expect_eq(paper.msr_writes, 0);
        cr_expect(count_steps(STEP_VMLOAD_GUEST) == 1 && count_steps(STEP_VMSAVE) == 1);
        cr_expect_eq(paper_vmcb()->clean, CLEAN_ALL, "the processor may believe all of it");
    }
}

// Once before the guest runs, not at each exit; again where the host's interrupts came in between,
// and where memory was cleared for it.
Test(svm_enter, buffers_are_empty_before_the_guest_runs) {
    const struct paper_exit cpuid = {.code = CODE_CPUID, .length = 2};
    const struct paper_exit fault = {.code = CODE_NPF, .info_2 = 0x1000};
    unsigned verw, entry;
    begin_counting(cpuid, true);
    paper.exits[5].guest = post_to_vcpu;
    cr_expect_eq(paper_enter(), EXIT_RETRY);
    cr_assert(paper_did(STEP_VERW, &verw) && paper_did(STEP_ENTRY, &entry));
    cr_expect(verw < entry && count_steps(STEP_VERW) == 1);

    begin_counting(cpuid, true);
    paper.exits[0] = (struct paper_exit){.code = CODE_INTR};
    paper.exits[5].guest = post_to_vcpu;
    cr_expect_eq(paper_enter(), EXIT_RETRY);
    cr_expect_eq(count_steps(STEP_VERW), 2);

    begin_counting(cpuid, true);
    paper.exits[0] = fault;
    paper.fault = SPACE_FAULT_RETRY;
    paper.exits[5].guest = post_to_vcpu;
    cr_expect_eq(paper_enter(), EXIT_RETRY);
    cr_expect_eq(count_steps(STEP_VERW), 2);
}

// As kernel/vcpu.c does it: out of vcpu_run, and into it with the VMM's new RIP.
Test(svm_enter, out_writes_no_msr) {
    struct paper_exit out = {.code = CODE_IOIO, .info_1 = 0x70 << 16 | 0x10, .length = 2};
    for (unsigned is_mitigated = 0; is_mitigated < 2; is_mitigated++) {
        begin_counting(out, is_mitigated != 0);
        cr_expect_eq(paper_enter(), EXIT_VMM);
        svm_leave(&paper_vcpu);
        cr_expect(paper_page.exit == VCPU_EXIT_IO && paper_page.io.port == 0x70);
        paper_page.rip += paper_page.instruction_length;
        svm_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
        cr_expect_eq(paper_vmcb()->rip, 0x1002);
        cr_expect_eq(paper.msr_writes, 0);
        cr_expect(count_steps(STEP_VMLOAD_GUEST) == 1 && count_steps(STEP_VMSAVE) == 1 &&
                  count_steps(STEP_VMLOAD_HOST) == 1);
        cr_expect_eq(paper_vmcb()->clean, CLEAN_ALL, "the processor may believe all of it");
    }
}

// ---- what stands elsewhere than the VMCB has it -------------------------------------------------

static void change_registers(void) {
    cr_assert_eq(paper_vmcb()->rax, 0x1111);
    paper_vmcb()->rax = 0x2222;
    paper_page.gpr[GPR_RBX] = 0x3333;
    paper_vmcb()->rsp = 0x7ff8;
}

Test(svm_enter, rax_goes_in_and_comes_out) {
    paper_page.gpr[GPR_RAX] = 0x1111;
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE, .guest = change_registers});
    cr_expect(paper_page.gpr[GPR_RAX] == 0x2222 && paper_page.gpr[GPR_RBX] == 0x3333);
}

Test(svm_enter, event_and_flush_are_for_one_entry) {
    svm_inject_interrupt(&paper_vcpu, 0x30);
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect_eq(paper.entered.event, EVENT_VALID | 0x30);
    cr_expect_eq(paper.entered.tlb_control, TLB_FLUSH_ALL, "the first on this CPU");
    cr_expect_eq(paper_vmcb()->event, 0);
    cr_expect_eq(paper_vmcb()->tlb_control, 0);
    cr_expect_eq(paper_vmcb()->clean, CLEAN_ALL);
    svm_caps.has_clean_bits = false;
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect_eq(paper_vmcb()->clean, 0, "reserved bits");
}

Test(svm_enter, cr2_is_the_guests) {
    paper_vcpu.cr2 = 0x1234;
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect(paper.entered.cr2 == 0x1234 && paper.reg[PAPER_CR2] == 0x1234);
    paper_vmcb()->cr2 = 0x5678;
    svm_leave(&paper_vcpu);
    cr_expect_eq(paper_vcpu.cr2, 0x5678);
    paper_vcpu.cr2 = 0x9abc; // #PF by the VMM
    svm_leave(&paper_vcpu);
    cr_expect_eq(paper_vcpu.cr2, 0x9abc, "again changes nothing");
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    cr_expect_eq(paper.entered.cr2, 0x9abc);
    cr_expect_not(paper.entered.clean & CLEAN_CR2);
}

Test(svm_enter, leave_tells_the_vmm) {
    paper_vmcb()->rsp = 0x7777;
    (void)paper_run((struct paper_exit){.code = CODE_PAUSE});
    svm_leave(&paper_vcpu);
    cr_expect(paper_page.rip == 0x1000 && paper_page.gpr[GPR_RSP] == 0x7777);
    cr_expect_eq(paper_page.rflags, RFLAGS_ONE | RFLAGS_IF);
    paper_page.rip = 0x4444; // the VMM's now
    svm_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rip, 0x4444);
}

// ---- the host's state ---------------------------------------------------------------------------

static void check_order(const enum paper_step *order, unsigned count) {
    cr_expect_eq(paper.step_count, count, "%u", paper.step_count);
    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(paper.steps[i], order[i], "step %u", i);
}

Test(svm_enter, guests_state_stands_between_clgi_and_stgi) {
    const enum paper_step order[] = {STEP_CLGI,   STEP_VMLOAD_GUEST, STEP_ENTRY,
                                     STEP_VMSAVE, STEP_VMLOAD_HOST,  STEP_STGI};
    (void)paper_run((struct paper_exit){.code = CODE_HLT, .length = 1});
    check_order(order, ARRAY_COUNT(order));
    cr_expect_not(paper_x()->is_open);
}

// Interrupts are open for one moment, with all of the host's state, and for no other exit.
Test(svm_enter, external_interrupt_is_taken_and_the_guest_goes_on) {
    const enum paper_step order[] = {
        STEP_CLGI, STEP_VMLOAD_GUEST, STEP_ENTRY,        STEP_VMSAVE, STEP_VMLOAD_HOST, STEP_STGI,
        STEP_OPEN, STEP_CLGI,         STEP_VMLOAD_GUEST, STEP_VMSAVE, STEP_VMLOAD_HOST, STEP_STGI};
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_INTR}), EXIT_RETRY);
    check_order(order, ARRAY_COUNT(order));
    cr_expect_eq(paper_vcpu.own_timer_exits, 1);
    cr_expect_eq(paper_vcpu.pending, 0);
    paper_vcpu.nmi_count = 1;
    (void)paper_run((struct paper_exit){.code = CODE_INTR});
    cr_expect_eq(paper_vcpu.pending, VCPU_PENDING_NMI);
}

Test(svm_enter, nmis_of_the_host_come_with_its_state) {
    for (uint64_t code = CODE_NMI; code <= 0x63; code++) {
        cr_expect_eq(paper_run((struct paper_exit){.code = code}), EXIT_RETRY);
        unsigned count = 0;
        for (unsigned i = 0; i < paper.step_count; i++)
            count += paper.steps[i] == STEP_STGI;
        cr_expect_eq(count, 2, "code %#lx", code);
        cr_expect_eq(paper.seen.opened, 0);
    }
}

static uint64_t any_code;
static void use_gs(void) {
    paper.hidden.gs.base = 0xabcdef; // by WRMSR or SWAPGS
    paper.hidden.lstar = any_code;
}

// Whatever the guest exits for: paper_run demands the host's state.
Test(svm_enter, every_exit_gives_the_host_back) {
    for (any_code = 0; any_code <= 0x410; any_code++) {
        paper_set_up();
        (void)paper_run((struct paper_exit){.code = any_code, .length = 2, .guest = use_gs});
        cr_expect_eq(paper_vmcb()->gs.base, 0xabcdef, "code %#lx", any_code);
        cr_expect_eq(paper_vmcb()->lstar, any_code);
    }
}

// It goes on where it was; or it has used memory that is broken, and its VMM's process ends.
Test(svm_enter, machine_check_is_the_hosts_and_ends_who_used_broken_memory) {
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_MC}), EXIT_RETRY);
    cr_expect(paper.seen.machine_checks == 1 && paper.seen.ended == 0);
    cr_expect_eq(paper_vmcb()->event, 0, "not the guest's");
    paper.uses_broken_memory = true;
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_MC}), EXIT_FAIL);
    cr_expect_eq(paper.seen.ended, 1);
}

// ---- exits of a few lines -----------------------------------------------------------------------

Test(svm_enter, what_a_guest_does_not_have_is_undefined) {
    const uint64_t codes[] = {0x73, 0x7a, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
                              0x8a, 0x8b, 0x8c, 0x8e, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4};
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        paper.seen.has_vector = false;
        paper_vmcb()->event = 0;
        cr_expect_eq(paper_run((struct paper_exit){.code = codes[i], .length = 3}), EXIT_RETRY);
        cr_expect(paper.seen.has_vector && paper.seen.vector == EXC_UD, "code %#lx", codes[i]);
        cr_expect_eq(paper_vmcb()->rip, 0x1000);
    }
    paper_vmcb()->event = 0;
    (void)paper_run((struct paper_exit){.code = 0x6f, .length = 2});
    cr_expect_eq(paper.seen.vector, EXC_GP, "RDPMC");
}

Test(svm_enter, caches_stay_as_they_are) {
    (void)paper_run((struct paper_exit){.code = 0x76, .length = 2}); // INVD
    (void)paper_run((struct paper_exit){.code = 0x89, .length = 2}); // WBINVD
    cr_expect_eq(paper_vmcb()->rip, 0x1004);
}

Test(svm_enter, vmm_answers_vmmcall_and_xsetbv) {
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_VMMCALL, .length = 4}), EXIT_VMM);
    cr_expect(paper_page.exit == VCPU_EXIT_HYPERCALL && paper_page.instruction_length == 4);
    cr_expect(paper_page.walk.code_size == 8 && paper_page.walk.cpl == 0);
    cr_expect_eq(paper_run((struct paper_exit){.code = CODE_XSETBV, .length = 5}), EXIT_VMM);
    cr_expect(paper_page.exit == VCPU_EXIT_XSETBV && paper_page.instruction_length == 5);
    cr_expect_eq(paper_vmcb()->rip, 0x1000, "the VMM moves it");
}

// The intercept comes before the processor looks at CPL.
Test(svm_enter, xsetbv_is_ring_0s) {
    for (uint8_t cpl = 1; cpl < 4; cpl++) {
        paper_set_up();
        paper_vmcb()->cpl = cpl;
        cr_expect_eq(paper_run((struct paper_exit){.code = CODE_XSETBV, .length = 3}), EXIT_RETRY);
        cr_expect_eq(paper_vmcb()->event, EVENT_VALID | EVENT_EXCEPTION | EVENT_HAS_ERROR | EXC_GP);
        cr_expect_eq(paper_vmcb()->rip, 0x1000);
    }
}

Test(svm_enter, task_switch_says_by_what) {
    const struct {
        uint64_t info_2, int_info;
        uint8_t source;
        struct vcpu_inject event;
    } cases[] = {
        {BIT(36), 0, VCPU_TASK_IRET, {0}},
        {BIT(38), 0, VCPU_TASK_JUMP, {0}},
        {0, 0, VCPU_TASK_CALL, {0}},
        {BIT(44) | 5,
         0x580000b0d,
         VCPU_TASK_GATE,
         {.vector = 13, .type = 3, .has_error = 1, .error = 5}},
        {0, 0x80000202, VCPU_TASK_GATE, {.vector = 2, .type = 2}},
        {0, 0x80000430, VCPU_TASK_GATE, {.vector = 0x30, .type = 4}},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        paper_set_up();
        cr_expect_eq(paper_run((struct paper_exit){.code = CODE_TASK_SWITCH,
                                                   .info_1 = 0xdead0048,
                                                   .info_2 = cases[i].info_2,
                                                   .int_info = cases[i].int_info}),
                     EXIT_VMM);
        const struct vcpu_exit_task *task = &paper_page.task;
        cr_expect(paper_page.exit == VCPU_EXIT_TASK_SWITCH && task->selector == 0x48);
        cr_expect_eq(task->source, cases[i].source, "case %u", i);
        cr_expect_eq(task->has_event, cases[i].int_info != 0);
        cr_expect_arr_eq(&task->event, &cases[i].event, sizeof(task->event), "case %u", i);
    }
}

// ---- what nobody can explain --------------------------------------------------------------------

Test(svm_enter, unexpected_exit_ends_the_vm_in_place) {
    const uint64_t codes[] = {0x20, 0x66, 0x70, 0x7e, 0x88, 0xa5, 0x401, 0xbf, 0x12345};
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        cr_expect_eq(paper_run((struct paper_exit){.code = codes[i], .length = 2}), EXIT_FAIL);
        cr_expect_eq(paper.seen.failure, VCPU_FAILURE_UNHANDLED_EXIT);
        cr_expect_eq(paper.seen.detail, codes[i]);
        cr_expect_eq(paper_vmcb()->rip, 0x1000);
    }
}

Test(svm_enter, refused_state_ends_the_vm) {
    paper.checks_nothing = true;
    cr_expect_eq(paper_run((struct paper_exit){.code = UINT64_MAX}), EXIT_FAIL);
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_ENTRY);
    cr_expect_eq(paper.seen.detail, UINT64_MAX);
}

// QEMU 7.2 writes back what it has not loaded: the next guest there would have the host's CR8 and
// interrupts.
Test(svm_enter, refused_state_loses_no_control) {
    paper.checks_nothing = true;
    paper_vmcb()->interrupt = 0;
    cr_expect_eq(svm_exit_refused(&paper_vcpu), EXIT_FAIL);
    cr_expect_eq(paper_vmcb()->interrupt, VINTR_MASKING);
    cr_expect_eq(paper_vmcb()->clean & CLEAN_INTERRUPT, 0);
}

// The VMM's dump says it (vmm/cpu/dump.c), and names the event that no processor can deliver.
Test(svm_enter, failure_comes_with_what_the_processor_told) {
    struct vmcb *v = paper_vmcb();
    const uint64_t *words = paper_page.failure_words;
    const uint64_t event = EVENT_VALID | 1u << 8 | 4; // of a type that there is not
    struct vcpu_registers r;
    v->interrupt |= 5, v->shadow = 6, v->event = event;
    paper.checks_nothing = true;
    struct paper_exit refused = {.code = UINT64_MAX, .info_1 = 1, .info_2 = 2, .int_info = 3};
    cr_expect_eq(paper_run(refused), EXIT_FAIL);
    cr_expect(words[VCPU_WORD_INFO] == 1 && words[VCPU_WORD_ADDRESS] == 2);
    cr_expect(words[VCPU_WORD_VECTORING] == 3 && words[VCPU_WORD_ENTRY_EVENT] == event);
    cr_expect(words[VCPU_WORD_PIN] == v->interrupt && words[VCPU_WORD_INTERRUPTIBILITY] == 6);
    svm_read_registers(&paper_vcpu, &r);
    cr_expect(r.has_pending && r.pending.type == 1 && r.pending.vector == 4);
}
