// SPDX-License-Identifier: Apache-2.0
// Events on their way into the guest. One event at a time is queued for the next entry, in the
// VMCB's EVENTINJ. APM 2 15.20 "Event Injection", 15.7.2 "Intercepts During IDT Interrupt
// Delivery", 15.21.4 "Injecting Virtual (INTR) Interrupts".
//
// What AMD-V does not have is built of what it has: an NMI blocks the next until its IRET exits and
// is done, and a single step is RFLAGS.TF, hidden from the guest, with all exceptions intercepted.
//
// Virtual NMI (APM 2 15.21.10 "NMI Virtualization") has its place here: it would replace what waits
// for the IRET. No emulator of ours has it. Virtual GIF has none: guests have no GIF, since STGI
// and CLGI are #UD to them.
#include "svm/exit.h"

#include "arch/lapic.h"

#define DR6_SINGLE_STEP BIT(14)
#define DR6_OF_GUEST    (BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(13)) // breakpoints, DR access

// #DB and #AC, whose delivery can raise them again for ever inside the processor; and #MC.
#define EXCEPTIONS (BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC))
// While it steps, all that report an instruction which did not run: not NMI, #BP and #OF.
#define EXCEPTIONS_OF_STEP (uint32_t) ~(BIT(EXC_NMI) | BIT(EXC_BP) | BIT(EXC_OF))

void svm_set_rflags(struct svm_vcpu *x, uint64_t value) {
    x->has_own_tf = (value & RFLAGS_TF) != 0;
    x->vmcb->rflags = x->steps != 0 ? value | RFLAGS_TF : value;
}

// ---- single steps -------------------------------------------------------------------------------

static void begin_step(struct svm_vcpu *x, enum step_reason reason) {
    if (x->steps == 0) {
        x->has_own_tf = (x->vmcb->rflags & RFLAGS_TF) != 0;
        x->dr6_before = (uint32_t)x->vmcb->dr6;
        x->vmcb->rflags |= RFLAGS_TF;
        x->vmcb->intercept_exception = EXCEPTIONS_OF_STEP;
        svm_touch(x, CLEAN_INTERCEPTS);
    }
    x->steps |= (uint8_t)reason;
}

// What waited for its end looks again.
static void end_steps(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    bool is_for_iret = (x->steps & STEP_FOR_NMI) && x->nmi_state == NMI_STATE_IRET;
    // Behind an IRET, TF is what that has loaded.
    if (!is_for_iret || x->vmcb->rip == x->iret_rip)
        x->vmcb->rflags = svm_get_rflags(x);
    x->vmcb->intercept_exception = EXCEPTIONS;
    svm_touch(x, CLEAN_INTERCEPTS);
    if (is_for_iret)
        x->nmi_state = NMI_STATE_OPEN;
    x->steps = 0;
    vcpu_post_to_self(vcpu, VCPU_PENDING_LOOKS);
}

// Where an event is delivered in the instruction's place, TF would be pushed with RFLAGS, and its
// handler would not be stepped. Behind the delivery the guest exits for an interrupt of our own.
static void begin_step_of_event(struct svm_vcpu *x) {
    x->steps_event = true;
    lapic_send(cpu_current()->apic_id, VECTOR_WAKE);
}

bool svm_step(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    x->steps_event = false;
    if (x->vmcb->event & EVENT_VALID)
        begin_step_of_event(x);
    else
        begin_step(x, STEP_FOR_VMM);
    return true;
}

bool svm_finish_event_step(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    if (!x->steps_event || (x->vmcb->event & EVENT_VALID))
        return false;
    bool is_wanted = vcpu->is_stepping;
    x->steps_event = vcpu->is_stepping = false;
    return is_wanted;
}

// Left on, a step would keep all interrupts out while the vCPU waits for one. That of a vCPU which
// waits ends in vcpu_run.
enum exit_action svm_finish_step(struct vcpu *vcpu, enum exit_action action) {
    const struct svm_vcpu *x = vcpu->backend;
    bool is_for_vmm = (x->steps & STEP_FOR_VMM) && vcpu->is_stepping;
    end_steps(vcpu);
    if (!is_for_vmm || action == EXIT_BLOCK)
        return action;
    vcpu->is_stepping = false;
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_STEPPED, 0);
}

void svm_trap_after_step(struct svm_vcpu *x) {
    x->vmcb->dr6 |= DR6_SINGLE_STEP;
    svm_touch(x, CLEAN_DEBUG);
    if (!(x->vmcb->event & EVENT_VALID))
        x->vmcb->event = EVENT_VALID | EVENT_EXCEPTION | EXC_DB;
}

// ---- windows ------------------------------------------------------------------------------------

static void set_intercept(struct svm_vcpu *x, uint64_t bits, bool is_on) {
    x->vmcb->intercept_1 &= ~(uint32_t)bits;
    x->vmcb->intercept_1 |= is_on ? (uint32_t)bits : 0;
    svm_touch(x, CLEAN_INTERCEPTS);
}

// A virtual interrupt of the highest priority, whose delivery exits.
static void set_window(struct vcpu *vcpu, bool is_on) {
    struct svm_vcpu *x = vcpu->backend;
    const uint64_t request = VINTR_IRQ | VINTR_PRIORITY | VINTR_NO_TPR;
    x->vmcb->interrupt &= ~request;
    x->vmcb->interrupt |= is_on ? request : 0;
    svm_touch(x, CLEAN_INTERRUPT);
    set_intercept(x, INTERCEPT_VINTR, is_on);
    svm_sync_apic(vcpu);
}

bool svm_can_take_interrupt(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    const struct vmcb *vmcb = x->vmcb;
    if ((vmcb->rflags & RFLAGS_IF) && !(vmcb->shadow & SHADOW_STI_MOV_SS) &&
        !(vmcb->event & EVENT_VALID) && x->steps == 0)
        return true;
    // A window would exit before the instruction that is stepped, each time; end_steps has it
    // looked at again.
    set_window(vcpu, x->steps == 0);
    return false;
}

enum exit_action svm_exit_interrupt_window(struct vcpu *vcpu) {
    set_window(vcpu, false);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    return EXIT_RETRY;
}

void svm_set_nmi_blocked(struct svm_vcpu *x, bool is_blocked) {
    x->nmi_state = is_blocked ? NMI_STATE_BLOCKED : NMI_STATE_OPEN;
    set_intercept(x, INTERCEPT_IRET, is_blocked);
}

enum nmi_gate svm_can_take_nmi(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    if (x->nmi_state == NMI_STATE_BLOCKED)
        return NMI_IN_SERVICE;
    if (x->nmi_state == NMI_STATE_IRET && x->vmcb->rip == x->iret_rip) {
        begin_step(x, STEP_FOR_NMI);
        return NMI_IN_SERVICE;
    }
    x->nmi_state = NMI_STATE_OPEN;
    if (x->vmcb->event & EVENT_VALID) {
        // Exits as soon as the event is delivered, for an interrupt of our own.
        lapic_send(cpu_current()->apic_id, VECTOR_WAKE);
        return NMI_SHUT;
    }
    if (!(x->vmcb->shadow & SHADOW_STI_MOV_SS) && x->steps == 0)
        return NMI_OPEN;
    begin_step(x, STEP_FOR_NMI);
    return NMI_SHUT;
}

// The IRET is not done yet.
enum exit_action svm_exit_iret(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    svm_set_nmi_blocked(x, false);
    x->nmi_state = NMI_STATE_IRET;
    x->iret_rip = x->vmcb->rip;
    vcpu_post_to_self(vcpu, VCPU_PENDING_NMI);
    return EXIT_RETRY;
}

// ---- injection ----------------------------------------------------------------------------------

void svm_inject_interrupt(struct vcpu *vcpu, uint8_t vector) {
    struct svm_vcpu *x = vcpu->backend;
    x->vmcb->event = EVENT_VALID | EVENT_INTERRUPT | vector;
}

void svm_inject_nmi(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    x->vmcb->event = EVENT_VALID | EVENT_NMI | EXC_NMI;
    svm_set_nmi_blocked(x, true);
}

void svm_inject_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    struct svm_vcpu *x = vcpu->backend;
    struct vmcb *vmcb = x->vmcb;
    uint64_t event = exception_compose(vmcb->event, vector, error, (vmcb->cr0 & CR0_PE) != 0);
    if (event == 0) {
        vcpu_post_to_self(vcpu, VCPU_PENDING_SHUTDOWN);
        return;
    }
    // A fault saves RF set, so that a breakpoint on the instruction does not fire again.
    if (exception_is_fault(event))
        vmcb->rflags |= RFLAGS_RF;
    vmcb->event = event;
    if (x->steps != 0) {
        end_steps(vcpu);
        if (vcpu->is_stepping)
            begin_step_of_event(x);
    }
}

// Takes BS of a step of ours out of DR6. True: nothing of that #DB is the guest's.
static bool is_step_alone(struct svm_vcpu *x) {
    struct vmcb *vmcb = x->vmcb;
    if (x->has_own_tf || !(vmcb->dr6 & DR6_SINGLE_STEP))
        return false;
    uint64_t added = vmcb->dr6 & ~(uint64_t)x->dr6_before;
    vmcb->dr6 &= ~(added & DR6_SINGLE_STEP);
    svm_touch(x, CLEAN_DEBUG);
    return !(added & DR6_OF_GUEST);
}

// Intercepted are those whose delivery can raise them again for ever, and all while it steps: they
// are the guest's all the same, but for the #DB of a step of ours. DR6 and DR7 are as the guest's
// handler would find them (APM 2 15.12.2 "#DB (Debug)"), CR2 is not (15.12.15 "#PF (Page Fault)").
enum exit_action svm_exit_exception(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    struct vmcb *vmcb = x->vmcb;
    uint8_t vector = (uint8_t)(vmcb->exit_code % EXCEPTION_COUNT);
    uint8_t steps = x->steps;
    if (vector == EXC_MC)
        return vcpu_exit_machine_check(vcpu);
    if (steps != 0)
        end_steps(vcpu);
    if (steps == 0 || vector != EXC_DB || !is_step_alone(x)) {
        if (vector == EXC_PF)
            svm_set_cr2(x, vmcb->exit_info_2);
        svm_inject_exception(vcpu, vector, (uint32_t)vmcb->exit_info_1);
    }
    if (!(steps & STEP_FOR_VMM) || !vcpu->is_stepping)
        return EXIT_RETRY;
    vcpu->is_stepping = false;
    return svm_exit_to_vmm(vcpu, VCPU_EXIT_STEPPED, 0);
}

// INT n, INT3 and INTO are executed again, since RIP stands at them.
void svm_requeue_event(struct svm_vcpu *x) {
    uint64_t event = x->vmcb->exit_int_info, type = event & EVENT_TYPE;
    uint64_t vector = event & EVENT_VECTOR;
    bool is_software = type == EVENT_SOFTWARE ||
                       (type == EVENT_EXCEPTION && (vector == EXC_BP || vector == EXC_OF));
    x->vmcb->event = is_software ? 0 : event;
}

// ---- for the VMM --------------------------------------------------------------------------------

// Software's are executed again. What no processor delivers, VMRUN refuses.
void svm_restore_event(struct vcpu *vcpu, const struct vcpu_inject *event, bool has_event) {
    struct svm_vcpu *x = vcpu->backend;
    uint64_t restored = has_event ? exception_from_vmm(event) : 0;
    if (x->steps != 0 && !vcpu->is_stepping)
        end_steps(vcpu);
    set_window(vcpu, false);
    x->vmcb->event = (restored & EVENT_TYPE) >= EVENT_SOFTWARE ? 0 : restored;
}
