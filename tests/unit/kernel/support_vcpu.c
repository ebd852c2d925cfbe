// SPDX-License-Identifier: Apache-2.0
// See support_vcpu.h.
#include "tests/unit/kernel/support_vcpu.h"

static void thread_yield(void) {}
#include "kernel/vcpu.c"
#include "kernel/vcpu_create.c"
#include "kernel/vcpu_state.c"

struct vm run_vm;
struct vcpu run_vcpu;
struct vcpu_page run_page;
static _Alignas(PAGE_SIZE) uint8_t run_registers[PAGE_SIZE];
struct vcpu_paper vcpu_paper;

void lapic_send(uint32_t apic_id, uint64_t command) {
    paper.sent = (uint8_t)command;
    paper.sent_to = apic_id;
}
void smp_call(struct cpu *cpu, void (*function)(void *), void *opaque) {
    uint32_t here = cpu_current()->index;
    host_run_on(cpu->index);
    function(opaque);
    host_run_on(here);
}
void thread_set_vcpu(struct thread *thread, struct vcpu *vcpu) {
    thread->vcpu = vcpu;
}

// Each CPU of paper holds one vCPU, and says when it got or lost it.
static void load_paper(struct vcpu *vcpu) {
    uint32_t here = cpu_current()->index;
    cr_assert_null(paper.holds[here], "the one before is still there");
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        cr_assert_neq(paper.holds[i], vcpu, "it is still on CPU %u", i);
    paper.holds[here] = vcpu;
    paper.loads++;
}
static void unload_paper(struct vcpu *vcpu) {
    uint32_t here = cpu_current()->index;
    cr_assert_eq(paper.holds[here], vcpu, "it is not on CPU %u", here);
    paper.holds[here] = NULL;
}
static void forget_paper(void) {
    cr_assert_null(paper.holds[cpu_current()->index], "its registers are lost");
    paper.forgets++;
}
static void flush_paper(struct vcpu *vcpu) {
    cr_assert_eq(paper.holds[cpu_current()->index], vcpu);
    paper.flushes++;
    if (paper.on_flush != NULL)
        paper.on_flush();
}
static void leave(struct vcpu *vcpu) {
    (void)vcpu;
    void (*on_leave)(void) = paper.on_leave;
    paper.on_leave = NULL;
    if (on_leave != NULL)
        on_leave();
}
static enum exit_action enter(struct vcpu *vcpu) {
    cr_assert_eq(vcpu->pending, 0, "entered with something pending");
    uint32_t i = paper.entries++;
    cr_assert_lt(i, ARRAY_COUNT(paper.actions));
    return paper.actions[i];
}
static bool step(struct vcpu *vcpu) {
    (void)vcpu;
    paper.steps++;
    return !paper.cannot_step;
}
static bool can_take(struct vcpu *vcpu) {
    (void)vcpu;
    return paper.is_open;
}
static enum nmi_gate nmi_gate(struct vcpu *vcpu) {
    (void)vcpu;
    return paper.nmi_gate;
}
static void inject_nmi(struct vcpu *vcpu) {
    (void)vcpu;
    paper.nmis++;
    paper.nmi_gate = NMI_IN_SERVICE;
}
static void inject_interrupt(struct vcpu *vcpu, uint8_t vector) {
    (void)vcpu;
    paper.injected = vector;
}
static void sync_apic(struct vcpu *vcpu) {
    (void)vcpu;
    paper.synced++;
}
static void inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    (void)vcpu;
    paper.exceptions++;
    paper.exception = (struct vcpu_inject){.vector = vector, .error = error};
}
static void read_backend(struct vcpu *vcpu, struct vcpu_registers *r) {
    cr_assert_null(vcpu->loaded_on);
    r->rip = paper.backend.rip;
    r->rflags = paper.backend.rflags;
    r->cr0_own = paper.backend.cr0_own;
}
static void write_backend(struct vcpu *vcpu, const struct vcpu_registers *r) {
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        cr_assert_neq(paper.holds[i], vcpu, "it is still on CPU %u", i);
    paper.backend = *r;
    paper.writes++;
}
const struct vcpu_backend vcpu_paper_backend = {
    .load = load_paper,
    .unload = unload_paper,
    .forget = forget_paper,
    .enter = enter,
    .leave = leave,
    .step = step,
    .can_take_interrupt = can_take,
    .can_take_nmi = nmi_gate,
    .inject_interrupt = inject_interrupt,
    .inject_nmi = inject_nmi,
    .sync_apic = sync_apic,
    .flush_space = flush_paper,
    .inject_exception = inject_exception,
    .read_registers = read_backend,
    .write_registers = write_backend,
};
const struct vcpu_backend *vcpu_backend = &vcpu_paper_backend;

uint32_t vcpu_paper_start_up(struct vcpu *vcpu, uint32_t bits) {
    run_page.exit = VCPU_EXIT_NONE;
    cr_expect_eq(start_up(vcpu, &bits), run_page.exit != VCPU_EXIT_NONE);
    return bits;
}
void vcpu_paper_load(struct vcpu *vcpu) {
    if (cpu_current()->loaded_vcpu != vcpu)
        load(vcpu, cpu_current());
}

static void no_block(void) {
    cr_assert_fail("blocked with something to do");
}

void vcpu_set_up(void) {
    host_init_all();
    for (uint32_t i = 0; i < HOST_CPUS; i++)
        host_cpu(i)->apic_id = 10 + i;
    run_vcpu = (struct vcpu){.vm = &run_vm, .page = &run_page, .xcr0 = XCR0_X87};
    object_init(&run_vcpu.object, &vcpu_kind);
    lock_init(&run_vcpu.lock, LOCK_VCPU);
    run_vcpu.vlapic.page = run_registers;
    vlapic_init(&run_vcpu);
    vlapic_mmio_write(&run_vcpu, LAPIC_SVR, 0x1ff);
    paper.is_open = true;
    paper.actions[0] = EXIT_VMM;
    host_block = no_block;
}
