// SPDX-License-Identifier: Apache-2.0
// Entries and the exits that end them: the path of every exit, so it is short, and what is rare
// stands in functions of its own. The only place that steps over an instruction.
#include "svm/exit.h"

#include "arch/mitigation.h"
#include "kernel/frame.h"

#define SELDOM(condition) __builtin_expect(!!(condition), 0)
#define LONGEST           15u // bytes of an instruction

void svm_open(struct svm_vcpu *x) {
    // What ran here meanwhile left in buffers must not be the guest's to sample.
    if (mitigation.has_verw)
        mitigation_clear_buffers();
    svm_clgi();
    svm_vmload(x->vmcb_at);
    x->is_open = true;
}

void svm_save(struct svm_vcpu *x) {
    if (x->is_open)
        svm_vmsave(x->vmcb_at);
}

void svm_close(struct svm_vcpu *x) {
    svm_save(x);
    svm_vmload(frame_of_kernel(cpu_current()->host_region));
    x->is_open = false;
    svm_stgi();
}

// Past 4 GiB, RIP goes on only in 64-bit mode.
static __attribute__((noinline, cold)) uint64_t wrap_rip(const struct vmcb *vmcb, uint64_t rip) {
    return svm_is_64bit(vmcb) ? rip : (uint32_t)rip;
}

// SDM 3A 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks": an instruction that is
// done ends the blocking.
bool svm_move_rip(struct svm_vcpu *x, uint64_t rip) {
    struct vmcb *vmcb = x->vmcb;
    if (SELDOM((uint32_t)rip < LONGEST))
        rip = wrap_rip(vmcb, rip);
    vmcb->rip = rip;
    vmcb->shadow &= ~SHADOW_STI_MOV_SS;
    bool is_stepping = (vmcb->rflags & RFLAGS_TF) && (x->steps == 0 || x->has_own_tf);
    if (SELDOM(is_stepping))
        svm_trap_after_step(x);
    return is_stepping;
}

uint32_t svm_length(const struct vmcb *vmcb, enum svm_exit row) {
    if (row == SVM_EXIT_IOIO)
        return (uint32_t)(vmcb->exit_info_2 - vmcb->rip);
    return svm_caps.has_next_rip ? (uint32_t)(vmcb->next_rip - vmcb->rip) : svm_exit_length(row);
}

// In the processor, too: Bochs does not load it from the VMCB.
void svm_set_cr2(struct svm_vcpu *x, uint64_t cr2) {
    x->vmcb->cr2 = cr2;
    svm_touch(x, CLEAN_CR2);
    x86_write_cr2(cr2);
}

static __attribute__((noinline)) void prepare(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    if (x->entry_work & WORK_CR2)
        svm_set_cr2(x, vcpu->cr2);
    x->entry_work = 0;
}

#if __STDC_HOSTED__
void switch_to_guest(uint64_t *gpr, hpa_t vmcb, uint64_t shadow); // the unit tests' processor
#else
// svm_switch keeps nothing but RSP. So the compiler saves what C wants preserved once around the
// loop below, instead of the switch at each exit. It is a jump there and back: see enter.S.
static inline void switch_to_guest(uint64_t *gpr, hpa_t vmcb, uint64_t shadow) {
    __asm__ volatile("jmp svm_switch\n\t"
                     ".globl svm_switched\n"
                     "svm_switched:"
                     : "+D"(gpr), "+a"(vmcb.v), "+S"(shadow)
                     :
                     : "rbx", "rcx", "rdx", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "cc", "memory");
}
#endif

// In and out of the guest, with what stands elsewhere than the VMCB has it.
static inline void run(struct vcpu *vcpu, struct svm_vcpu *x) {
    struct vmcb *vmcb = x->vmcb;
    vmcb->rax = vcpu_gpr(vcpu, GPR_RAX);
    svm_give_tpr(vcpu);
    switch_to_guest(vcpu->page->gpr, x->vmcb_at, vmcb->shadow & SHADOW_STI_MOV_SS);
    vcpu->page->gpr[GPR_RAX] = vmcb->rax;
    vmcb->event &= (uint64_t)((int32_t)vmcb->exit_code >> 31); // not entered: it may be why
    vmcb->tlb_control = 0;
    vmcb->clean = svm_caps.has_clean_bits ? CLEAN_ALL : 0;
    svm_take_tpr(vcpu);
    if (SELDOM(vmcb->exit_int_info & EVENT_VALID))
        svm_requeue_event(x);
}

// The loop has no return but those that its own calls pair; before svm_enter's own, what the guest
// left to predict it by is pushed out.
__attribute__((noinline)) enum exit_action svm_enter(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    struct cpu *cpu = vcpu->cpu;
    enum exit_action action;
    svm_open(x);
    do {
        if (SELDOM(x->entry_work))
            prepare(vcpu);
        if (SELDOM(!svm_has_asid(x, cpu)))
            svm_take_asid(x, cpu);
        run(vcpu, x);
        enum svm_exit row = svm_exit_row(x->vmcb->exit_code);
        cpu->exits[row]++;
        vcpu->exits[row]++;
        cpu->recent[cpu->recent_next++ % CPU_RECENT_EXITS] = (uint8_t)row;
        action = svm_exit_handlers[row](vcpu);
        if (action == EXIT_ADVANCE || action == EXIT_BLOCK) {
            // The #DB behind a HLT that is stepped over ends it.
            uint64_t next = x->vmcb->rip + svm_length(x->vmcb, row);
            if (svm_move_rip(x, next) || action == EXIT_ADVANCE)
                action = EXIT_RETRY;
            if (SELDOM(x->steps))
                action = svm_finish_step(vcpu, action);
        }
    } while (action == EXIT_RETRY && !vcpu_has_work(vcpu, cpu));
    svm_close(x);
    mitigation_stuff_rsb();
    return action;
}

void svm_leave(struct vcpu *vcpu) {
    struct svm_vcpu *x = vcpu->backend;
    if (!(x->entry_work & WORK_CR2))
        vcpu->cr2 = x->vmcb->cr2;
    if (!(x->entry_work & WORK_IS_LEFT)) {
        vcpu->page->rip = x->vmcb->rip;
        vcpu->page->gpr[GPR_RSP] = x->vmcb->rsp;
        vcpu->page->rflags = svm_get_rflags(x);
    }
    x->entry_work |= WORK_CR2 | WORK_IS_LEFT;
}
