// SPDX-License-Identifier: Apache-2.0
// Entries and the exits that end them: the path of every exit, so it is short, and what is rare
// stands in functions of its own. The only place that steps over an instruction.
#include "vmx/exit.h"
#include "vmx/vmx.h"

#include "arch/mitigation.h"

#define SELDOM(condition) __builtin_expect(!!(condition), 0)

// Past 4 GiB, RIP goes on only in 64-bit mode.
__attribute__((noinline, cold)) uint64_t vmx_wrap_rip(uint64_t rip) {
    bool is_64bit = (vmcs_read64(VMCS_GUEST_EFER) & EFER_LMA) &&
                    (vmcs_read32(VMCS_ACCESS_RIGHTS(VMCS_CS)) & SEGMENT_LONG);
    return is_64bit ? rip : (uint32_t)rip;
}

// SDM 3A 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks": an instruction that is
// done ends the blocking.
static void end_blocking(uint32_t interruptibility) {
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~BLOCKING_UNTIL_NEXT);
}

// A debugger in the guest steps over the instruction as over any other.
__attribute__((noinline, cold)) void vmx_trap_after_step(void) {
    vmcs_write(VMCS_GUEST_PENDING_DEBUG,
               vmcs_read(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_SINGLE_STEP);
}

// Returns is_stepping.
static __attribute__((noinline, cold)) bool finish_step(uint32_t interruptibility,
                                                        bool is_stepping) {
    if (interruptibility & BLOCKING_UNTIL_NEXT)
        end_blocking(interruptibility);
    if (is_stepping)
        vmx_trap_after_step();
    return is_stepping;
}

// What happens next. The #DB behind a HLT that is stepped over ends it.
static inline __attribute__((always_inline)) enum exit_action advance(enum exit_action action) {
    uint32_t length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    uint64_t rip = vmcs_read(VMCS_GUEST_RIP) + length;
    if (SELDOM((uint32_t)rip < length))
        rip = vmx_wrap_rip(rip);
    vmcs_write(VMCS_GUEST_RIP, rip);
    uint32_t interruptibility = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
    uint64_t stepping = vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF;
    bool is_due = ((interruptibility & BLOCKING_UNTIL_NEXT) | stepping) != 0;
    if (SELDOM(is_due) && finish_step(interruptibility, stepping != 0))
        return EXIT_RETRY;
    return action == EXIT_ADVANCE ? EXIT_RETRY : action;
}

static __attribute__((noinline)) void prepare(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    if ((x->entry_work & WORK_CR2) && x86_read_cr2() != vcpu->cr2)
        x86_write_cr2(vcpu->cr2);
    x->entry_work = 0;
}

// The state that the VMM wrote is not one that a processor can be in (SDM 3C 27.8 "VM-Entry
// Failures During or After Loading Guest State"), or the event that it restored is none.
static __attribute__((noinline, cold)) enum exit_action refuse(struct vcpu *vcpu, uint32_t reason) {
    struct vmx_vcpu *x = vcpu->backend;
    uint64_t detail = reason & EXIT_REASON_BASIC;
    if (reason == VMX_REFUSED)
        detail = VMX_REFUSED | vmcs_read32(VMCS_INSTRUCTION_ERROR);
    else if (!(reason & EXIT_REASON_ENTRY_FAILED))
        return exit_unexpected(vcpu);
    if (detail == EXIT_REASON_MACHINE_CHECK)
        (void)vcpu_exit_machine_check(vcpu); // and where the machine goes on, this VM does not
    // The launch state of a failed entry is undefined to us: start over.
    vmcs_clear(x->vmcs);
    vmcs_make_current(x->vmcs);
    x->is_launched = 0;
    return vmx_fail(vcpu, VCPU_FAILURE_ENTRY, detail);
}

// vmx_switch keeps nothing but RSP. So the compiler saves what C wants preserved once around the
// loop below, instead of the switch at each exit. It is a jump there and back: see enter.S.
static inline uint32_t switch_to_guest(uint64_t *gpr, struct vmx_vcpu *x) {
    uint32_t reason;
    __asm__ volatile("jmp vmx_switch\n\t"
                     ".globl vmx_switched\n"
                     "vmx_switched:"
                     : "=a"(reason), "+D"(gpr), "+S"(x)
                     :
                     : "rbx", "rcx", "rdx", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "cc", "memory");
    return reason;
}

// The loop has no return but those that its own calls pair; before vmx_enter's own, what the guest
// left to predict it by is pushed out.
__attribute__((noinline)) enum exit_action vmx_enter(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    struct cpu *cpu = vcpu->cpu;
    enum exit_action action;
    // What ran here meanwhile left in buffers must not be the guest's to sample.
    if (mitigation.has_verw)
        mitigation_clear_buffers();
    do {
        if (SELDOM(x->entry_work))
            prepare(vcpu);
        uint32_t reason = switch_to_guest(vcpu->page->gpr, x);
        if (SELDOM(mitigation.clears_bhb))
            mitigation_clear_bhb();
        if (SELDOM(reason >= VMX_EXIT_COUNT)) {
            action = refuse(vcpu, reason);
            break;
        }
        cpu->exits[reason]++;
        vcpu->exits[reason]++;
        cpu->recent[cpu->recent_next++ % CPU_RECENT_EXITS] = (uint8_t)reason;
        action = vmx_exit_handlers[reason](vcpu);
        if (action == EXIT_ADVANCE || action == EXIT_BLOCK)
            action = advance(action);
    } while (action == EXIT_RETRY && !vcpu_has_work(vcpu, cpu));
    mitigation_stuff_rsb();
    return action;
}

enum exit_action vmx_exit_to_vmm(struct vcpu *vcpu, enum vcpu_exit exit) {
    vcpu->page->exit = exit;
    vcpu->page->instruction_length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    return EXIT_VMM;
}

void vmx_leave(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    if (!(x->entry_work & WORK_CR2))
        vcpu->cr2 = x86_read_cr2();
    if (!(x->entry_work & WORK_IS_LEFT)) {
        vcpu->page->rip = vmcs_read(VMCS_GUEST_RIP);
        vcpu->page->gpr[GPR_RSP] = vmcs_read(VMCS_GUEST_RSP);
        vcpu->page->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
    }
    x->entry_work |= WORK_CR2 | WORK_IS_LEFT;
}
