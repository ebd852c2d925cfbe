// SPDX-License-Identifier: Apache-2.0
// The exits that need a few lines each: events from outside, single instructions, and what a guest
// must not do.
#include "arch/mitigation.h"
#include "arch/traps.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/registers.h"

// Exit qualification of a debug exception: SDM 3C Table 28-1 "Exit Qualification for Debug
// Exceptions"; the same bits in DR6: SDM 3B 18.2.3 "Debug Status Register (DR6)".
#define DR6_BREAKPOINTS 0xfULL
#define DR6_FROM_EXIT   (DR6_BREAKPOINTS | BIT(13) | BIT(14))
#define DR7_GD          BIT(13)

// The processor left DR6 and DR7 to us: SDM 3C 28.1 "Architectural State Before a VM Exit".
static void reflect_debug_exception(void) {
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    x86_write_dr6((x86_read_dr6() & ~DR6_BREAKPOINTS) | (qualification & DR6_FROM_EXIT));
    uint64_t dr7 = vmcs_read(VMCS_GUEST_DR7);
    if (dr7 & DR7_GD)
        vmcs_write(VMCS_GUEST_DR7, dr7 & ~DR7_GD);
    inject_reflected();
    // VM entry wants a single step to be pending where one is due behind STI or MOV SS (SDM 3C
    // 27.3.1.5 "Checks on Guest Non-Register State").
    const uint32_t blocking = BLOCKING_BY_STI | BLOCKING_BY_MOV_SS;
    if ((vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & blocking) &&
        (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF) &&
        !(vmcs_read64(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
        vmx_trap_after_step();
}

// Intercepted are #DB and #AC, whose delivery can raise them again for ever inside the processor
// (then no interrupt of ours would come through), and #MC. What was being delivered before is lost,
// as exceptions of the benign class come after each other (SDM 3A Table 6-5).
enum exit_action exit_exception(struct vcpu *vcpu) {
    uint32_t info = vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO);
    uint32_t vector = info & EVENT_VECTOR;
    if ((info & EVENT_TYPE) == EVENT_NMI) {
        vmx_requeue_event(vcpu, false);
        x86_call_nmi();
        return EXIT_RETRY;
    }
    vmx_requeue_event(vcpu, (info & EVENT_NMI_UNBLOCKED) != 0);
    if (vector == EXC_MC)
        return vcpu_exit_machine_check(vcpu);
    if (vector == EXC_DB)
        reflect_debug_exception();
    else if (vector == EXC_AC)
        inject_reflected();
    else
        return exit_unexpected(vcpu);
    return EXIT_RETRY;
}

enum exit_action exit_external_interrupt(struct vcpu *vcpu) {
    const struct cpu *cpu = vcpu->cpu;
    uint64_t own_timers = cpu->own_timers;
    interrupt_dispatch((uint8_t)(vmcs_read32(VMCS_EXIT_INTERRUPTION_INFO) & EVENT_VECTOR));
    vcpu->own_timer_exits += cpu->own_timers - own_timers;
    mitigation_clear_buffers(); // the interrupt may have been for somebody else
    return EXIT_RETRY;
}

// SDM 3C Table 28-2 "Exit Qualification for Task Switches".
#define TASK_SOURCE_SHIFT 30

// The VMM carries it out (SDM 3C 26.4.2 "Treatment of Task Switches").
enum exit_action exit_task_switch(struct vcpu *vcpu) {
    uint64_t qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
    struct vcpu_inject event;
    vmx_requeue_event(vcpu, false);
    bool has_event = inject_save(&event);
    vcpu->page->task = (struct vcpu_exit_task){
        .selector = (uint16_t)qualification,
        .source = (uint8_t)(qualification >> TASK_SOURCE_SHIFT & VCPU_TASK_GATE),
        .has_event = has_event,
        .event = event,
    };
    return vmx_exit_to_vmm(vcpu, VCPU_EXIT_TASK_SWITCH);
}

enum exit_action exit_vmcall(struct vcpu *vcpu) {
    vmx_fill_walk(vcpu);
    return vmx_exit_to_vmm(vcpu, VCPU_EXIT_HYPERCALL);
}

// XCR0 is loaded with the vCPU: the VMM writes it as a part of the state.
enum exit_action exit_xsetbv(struct vcpu *vcpu) {
    return vmx_exit_to_vmm(vcpu, VCPU_EXIT_XSETBV);
}
