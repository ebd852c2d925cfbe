// SPDX-License-Identifier: Apache-2.0
// kernel/vcpu.c: who is woken, kicked or notified, and where a vCPU's state is.
#include "tests/unit/kernel/support_vcpu.h"

#include "arch/lapic.h"
#include "arch/mitigation.h"

#include <string.h>

static struct vcpu_registers state;

#define LOOKS      VCPU_PENDING_LOOKS
#define EVENTS_NMI (VCPU_EVENT_NMI | VCPU_EVENT_NMI_AGAIN)

TestSuite(kernel_vcpu, .init = vcpu_set_up);

// As vlapic_accept of another CPU.
static void request(uint8_t vector) {
    run_vcpu.vlapic.posted.requests[vector / 64] |= BIT(vector % 64);
    run_vcpu.vlapic.posted.control |= VLAPIC_POSTED_OUTSTANDING;
}
static void request_from_cpu1(void) {
    host_run_on(1);
    request(0x41);
    vcpu_test_notify(&run_vcpu);
    host_run_on(0);
}

static void use_posting(void) {
    run_vcpu.vlapic.abilities = VLAPIC_DELIVERS | VLAPIC_POSTS;
}

Test(kernel_vcpu, posting_finds_it_where_it_is) {
    run_vcpu.owner = thread_current();
    run_vcpu.cpu = host_cpu(0);
    run_vcpu.pending = 0;
    host_run_on(1);
    vcpu_post(&run_vcpu, VCPU_PENDING_NMI);
    cr_expect_eq(host_wakes, 1, "it does not run");
    cr_expect_eq(host_last_woken, run_vcpu.owner);
    run_vcpu.is_running = 1;
    vcpu_post(&run_vcpu, VCPU_PENDING_KICK);
    cr_expect(paper.sent == VECTOR_WAKE && paper.sent_to == 10);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_NMI | VCPU_PENDING_KICK);
    cr_expect_eq(host_wakes, 1);
}

Test(kernel_vcpu, notification_goes_to_who_runs_elsewhere_alone) {
    run_vcpu.owner = thread_current();
    run_vcpu.cpu = host_cpu(0);
    run_vcpu.pending = 0;
    host_run_on(1);
    run_vcpu.is_running = 1;
    vcpu_notify(&run_vcpu);
    cr_expect(paper.sent == VECTOR_POSTED && paper.sent_to == 10);
    cr_expect_eq(run_vcpu.pending, 0, "no exit");
    paper.sent = 0;
    host_run_on(0);
    vcpu_notify(&run_vcpu);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_INTERRUPT, "by a timer, say, that ended its run");
    run_vcpu.pending = 0;
    run_vcpu.is_running = 0;
    host_run_on(1);
    vcpu_notify(&run_vcpu);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_INTERRUPT);
    cr_expect_eq(host_wakes, 1);
    cr_expect_eq(paper.sent, 0);
}

Test(kernel_vcpu, what_was_only_notified_is_seen_by_the_next_run) {
    use_posting();
    run_vcpu.pending = 0;
    request(0x41);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(vlapic_get_request(&run_vcpu), 0x41);
    cr_expect_eq(paper.synced, 1);
    cr_expect_eq(paper.injected, 0, "the processor delivers");
    cr_expect_not(vlapic_is_notified(&run_vcpu.vlapic));
}

// VECTOR_POSTED was sent while it ran still, but had looked already and was about to sleep.
Test(kernel_vcpu, halt_does_not_miss_a_notification) {
    use_posting();
    paper.actions[0] = EXIT_BLOCK;
    paper.actions[1] = EXIT_VMM;
    paper.on_leave = request_from_cpu1;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.entries, 2);
    cr_expect_eq(paper.sent, VECTOR_POSTED);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE);
}

static void block_until_request(void) {
    cr_assert_eq(paper.blocks++, 0);
    cr_expect_eq(run_vcpu.is_running, 0);
    request_from_cpu1();
}

Test(kernel_vcpu, halted_is_woken) {
    use_posting();
    paper.actions[0] = EXIT_BLOCK;
    paper.actions[1] = EXIT_VMM;
    host_block = block_until_request;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.blocks, 1);
    cr_expect_eq(host_wakes, 1);
    cr_expect_eq(paper.sent, 0);
    cr_expect_eq(paper.entries, 2);
}

static void block_once(void) {
    cr_assert_lt(paper.blocks++, 2);
    if (paper.blocks == 1)
        request_from_cpu1();
    else
        paper.is_open = true, vcpu_post(&run_vcpu, VCPU_PENDING_INTERRUPT);
}

Test(kernel_vcpu, halt_with_interrupts_off_goes_on) {
    use_posting();
    paper.is_open = false;
    paper.actions[0] = EXIT_BLOCK;
    paper.actions[1] = EXIT_VMM;
    host_block = block_once;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.blocks, 2);
}

Test(kernel_vcpu, without_help_interrupts_are_injected) {
    request(0x41);
    request(0x91);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.injected, 0x91);
    cr_expect_eq(vlapic_get_service(&run_vcpu), 0x91);
    cr_expect_eq(vlapic_get_request(&run_vcpu), 0x41);
    cr_expect_eq(paper.synced, 1, "after the change");
}

Test(kernel_vcpu, notification_outside_the_guest_makes_it_look) {
    run_vcpu.pending = 0;
    vcpu_notified();
    host_cpu(0)->loaded_vcpu = &run_vcpu;
    vcpu_notified();
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_INTERRUPT);
}

Test(kernel_vcpu, start_up_looks_at_the_apic) {
    request(0x41);
    vlapic_take_requests(&run_vcpu);
    run_vcpu.activity = VCPU_WAIT_SIPI;
    run_vcpu.pending = VCPU_PENDING_SIPI;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_SIPI);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.injected, 0x41);
}

static void start(void) {
    cr_assert_eq(paper.blocks++, 0);
    vcpu_post(&run_vcpu, VCPU_PENDING_SIPI);
}

Test(kernel_vcpu, who_waits_for_sipi_sleeps_with_requests) {
    use_posting();
    run_vcpu.activity = VCPU_WAIT_SIPI;
    request(0x41);
    host_block = start;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.blocks, 1);
    cr_expect_eq(vlapic_get_request(&run_vcpu), 0x41);
}

// Nothing but INIT and SIPI ends the wait: SDM 3A 9.4.4 "MP Initialization Example".
Test(kernel_vcpu, who_waits_for_sipi_takes_nothing_else) {
    run_vcpu.activity = VCPU_WAIT_SIPI;
    run_vcpu.nmi_count = 1;
    run_vcpu.pending = VCPU_PENDING_NMI | VCPU_PENDING_INTERRUPT;
    request(0x41);
    host_block = start;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_SIPI);
    cr_expect_eq(paper.nmis, 0);
    cr_expect_eq(paper.injected, 0);
}

// Waiting for a SIPI with its APIC off it would never hear it.
Test(kernel_vcpu, init_for_an_apic_that_is_off_is_lost) {
    run_vcpu.index = 1;
    run_vcpu.vlapic.base_msr &= ~(uint64_t)APIC_BASE_ENABLE;
    run_vcpu.pending = VCPU_PENDING_INIT;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE);
    cr_expect_eq(run_vcpu.pending, 0);
}

Test(kernel_vcpu, events_round_trip) {
    run_vcpu.pending = VCPU_PENDING_INIT | VCPU_PENDING_SIPI | VCPU_PENDING_EOI | VCPU_PENDING_KICK;
    run_vcpu.sipi_vector = 0x9a;
    run_vcpu.vlapic.eoi_vector = 0x61;
    run_vcpu.nmi_count = 1;
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(state.events, VCPU_EVENT_NMI | VCPU_EVENT_INIT | VCPU_EVENT_SIPI | VCPU_EVENT_EOI);
    cr_expect_eq(state.sipi_vector, 0x9a);
    cr_expect_eq(state.eoi_vector, 0x61);
    run_vcpu.pending = VCPU_PENDING_INIT;
    run_vcpu.sipi_vector = 0;
    run_vcpu.vlapic.eoi_vector = 0;
    state.events = VCPU_EVENT_SIPI | VCPU_EVENT_EOI;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_SIPI | VCPU_PENDING_EOI | LOOKS);
    cr_expect_eq(run_vcpu.nmi_count, 0);
    cr_expect_eq(run_vcpu.sipi_vector, 0x9a);
    cr_expect_eq(run_vcpu.vlapic.eoi_vector, 0x61);
    run_vcpu.nmi_count = 7;
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(state.events & EVENTS_NMI, VCPU_EVENT_NMI | VCPU_EVENT_NMI_AGAIN);
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(run_vcpu.nmi_count, 2);
    state.events = 1u << 5;
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_ERROR_ARGUMENT);
}

// SDM 3A 6.7.1: one in service, one behind it; what comes on top is lost.
Test(kernel_vcpu, of_nmis_one_is_in_service_and_one_waits) {
    for (unsigned i = 0; i < ARRAY_COUNT(paper.actions); i++)
        paper.actions[i] = EXIT_VMM;
    for (unsigned i = 0; i < 3; i++)
        vcpu_post_nmi(&run_vcpu);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.nmis, 1);
    cr_expect_eq(run_vcpu.nmi_count, 1, "the second waits for its IRET");
    for (unsigned i = 0; i < 3; i++)
        vcpu_post_nmi(&run_vcpu);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.nmis, 1);
    cr_expect_eq(run_vcpu.nmi_count, 1);
    paper.nmi_gate = NMI_OPEN; // and its window exits
    run_vcpu.pending = VCPU_PENDING_NMI;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.nmis, 2);
    cr_expect_eq(run_vcpu.nmi_count, 0);
    paper.nmi_gate = NMI_OPEN;
    run_vcpu.pending = VCPU_PENDING_NMI;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.nmis, 2, "a window brings none");
}

Test(kernel_vcpu, two_nmis_wait_behind_a_shadow) {
    paper.nmi_gate = NMI_SHUT;
    paper.actions[1] = EXIT_VMM;
    vcpu_post_nmi(&run_vcpu);
    vcpu_post_nmi(&run_vcpu);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_vcpu.nmi_count, 2);
    paper.nmi_gate = NMI_OPEN;
    run_vcpu.pending = VCPU_PENDING_NMI;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.nmis, 1);
    cr_expect_eq(run_vcpu.nmi_count, 1);
}

Test(kernel_vcpu, init_and_sipi_leave_no_nmi) {
    run_vcpu.nmi_count = 2;
    vcpu_paper_start_up(&run_vcpu, VCPU_PENDING_INIT);
    cr_expect_eq(run_vcpu.nmi_count, 0);
    run_vcpu.activity = VCPU_WAIT_SIPI;
    run_vcpu.nmi_count = 2;
    vcpu_paper_start_up(&run_vcpu, VCPU_PENDING_SIPI);
    cr_expect_eq(run_vcpu.nmi_count, 0);
}

Test(kernel_vcpu, end_of_a_level_interrupt_goes_to_the_vmm) {
    run_vcpu.pending = VCPU_PENDING_EOI | VCPU_PENDING_KICK | VCPU_PENDING_SHUTDOWN;
    run_vcpu.vlapic.eoi_vector = 0x61;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_EOI);
    cr_expect_eq(run_page.vector, 0x61);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_KICKED);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_SHUTDOWN);
    cr_expect_eq(paper.entries, 0);
}

// A triple fault enters no guest, and ends a wait; it is told once.
Test(kernel_vcpu, triple_fault_goes_to_the_vmm_once) {
    run_vcpu.pending = VCPU_PENDING_SHUTDOWN | VCPU_PENDING_NMI;
    run_vcpu.activity = VCPU_HALTED;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_SHUTDOWN);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_NMI, "what came with it is kept");
    cr_expect_eq(paper.entries, 0);
    run_vcpu.activity = VCPU_ACTIVE;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.entries, 1);
}

// ---- single steps -------------------------------------------------------------------------------

static void order_step(void) {
    run_page.dirty = VCPU_DIRTY_STEP;
    vcpu_test_backend = &vcpu_paper_backend;
}

Test(kernel_vcpu, step_is_the_backends) {
    order_step();
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.steps, 1);
    cr_expect_eq(paper.entries, 1);
    cr_expect(run_vcpu.is_stepping, "until its exit");
    cr_expect_eq(run_page.dirty, 0);
}

Test(kernel_vcpu, step_that_the_processor_cannot_do_runs_nothing) {
    order_step();
    paper.cannot_step = true;
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_ERROR_UNSUPPORTED);
    cr_expect_eq(paper.entries, 0);
    cr_expect_not(run_vcpu.is_stepping);
    cr_expect_eq(run_vcpu.is_claimed, 0, "it can be run again");
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_OK);
}

// no_block would fail it.
Test(kernel_vcpu, step_never_waits) {
    order_step();
    paper.actions[0] = EXIT_BLOCK;
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_STEPPED);
    cr_expect_eq(run_vcpu.activity, VCPU_HALTED);
    cr_expect_not(run_vcpu.is_stepping, "and the next run waits");
}

// ---- on which CPU its state is ------------------------------------------------------------------

static struct vcpu other_vcpu;
static _Alignas(PAGE_SIZE) uint8_t other_registers[PAGE_SIZE];

static void make_other(void) {
    other_vcpu = (struct vcpu){.vm = &run_vm, .page = &run_page};
    object_init(&other_vcpu.object, &vcpu_kind);
    lock_init(&other_vcpu.lock, LOCK_VCPU);
    other_vcpu.vlapic.page = other_registers;
    vlapic_init(&other_vcpu);
}

static void load_on(uint32_t cpu, struct vcpu *vcpu) {
    host_run_on(cpu);
    vcpu_paper_load(vcpu);
    cr_expect_eq(paper.holds[cpu], vcpu);
    cr_expect_eq(vcpu->loaded_on, host_cpu(cpu));
    cr_expect_eq(host_cpu(cpu)->loaded_vcpu, vcpu);
}

Test(kernel_vcpu, state_is_on_one_cpu) {
    make_other();
    load_on(0, &run_vcpu);
    load_on(0, &run_vcpu);
    cr_expect_eq(paper.loads, 1, "it was there already");
    load_on(1, &run_vcpu);
    cr_expect_null(paper.holds[0]);
    cr_expect_null(host_cpu(0)->loaded_vcpu);
    load_on(1, &other_vcpu);
    cr_expect_null(run_vcpu.loaded_on);
    cr_expect_eq(paper.loads, 3);
    vcpu_unload(&run_vcpu);
    cr_expect_eq(paper.holds[1], &other_vcpu, "who is nowhere is taken from nowhere");
    host_run_on(0);
    vcpu_unload(&other_vcpu);
    cr_expect_null(paper.holds[1]);
}

// A CPU may remember translations from when the vCPU was last there, and does the first time, too.
Test(kernel_vcpu, each_change_of_cpu_flushes) {
    load_on(0, &run_vcpu);
    cr_expect_eq(paper.flushes, 1);
    vcpu_unload(&run_vcpu);
    load_on(0, &run_vcpu);
    cr_expect_eq(paper.flushes, 1, "nobody changed anything there meanwhile");
    load_on(1, &run_vcpu);
    cr_expect_eq(paper.flushes, 2);
    load_on(0, &run_vcpu);
    cr_expect_eq(paper.flushes, 3);
}

Test(kernel_vcpu, evicted_is_in_memory_before_the_processor_forgets) {
    load_on(2, &run_vcpu);
    vcpu_evict();
    cr_expect_null(paper.holds[2]);
    cr_expect_null(run_vcpu.loaded_on);
    cr_expect_eq(paper.forgets, 1);
    load_on(2, &run_vcpu);
    vcpu_unload(&run_vcpu);
    vcpu_evict();
    cr_expect_eq(paper.forgets, 2, "another CPU may have taken it out before");
}

// Where no vCPU was loaded since, nothing is there to forget, but CR2, which ring 3 sets, too.
Test(kernel_vcpu, what_is_forgotten_is_not_forgotten_again) {
    load_on(2, &run_vcpu);
    vcpu_evict();
    host_cr2 = 0x777;
    vcpu_evict();
    cr_expect(paper.forgets == 1 && host_cr2 == 0);
    host_run_on(1);
    vcpu_evict();
    cr_expect_eq(paper.forgets, 2, "another CPU, of which nobody knows");
    mitigation.is_off = true;
    host_cr2 = 0x777;
    vcpu_evict();
    cr_expect_eq(host_cr2, 0x777);
}

// Processes change domains on a machine that cannot run a VM, too.
Test(kernel_vcpu, without_a_backend_there_is_nothing_to_evict) {
    vcpu_backend = NULL;
    vcpu_evict();
    cr_expect_eq(paper.forgets, 0);
}

// ---- whose it is --------------------------------------------------------------------------------

Test(kernel_vcpu, owned_is_run_by_its_owner_alone) {
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    struct thread *first = thread_current();
    cr_expect_eq(run_vcpu.owner, first);
    host_run_on(1);
    cr_expect_neq(thread_current(), first);
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_ERROR_AGAIN);
    cr_expect_eq(run_vcpu.owner, first);
    cr_expect_null(thread_current()->vcpu);
    cr_expect_eq(run_vcpu.is_claimed, 0);
    host_run_on(0);
    paper.actions[1] = EXIT_VMM;
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_OK);
}

Test(kernel_vcpu, thread_runs_one_vcpu) {
    make_other();
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(vcpu_run(&other_vcpu), ABI_ERROR_AGAIN);
    cr_expect_null(other_vcpu.owner);
    cr_expect_eq(other_vcpu.is_claimed, 0);
}

Test(kernel_vcpu, claimed_is_left_alone) {
    cr_assert(vcpu_claim(&run_vcpu));
    cr_expect_not(vcpu_claim(&run_vcpu));
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_ERROR_AGAIN);
    cr_expect_null(run_vcpu.owner);
    cr_expect_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_ERROR_AGAIN);
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_ERROR_AGAIN);
    vcpu_unclaim(&run_vcpu);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_assert(vcpu_claim(&run_vcpu));
    cr_expect_eq(vcpu_run(&run_vcpu), ABI_ERROR_AGAIN, "not even by its owner");
}

Test(kernel_vcpu, owner_holds_it_until_it_ends) {
    uint32_t references = (uint32_t)run_vcpu.object.ref_count;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_vcpu.object.ref_count, references + 1);
    cr_expect_eq(thread_current()->vcpu, &run_vcpu);
    vcpu_release(&run_vcpu);
    cr_expect_eq(run_vcpu.object.ref_count, references);
    cr_expect_null(run_vcpu.owner);
    cr_expect_null(run_vcpu.loaded_on);
    cr_expect_null(paper.holds[0]);
}
