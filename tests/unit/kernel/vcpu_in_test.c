// SPDX-License-Identifier: Apache-2.0
// kernel/vcpu.c: how a vCPU begins, what the VMM puts into it, and what INIT and SIPI make of it.
#include "tests/unit/kernel/support_vcpu.h"

#include "kernel/frame.h"
#include "kernel/vlapic_internal.h"

#include <string.h>

TestSuite(kernel_vcpu_in, .init = vcpu_set_up);

static void inject(struct vcpu_inject what) {
    paper.entries = 0;
    run_page.inject = what;
    run_page.dirty = VCPU_DIRTY_INJECT;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.dirty, 0);
}

Test(kernel_vcpu_in, exceptions_go_in_as_they_were_ordered) {
    inject((struct vcpu_inject){
        .type = VCPU_INJECT_EXCEPTION, .vector = 13, .has_error = 1, .error = 0x18, .cr2 = 5});
    cr_expect_eq(paper.exceptions, 1);
    cr_expect(paper.exception.vector == 13 && paper.exception.error == 0x18);
    cr_expect_eq(run_vcpu.cr2, 0, "that is the page fault's");
    inject((struct vcpu_inject){.type = VCPU_INJECT_EXCEPTION,
                                .vector = EXC_PF,
                                .has_error = 1,
                                .error = 2,
                                .cr2 = 0x7000});
    cr_expect(paper.exceptions == 2 && paper.exception.vector == EXC_PF &&
              paper.exception.error == 2);
    cr_expect_eq(run_vcpu.cr2, 0x7000);
    inject((struct vcpu_inject){.type = VCPU_INJECT_EXCEPTION, .vector = 6, .error = 7});
    cr_expect(paper.exceptions == 3 && paper.exception.vector == 6);
    cr_expect_eq(paper.exception.error, 0, "the VMM gave none");
}

// VM entry would fail with such a vector (SDM 3C 27.2.1.3 "VM-Entry Control Fields").
Test(kernel_vcpu_in, vectors_that_are_no_exceptions_are_not_injected) {
    const uint8_t vectors[] = {32, 33, 0x80, 255};
    for (unsigned i = 0; i < ARRAY_COUNT(vectors); i++)
        inject((struct vcpu_inject){.type = VCPU_INJECT_EXCEPTION, .vector = vectors[i]});
    inject((struct vcpu_inject){.type = 77, .vector = 6});
    cr_expect_eq(paper.exceptions, 0);
    cr_expect_eq(paper.injected, 0);
}

Test(kernel_vcpu_in, vector_of_the_8259_goes_in_when_the_guest_can_take_it) {
    run_vcpu.activity = VCPU_HALTED;
    inject((struct vcpu_inject){.type = VCPU_INJECT_EXTINT, .vector = 0x70});
    cr_expect_eq(paper.injected, 0x70);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE, "which ends its HLT");
    paper.is_open = false;
    inject((struct vcpu_inject){.type = VCPU_INJECT_EXTINT, .vector = 0x71});
    cr_expect_eq(paper.injected, 0x70, "it is lost");
}

Test(kernel_vcpu_in, signals_are_posted) {
    run_vcpu.pending = 0;
    cr_expect_eq(vcpu_signal(&run_vcpu, VCPU_SIGNAL_KICK, 0), ABI_OK);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_KICK);
    run_vcpu.pending = 0;
    cr_expect_eq(vcpu_signal(&run_vcpu, VCPU_SIGNAL_EXTINT, 1), ABI_OK);
    cr_expect(run_vcpu.pending == VCPU_PENDING_EXTINT && run_vcpu.is_extint_high == 1);
    run_vcpu.pending = 0;
    cr_expect_eq(vcpu_signal(&run_vcpu, VCPU_SIGNAL_EXTINT, 0), ABI_OK);
    cr_expect(run_vcpu.pending == 0 && run_vcpu.is_extint_high == 0,
              "a line that falls is nobody's to see");
    cr_expect_eq(vcpu_signal(&run_vcpu, VCPU_SIGNAL_NMI, 0), ABI_OK);
    cr_expect(run_vcpu.pending == VCPU_PENDING_NMI && run_vcpu.nmi_count == 1);
    run_vcpu.pending = 0;
    cr_expect_eq(vcpu_signal(&run_vcpu, 1000, 1), ABI_ERROR_ARGUMENT);
    cr_expect_eq(run_vcpu.pending, 0);
}

// Its registers are the VMM's to reset and to set: each is told of.
Test(kernel_vcpu_in, init_and_sipi_go_to_the_vmm) {
    const uint32_t both = VCPU_PENDING_INIT | VCPU_PENDING_SIPI;
    run_vcpu.index = 1;
    run_vcpu.sipi_vector = 0x9a;
    cr_expect_eq(vcpu_paper_start_up(&run_vcpu, VCPU_PENDING_SIPI), 0);
    cr_expect_eq(run_page.exit, VCPU_EXIT_NONE, "it does not wait for one");
    cr_expect_eq(vcpu_paper_start_up(&run_vcpu, both), VCPU_PENDING_SIPI | VCPU_PENDING_LOOKS,
                 "the SIPI behind it is kept");
    cr_expect_eq(run_page.exit, VCPU_EXIT_INIT);
    cr_expect_eq(run_vcpu.activity, VCPU_WAIT_SIPI);
    cr_expect_not(vlapic_is_software_enabled(&run_vcpu), "its APIC is reset");
    cr_expect_eq(vcpu_paper_start_up(&run_vcpu, VCPU_PENDING_SIPI), VCPU_PENDING_LOOKS);
    cr_expect(run_page.exit == VCPU_EXIT_SIPI && run_page.vector == 0x9a);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE);
    run_vcpu.index = 0;
    cr_expect_eq(vcpu_paper_start_up(&run_vcpu, VCPU_PENDING_INIT), VCPU_PENDING_LOOKS);
    cr_expect_eq(run_page.exit, VCPU_EXIT_INIT);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE, "the boot CPU starts at the reset vector");
}

// It comes while the VMM resets the registers, and is not lost by that.
Test(kernel_vcpu_in, sipi_during_the_reset_is_kept) {
    static struct vcpu_registers state;
    run_vcpu.index = 1;
    run_vcpu.pending = VCPU_PENDING_INIT;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_INIT);
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    run_vcpu.sipi_vector = 0x77;
    vcpu_post(&run_vcpu, VCPU_PENDING_SIPI);
    state.rip = 0xfff0, state.xcr0 = 1;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(run_vcpu.activity, VCPU_WAIT_SIPI);
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect(run_page.exit == VCPU_EXIT_SIPI && run_page.vector == 0x77);
    cr_expect_eq(paper.entries, 0);
}

static void init_comes(void) {
    vcpu_post(&run_vcpu, VCPU_PENDING_INIT);
}

// A second INIT, while the bits of the first and of the SIPI behind it are being looked at.
Test(kernel_vcpu_in, sipi_before_another_init_is_void) {
    run_vcpu.index = 1;
    run_vcpu.pending = VCPU_PENDING_INIT | VCPU_PENDING_SIPI | VCPU_PENDING_KICK;
    run_vm.space.generation = 5;
    paper.on_flush = init_comes;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(run_page.exit, VCPU_EXIT_INIT);
    cr_expect_eq(run_vcpu.pending, VCPU_PENDING_INIT | VCPU_PENDING_KICK | VCPU_PENDING_LOOKS);
}

// What was unmapped since is forgotten before the guest goes on, and only then is that said.
Test(kernel_vcpu_in, tables_that_changed_are_forgotten_before_entry) {
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    uint32_t before = paper.flushes;
    run_vm.space.generation = 5;
    run_vcpu.pending = VCPU_PENDING_INTERRUPT; // as space_unmap posts it
    paper.entries = 0;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.flushes, before + 1);
    cr_expect_eq(run_vcpu.space_generation_seen, 5);
    run_vcpu.pending = VCPU_PENDING_INTERRUPT;
    paper.entries = 0;
    cr_assert_eq(vcpu_run(&run_vcpu), ABI_OK);
    cr_expect_eq(paper.flushes, before + 1, "once");
}

// ---- the beginning ------------------------------------------------------------------------------

static uint32_t backend_count;

static void create_paper(struct vcpu *vcpu) {
    static const uint8_t nothing[PAGE_SIZE];
    cr_assert(vcpu->page != NULL && vcpu->xsave != NULL && vcpu->vlapic.page != NULL);
    cr_assert(memcmp(vcpu->backend, nothing, PAGE_SIZE) == 0 &&
              memcmp(vcpu->control, nothing, PAGE_SIZE) == 0);
    backend_count++;
}

static struct quota *make_vm(uint64_t pages) {
    static struct vcpu_backend backend;
    backend = vcpu_paper_backend;
    backend.vcpu_create = create_paper;
    vcpu_backend = &backend;
    memset(&run_vm, 0, sizeof(run_vm));
    object_init(&run_vm.object, &vm_kind);
    lock_init(&run_vm.lock, LOCK_VM);
    run_vm.object.quota = quota_create(quota_root(), pages * PAGE_SIZE);
    cr_assert_not_null(run_vm.object.quota);
    return run_vm.object.quota;
}

Test(kernel_vcpu_in, creation_may_fail_at_any_page) {
    int error;
    for (uint64_t pages = 0; pages < 6; pages++) {
        struct quota *quota = make_vm(pages);
        cr_expect_null(vcpu_create(&run_vm, 0, &error));
        cr_expect_eq(error, ABI_ERROR_MEMORY);
        cr_expect_eq(host_quota_read(quota).used, 0, "%lu pages", pages);
        cr_expect(run_vm.vcpus[0] == NULL && run_vm.vcpu_count == 0 && backend_count == 0);
    }
}

Test(kernel_vcpu_in, creation_is_once_and_as_at_power_on) {
    int error;
    struct quota *quota = make_vm(18);
    struct vcpu *first = vcpu_create(&run_vm, 0, &error),
                *last = vcpu_create(&run_vm, VM_VCPUS_MAX - 1, &error);
    cr_assert(first != NULL && last != NULL);
    cr_expect(first->activity == VCPU_ACTIVE && last->activity == VCPU_WAIT_SIPI);
    cr_expect(run_vm.vcpus[0] == first && run_vm.vcpus[VM_VCPUS_MAX - 1] == last &&
              run_vm.vcpu_count == 2);
    cr_expect_eq(*(const uint16_t *)first->xsave, 0x37f);
    cr_expect_eq(((const uint32_t *)first->xsave)[6], 0x1f80);
    uint64_t used = host_quota_read(quota).used;
    cr_expect_null(vcpu_create(&run_vm, 0, &error));
    cr_expect_eq(error, ABI_ERROR_EXISTS);
    cr_expect_eq(host_quota_read(quota).used, used);
    cr_expect(run_vm.vcpus[0] == first && run_vm.vcpu_count == 2 && backend_count == 3);
    vcpu_free(first);
    vcpu_free(last);
    cr_expect_eq(host_quota_read(quota).used, 0);
}
