// SPDX-License-Identifier: Apache-2.0
// The exits that need a few lines each: events from outside, single instructions, and what a guest
// must not do.
#include "svm/exit.h"

#include "arch/log.h"
#include "arch/traps.h"

// The interrupt waits still: AMD-V acknowledges none.
enum exit_action svm_exit_external_interrupt(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    const struct cpu *cpu = vcpu->cpu;
    uint64_t own_timers = cpu->own_timers;
    svm_close(x);
    x86_sti_nop_cli();
    svm_open(x);
    vcpu->own_timer_exits += cpu->own_timers - own_timers;
    if (__atomic_load_n(&vcpu->nmi_count, __ATOMIC_RELAXED) != 0) // see svm_can_take_nmi
        vcpu_post_to_self(vcpu, VCPU_PENDING_NMI);
    return svm_finish_event_step(vcpu) ? svm_exit_to_vmm(vcpu, VCPU_EXIT_STEPPED, 0) : EXIT_RETRY;
}

// An NMI comes as soon as GIF is set.
enum exit_action svm_exit_host_event(struct vcpu *vcpu) {
    svm_close(vcpu->backend);
    svm_open(vcpu->backend);
    return EXIT_RETRY;
}

// EXITINFO2: APM 2 15.14.1 "Task-Switch Intercept".
#define TASK_BY_IRET BIT(36)
#define TASK_BY_JUMP BIT(38)

// The VMM carries it out. That of a gate is the one during whose delivery it came.
enum exit_action svm_exit_task_switch(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    uint64_t info = x->vmcb->exit_info_2, event = x->vmcb->exit_int_info;
    bool has_event = (event & EVENT_VALID) != 0;
    uint8_t source = has_event ? VCPU_TASK_GATE : VCPU_TASK_CALL;
    if (info & TASK_BY_IRET)
        source = VCPU_TASK_IRET;
    else if (info & TASK_BY_JUMP)
        source = VCPU_TASK_JUMP;
    vcpu->page->task = (struct vcpu_exit_task){
        .selector = (uint16_t)x->vmcb->exit_info_1,
        .source = source,
        .has_event = has_event,
        .event = exception_to_vmm(event),
    };
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_TASK_SWITCH, 0);
}

enum exit_action svm_exit_vmmcall(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    svm_fill_walk(vcpu);
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_HYPERCALL, svm_length(x->vmcb, SVM_EXIT_VMMCALL));
}

// XCR0 is loaded with the vCPU: the VMM writes it as a part of the state. The intercept comes
// before the look at CPL, behind that at CR4.OSXSAVE.
enum exit_action svm_exit_xsetbv(struct vcpu *vcpu) {
    const struct svm_vcpu *x = vcpu->backend;
    if (x->vmcb->cpl != 0)
        return vcpu_exit_protected(vcpu);
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_XSETBV, svm_length(x->vmcb, SVM_EXIT_XSETBV));
}
