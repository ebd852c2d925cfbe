// SPDX-License-Identifier: Apache-2.0
// vmx/enter.c, exit_misc.c and state.c: the way into the guest and out of it, the exits of a few
// lines each, and a vCPU's creation.
#include <criterion/criterion.h>

#include "tests/unit/vmx/support.h"

#include "arch/mitigation.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "vmx/exit.h"

enum {
    REASON_EXCEPTION = 0,
    REASON_INTERRUPT = 1,
    REASON_CPUID = 10,
    REASON_HLT = 12,
    REASON_IO = 30,
    REASON_PAUSE = 40
};

static void enter_set_up(void) {
    paper_set_up_loaded();
    paper.vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_ONE | RFLAGS_IF;
    paper.vmcs[VMCS_GUEST_RIP] = 0x1000;
    paper.vmcs[VMCS_EXIT_INSTRUCTION_LENGTH] = 2;
    paper.reasons[0] = REASON_HLT;
}

TestSuite(backend_enter, .init = enter_set_up);

// ---- where RIP goes -----------------------------------------------------------------------------

Test(backend_enter, done_instruction_is_stepped_over) {
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_BLOCK);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1002);
    cr_expect_eq(paper_vcpu.exits[REASON_HLT], 1);
    cr_expect_eq(paper_cpus[0].exits[REASON_HLT], 1);
}

Test(backend_enter, other_exits_leave_rip) {
    paper.reasons[0] = REASON_PAUSE;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_YIELD);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1000);
}

Test(backend_enter, rip_wraps_as_the_mode_says) {
    paper.vmcs[VMCS_GUEST_RIP] = 0xffffffff;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 1);

    enter_set_up();
    paper.vmcs[VMCS_GUEST_RIP] = 0xffffffff;
    paper.vmcs[VMCS_GUEST_EFER] = EFER_LMA;
    paper.vmcs[VMCS_ACCESS_RIGHTS(VMCS_CS)] = SEGMENT_LONG;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x100000001);

    enter_set_up();
    paper.vmcs[VMCS_GUEST_RIP] = 0xffffffff;
    paper.vmcs[VMCS_GUEST_EFER] = EFER_LMA; // compatibility mode
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 1);

    enter_set_up();
    paper.vmcs[VMCS_GUEST_RIP] = 0xfffffffd;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0xffffffff);
}

Test(backend_enter, done_instruction_ends_blocking) {
    const uint32_t until_next[] = {BLOCKING_BY_STI, BLOCKING_BY_MOV_SS};
    for (unsigned i = 0; i < ARRAY_COUNT(until_next); i++) {
        enter_set_up();
        paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY] = until_next[i] | BLOCKING_BY_NMI;
        (void)vmx_enter(&paper_vcpu);
        cr_expect_eq(paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY], BLOCKING_BY_NMI);
        cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], 0);
    }
}

Test(backend_enter, single_step_behind_it_is_pending) {
    paper.vmcs[VMCS_GUEST_RFLAGS] |= RFLAGS_TF;
    paper.vmcs[VMCS_GUEST_PENDING_DEBUG] = 1;
    paper.reasons[1] = REASON_PAUSE;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_YIELD, "the #DB behind HLT ends it");
    cr_expect_eq(paper.entries, 2);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], PENDING_DEBUG_SINGLE_STEP | 1);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY], 0);
}

static void toggle_tf(void) {
    paper.vmcs[VMCS_GUEST_RFLAGS] ^= RFLAGS_TF;
}
Test(backend_enter, flags_are_those_of_the_exit) {
    paper.on_entry = toggle_tf; // the guest does
    paper.vmcs[VMCS_GUEST_RFLAGS] |= RFLAGS_TF;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_BLOCK);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], 0);
    paper.entries = 0;
    paper.reasons[1] = REASON_PAUSE;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_YIELD);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], PENDING_DEBUG_SINGLE_STEP);
}

// ---- how long it goes on by itself --------------------------------------------------------------

static void post_to_vcpu(void) {
    if (paper.entries == 2)
        paper_vcpu.pending = VCPU_PENDING_KICK;
}
static void post_to_cpu(void) {
    if (paper.entries == 2)
        paper_cpus[0].is_wanted = 1;
}

Test(backend_enter, goes_on_until_something_is_pending) {
    for (unsigned i = 0; i < 4; i++)
        paper.reasons[i] = REASON_CPUID;
    paper.on_entry = post_to_vcpu;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_RETRY);
    cr_expect_eq(paper.entries, 2);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1004);
    paper_vcpu.pending = 0;
    paper.entries = 0;
    paper.on_entry = post_to_cpu;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_RETRY);
    cr_expect_eq(paper.entries, 2);
}

// ---- what an exit costs -------------------------------------------------------------------------

static void begin_counting(uint32_t reason, bool is_mitigated) {
    enter_set_up();
    // All that stands at an exit itself; what stands between domains is arch/mitigation.c's.
    mitigation = (struct mitigation){
        .has_verw = is_mitigated, .clears_bhb = is_mitigated, .stuffs_rsb = is_mitigated};
    (void)vmx_enter(&paper_vcpu); // the first one does more
    for (unsigned i = 0; i < ARRAY_COUNT(paper.reasons); i++)
        paper.reasons[i] = reason;
    paper.vmcs[VMCS_GUEST_RIP] = 0x1000;
    paper.vmcs[VMCS_EXIT_QUALIFICATION] = 0x70 << 16; // OUT of a byte to port 0x70
    paper.entries = paper.step_count = paper.msr_writes = paper.vmcs_accesses = 0;
    paper_vcpu.pending = VCPU_PENDING_KICK; // one exit
}

// With mitigations there are VERW before the loop, the branch history behind each exit, and the
// return stack at its end, but no WRMSR.
static void check_mitigated(bool is_mitigated) {
    cr_expect_eq(paper.entries, 1);
    cr_expect_eq(paper.msr_writes, 0, "an MSR was written");
    cr_expect_eq(paper_did(STEP_VERW, NULL), is_mitigated);
    cr_expect_eq(paper_did(STEP_HISTORY, NULL), is_mitigated);
}

Test(backend_enter, cpuid_takes_six_accesses_and_writes_no_msr) {
    for (unsigned is_mitigated = 0; is_mitigated < 2; is_mitigated++) {
        begin_counting(REASON_CPUID, is_mitigated != 0);
        cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_RETRY);
        cr_expect_leq(paper.vmcs_accesses, 6);
        cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1002);
        check_mitigated(is_mitigated != 0);
    }
}

// As kernel/vcpu.c does it: out of vcpu_run, and into it with the VMM's new RIP.
Test(backend_enter, out_takes_ten_accesses_and_writes_no_msr) {
    for (unsigned is_mitigated = 0; is_mitigated < 2; is_mitigated++) {
        begin_counting(REASON_IO, is_mitigated != 0);
        cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_VMM);
        vmx_leave(&paper_vcpu);
        cr_expect(paper_page.exit == VCPU_EXIT_IO && paper_page.io.port == 0x70);
        paper_page.rip += paper_page.instruction_length;
        vmx_sync_registers(&paper_vcpu, VCPU_DIRTY_RIP);
        cr_expect_leq(paper.vmcs_accesses, 10);
        cr_expect_eq(paper.vmcs[VMCS_GUEST_RIP], 0x1002);
        check_mitigated(is_mitigated != 0);
    }
}

// IA32_SPEC_CTRL is the one MSR that moves with an exit: by the processor, once the guest has set
// what the host has not.
Test(backend_enter, processor_moves_one_msr_at_most) {
    begin_counting(REASON_CPUID, true);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_MSR_LOAD_COUNT] + paper.vmcs[VMCS_EXIT_MSR_STORE_COUNT] +
                     paper.vmcs[VMCS_EXIT_MSR_LOAD_COUNT],
                 0);
    speculation_write(paper_x(), BIT(2)); // SSBD
    cr_expect(paper.vmcs[VMCS_ENTRY_MSR_LOAD_COUNT] == 1 &&
              paper.vmcs[VMCS_EXIT_MSR_STORE_COUNT] == 1 &&
              paper.vmcs[VMCS_EXIT_MSR_LOAD_COUNT] == 1);
    cr_expect(paper_x()->spec_guest.index == 0x48 && paper_x()->spec_host.index == 0x48);
}

// ---- before the entry ---------------------------------------------------------------------------

Test(backend_enter, cr2_is_the_guests) {
    paper_vcpu.cr2 = 0x1234;
    paper_x()->entry_work |= WORK_CR2;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.reg[PAPER_CR2], 0x1234);
    cr_expect_eq(paper_x()->entry_work, 0);
    // The guest changes it; then another thread's page fault comes between.
    paper.reg[PAPER_CR2] = 0x5678;
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_vcpu.cr2, 0x5678);
    paper.reg[PAPER_CR2] = 0x9999;
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_vcpu.cr2, 0x5678, "the second time changes nothing");
    paper.entries = 0;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.reg[PAPER_CR2], 0x5678);
}

Test(backend_enter, leaving_tells_the_vmm_once) {
    (void)vmx_enter(&paper_vcpu);
    paper.vmcs[VMCS_GUEST_RSP] = 0x7777;
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rip, 0x1002);
    cr_expect_eq(paper_page.gpr[GPR_RSP], 0x7777);
    cr_expect_eq(paper_page.rflags, RFLAGS_ONE | RFLAGS_IF);
    paper_page.rip = 0x9999; // the VMM's wish, not taken over yet
    vmx_leave(&paper_vcpu);
    cr_expect_eq(paper_page.rip, 0x9999);
}

Test(backend_enter, refused_state_ends_the_vm_alone) {
    paper.reasons[0] = 0x80000021;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL);
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_ENTRY);
    cr_expect_eq(paper.seen.detail, 0x21);
    cr_expect_eq(paper_x()->is_launched, 0, "the next entry launches");
    cr_expect(paper_did(STEP_VMCLEAR, NULL));
    cr_expect_eq(paper.current_vmcs, paper_x()->vmcs.v);
    cr_expect_eq(paper_vcpu.exits[0x21], 0);

    enter_set_up();
    paper.reasons[0] = VMX_REFUSED;
    paper.vmcs[VMCS_INSTRUCTION_ERROR] = 7;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL);
    cr_expect_eq(paper.seen.detail, VMX_REFUSED | 7);

    enter_set_up();
    paper.reasons[0] = VMX_EXIT_COUNT;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL, "a reason beyond the table");
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_UNHANDLED_EXIT);
}

// By default an exit is refused: what has no row ends the VM.
Test(backend_enter, reason_without_a_row_is_unexpected) {
    static const uint8_t without[] = {3,  4,  5,  6,  14, 16, 29, 33, 34, 35, 38, 41, 42, 44,
                                      46, 47, 49, 51, 52, 57, 58, 61, 62, 66, 71, 74, 75};
    unsigned next = 0;
    for (unsigned i = 0; i < VMX_EXIT_COUNT; i++) {
        bool has_row = next == ARRAY_COUNT(without) || without[next] != i;
        next += has_row ? 0 : 1;
        cr_expect_eq(vmx_exit_handlers[i] != exit_unexpected, has_row, "exit %u", i);
    }
    cr_expect_eq(next, ARRAY_COUNT(without));
}

// ---- exceptions that are intercepted ------------------------------------------------------------

static void raise(uint32_t vector, uint32_t type) {
    paper.reasons[0] = REASON_EXCEPTION;
    paper.reasons[1] = REASON_HLT;
    paper.vmcs[VMCS_EXIT_INTERRUPTION_INFO] = EVENT_VALID | type | vector;
}

Test(backend_enter, debug_exception_has_its_dr6) {
    raise(EXC_DB, EVENT_EXCEPTION);
    paper.reg[PAPER_DR6] = 0xffff0ff0 | 0xc;
    paper.vmcs[VMCS_EXIT_QUALIFICATION] = 0x4002 | BIT(16); // bit 16 is not DR6's
    paper.vmcs[VMCS_GUEST_DR7] = 0x400 | BIT(13);
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_BLOCK);
    cr_expect_eq(paper.reg[PAPER_DR6], 0xffff4ff2, "the breakpoints of before are gone");
    cr_expect_eq(paper.vmcs[VMCS_GUEST_DR7], 0x400, "general detect is off in its handler");
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO], EVENT_VALID | EVENT_EXCEPTION | EXC_DB);
}

Test(backend_enter, step_in_a_shadow_is_pending_as_entry_wants_it) {
    const struct {
        uint32_t blocking;
        uint64_t flags, debugctl, pending;
    } cases[] = {
        {BLOCKING_BY_STI, RFLAGS_TF, 0, PENDING_DEBUG_SINGLE_STEP},
        {BLOCKING_BY_MOV_SS, RFLAGS_TF, 0, PENDING_DEBUG_SINGLE_STEP},
        {BLOCKING_BY_STI, RFLAGS_TF, DEBUGCTL_BTF, 0},
        {BLOCKING_BY_STI, 0, 0, 0},
        {0, RFLAGS_TF, 0, 0},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(cases); i++) {
        enter_set_up();
        raise(EXC_DB, EVENT_EXCEPTION);
        paper.vmcs[VMCS_GUEST_INTERRUPTIBILITY] = cases[i].blocking;
        paper.vmcs[VMCS_GUEST_RFLAGS] |= cases[i].flags;
        paper.vmcs[VMCS_GUEST_DEBUGCTL] = cases[i].debugctl;
        cr_assert_eq(vmx_exit_handlers[REASON_EXCEPTION](&paper_vcpu), EXIT_RETRY);
        cr_expect_eq(paper.vmcs[VMCS_GUEST_PENDING_DEBUG], cases[i].pending, "case %u", i);
    }
}

Test(backend_enter, alignment_check_is_reflected) {
    raise(EXC_AC, EVENT_EXCEPTION | EVENT_HAS_ERROR);
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_BLOCK);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO],
                 EVENT_VALID | EVENT_EXCEPTION | EVENT_HAS_ERROR | EXC_AC);
}

Test(backend_enter, hosts_nmi_goes_to_the_host) {
    raise(EXC_NMI, EVENT_NMI);
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_BLOCK);
    unsigned nmi, entry;
    cr_expect(paper_did(STEP_NMI, &nmi));
    cr_expect(paper_did(STEP_ENTRY, &entry));
    cr_expect_eq(nmi, entry + 1);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO], 0, "not to the guest");
}

Test(backend_enter, event_on_its_way_comes_again) {
    raise(EXC_NMI, EVENT_NMI);
    paper.vmcs[VMCS_IDT_VECTORING_INFO] = EVENT_VALID | EVENT_INTERRUPT | 0x41;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO], EVENT_VALID | 0x41);
}

// The guest goes on where it was, with the event that was on its way; or it has used memory that is
// broken, and its VMM's process ends.
Test(backend_enter, machine_check_is_the_hosts_and_ends_who_used_broken_memory) {
    raise(EXC_MC, EVENT_EXCEPTION);
    paper.vmcs[VMCS_IDT_VECTORING_INFO] = EVENT_VALID | EVENT_INTERRUPT | 0x41;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.vmcs[VMCS_ENTRY_INTERRUPTION_INFO], EVENT_VALID | 0x41);
    cr_expect(paper.seen.machine_checks == 1 && paper.seen.ended == 0);
    enter_set_up();
    raise(EXC_MC, EVENT_EXCEPTION);
    paper.uses_broken_memory = true;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL);
    cr_expect_eq(paper.seen.ended, 1);
}

Test(backend_enter, machine_check_at_the_entry_ends_the_vm_in_any_case) {
    for (unsigned is_used = 0; is_used < 2; is_used++) {
        enter_set_up();
        paper.uses_broken_memory = is_used;
        paper.reasons[0] = EXIT_REASON_ENTRY_FAILED | EXIT_REASON_MACHINE_CHECK;
        cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL);
        cr_expect_eq(paper.seen.machine_checks, 1, "the banks are looked at");
        cr_expect_eq(paper.seen.ended, is_used);
        cr_expect_eq(paper.seen.failure, VCPU_FAILURE_ENTRY);
    }
}

Test(backend_enter, exceptions_that_are_not_intercepted_end_the_vm) {
    raise(EXC_UD, EVENT_EXCEPTION); // never intercepted
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_FAIL);
    cr_expect_eq(paper.seen.failure, VCPU_FAILURE_UNHANDLED_EXIT);
}

// ---- other exits --------------------------------------------------------------------------------

Test(backend_enter, hosts_interrupt_is_dispatched_and_its_own_timers_counted) {
    paper.reasons[0] = paper.reasons[1] = REASON_INTERRUPT;
    paper.reasons[2] = REASON_HLT;
    paper.vmcs[VMCS_EXIT_INTERRUPTION_INFO] = EVENT_VALID | VECTOR_TIMER;
    (void)vmx_enter(&paper_vcpu);
    cr_expect_eq(paper.seen.interrupts, 2);
    cr_expect_eq(paper.seen.interrupt, VECTOR_TIMER);
    cr_expect_eq(paper_vcpu.own_timer_exits, 2);
}

Test(backend_enter, xsetbv_goes_to_the_vmm) {
    paper.reasons[0] = VMX_EXIT_XSETBV;
    cr_expect_eq(vmx_enter(&paper_vcpu), EXIT_VMM);
    cr_expect(paper_page.exit == VCPU_EXIT_XSETBV && paper_page.instruction_length == 2);
}

// ---- a vCPU's life ------------------------------------------------------------------------------

// The VMM has to set it first.
Test(backend_enter, new_vcpu_is_in_no_state_that_can_be_entered) {
    struct vcpu_registers r;
    paper_set_up();
    vmx_read_registers(&paper_vcpu, &r);
    cr_expect(r.rflags == 0 && r.rip == 0 && r.cr0 == 0 && r.tr.attributes == 0);
    cr_expect_eq(paper.vmcs[VMCS_GUEST_CR0] & (CR0_CD | CR0_NW), 0, "but caches are on");
    cr_expect(paper.vmcs[VMCS_GUEST_CR4] & CR4_VMXE);
    cr_expect_eq(r.cr4_own | r.spec_ctrl_own, 0);
}

// The VMM's dump says it (vmm/cpu/dump.c).
Test(backend_enter, failure_comes_with_what_the_processor_told) {
    const struct {
        uint32_t field;
        enum vcpu_failure_word word;
    } rows[] = {
        {VMCS_EXIT_QUALIFICATION, VCPU_WORD_INFO},
        {VMCS_GUEST_PHYSICAL_ADDRESS, VCPU_WORD_ADDRESS},
        {VMCS_GUEST_LINEAR_ADDRESS, VCPU_WORD_LINEAR},
        {VMCS_EXIT_INTERRUPTION_INFO, VCPU_WORD_EXIT_EVENT},
        {VMCS_EXIT_INTERRUPTION_ERROR, VCPU_WORD_EXIT_ERROR},
        {VMCS_IDT_VECTORING_INFO, VCPU_WORD_VECTORING},
        {VMCS_ENTRY_INTERRUPTION_INFO, VCPU_WORD_ENTRY_EVENT},
        {VMCS_ENTRY_EXCEPTION_ERROR, VCPU_WORD_ENTRY_ERROR},
        {VMCS_GUEST_INTERRUPTIBILITY, VCPU_WORD_INTERRUPTIBILITY},
        {VMCS_GUEST_ACTIVITY, VCPU_WORD_ACTIVITY},
        {VMCS_PIN_CONTROLS, VCPU_WORD_PIN},
        {VMCS_PRIMARY_CONTROLS, VCPU_WORD_PRIMARY},
        {VMCS_SECONDARY_CONTROLS, VCPU_WORD_SECONDARY},
        {VMCS_ENTRY_CONTROLS, VCPU_WORD_ENTRY},
    };
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
        paper.vmcs[rows[i].field] = 0x100 + i;
    cr_expect_eq(exit_unexpected(&paper_vcpu), EXIT_FAIL);
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
        cr_expect_eq(paper_page.failure_words[rows[i].word], 0x100 + i, "word %u", rows[i].word);
}

// SGX is hidden, but hiding an instruction takes nothing away: each leaf of both exits (SDM 3C
// 25.6.16 "ENCLS-Exiting Bitmap", 25.6.17 "ENCLV-Exiting Bitmap").
Test(backend_enter, each_leaf_of_sgx_exits) {
    static struct vcpu second;
    static struct vcpu_page page;
    vmx_caps.control[CONTROL_SECONDARY] =
        (uint32_t)(SECONDARY_ENCLS_EXITING | SECONDARY_ENCLV_EXITING);
    paper.vmcs[VMCS_ENCLS_BITMAP] = paper.vmcs[VMCS_ENCLV_BITMAP] = 0;
    second = (struct vcpu){
        .vm = &paper_vm, .page = &page, .cpu = &paper_cpus[0], .xsave = paper_vcpu.xsave};
    paper_make(&second);
    cr_expect_eq(paper.vmcs[VMCS_ENCLS_BITMAP], UINT64_MAX);
    cr_expect_eq(paper.vmcs[VMCS_ENCLV_BITMAP], UINT64_MAX);
}

Test(backend_enter, creation_leaves_the_current_vmcs) {
    static struct vcpu second;
    static struct vcpu_page page;
    uint64_t current = paper.current_vmcs;
    second = (struct vcpu){
        .vm = &paper_vm, .page = &page, .cpu = &paper_cpus[0], .xsave = paper_vcpu.xsave};
    paper_make(&second);
    cr_expect_eq(paper.current_vmcs, current);
}

// What lies below RSP behind vmx_enter: its last calls' return addresses.
extern uint64_t left_behind[512];
uint64_t left_behind[512];
static __attribute__((noinline)) void enter_and_look(void) {
    struct vcpu *vcpu = &paper_vcpu;
    __asm__ volatile("mov %%rsp, %%rbx\n\t"
                     "and $-16, %%rsp\n\t"
                     "call vmx_enter\n\t"
                     "lea -4096(%%rsp), %%rsi\n\t"
                     "lea left_behind(%%rip), %%rdi\n\t"
                     "mov $4096, %%ecx\n\t"
                     "rep movsb\n\t"
                     "mov %%rbx, %%rsp"
                     : "+D"(vcpu)
                     :
                     : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "cc", "memory");
}

// Calls in a row, six bytes apart.
static unsigned longest_fill(void) {
    unsigned longest = 0, run = 0;
    for (unsigned i = 1; i < ARRAY_COUNT(left_behind); i++) {
        run = left_behind[i - 1] - left_behind[i] == 6 ? run + 1 : 0;
        longest = MAX(longest, run);
    }
    return longest + 1;
}

// What the guest's calls left is not what vmx_enter's own return is predicted by, however it ends.
Test(backend_enter, return_stack_is_filled_where_the_loop_is_left) {
    const uint32_t ends[] = {VMX_EXIT_TRIPLE_FAULT, (uint32_t)EXIT_REASON_ENTRY_FAILED | 33,
                             REASON_HLT};
    for (unsigned i = 0; i < ARRAY_COUNT(ends); i++) {
        for (unsigned is_on = 0; is_on < 2; is_on++) {
            paper.entries = paper.step_count = 0;
            paper.reasons[0] = ends[i];
            mitigation.stuffs_rsb = is_on != 0;
            memset(left_behind, 0, sizeof(left_behind));
            enter_and_look();
            cr_expect_eq(longest_fill() >= 32, is_on != 0, "reason %#x", ends[i]);
        }
    }
}

Test(backend_enter, buffers_are_empty_before_the_guest_runs_and_after_an_interrupt) {
    unsigned first, entry;
    mitigation.has_verw = true;
    paper.reasons[0] = VMX_EXIT_TRIPLE_FAULT;
    vmx_enter(&paper_vcpu);
    cr_assert(paper_did(STEP_VERW, &first) && paper_did(STEP_ENTRY, &entry));
    cr_expect_lt(first, entry);
    paper.step_count = 0;
    exit_external_interrupt(&paper_vcpu);
    cr_expect(paper_did(STEP_VERW, NULL));
}

// Before the row's handler is called.
Test(backend_enter, history_is_cleared_behind_each_exit_where_no_bit_does_it) {
    unsigned entry, history;
    paper.reasons[0] = VMX_EXIT_TRIPLE_FAULT;
    vmx_enter(&paper_vcpu);
    cr_expect_not(paper_did(STEP_HISTORY, NULL));
    mitigation.clears_bhb = true;
    paper.step_count = paper.entries = 0;
    vmx_enter(&paper_vcpu);
    cr_assert(paper_did(STEP_HISTORY, &history) && paper_did(STEP_ENTRY, &entry));
    cr_expect_gt(history, entry);
}
