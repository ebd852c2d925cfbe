// SPDX-License-Identifier: Apache-2.0
// See vmx/guard.h.
#include "vmx/guard.h"

#include "arch/tsc.h"

#define RUNS_A_SECOND    1000u // of a guest with its interrupts off
#define MISC_TIMER_SHIFT 0x1fu

void guard_init(struct vmx_vcpu *x) {
    x->is_guarded = false;
    if (vmx_caps.has_preemption_timer)
        vmcs_write32(VMCS_GUEST_PREEMPTION_TIMER,
                     (uint32_t)(tsc_hz / RUNS_A_SECOND >> (vmx_caps.misc & MISC_TIMER_SHIFT)));
}

void guard_set(struct vmx_vcpu *x, bool is_armed) {
    uint32_t pin = vmx_caps.control[CONTROL_PIN];
    x->is_guarded = is_armed;
    if (vmx_caps.has_preemption_timer)
        vmcs_write32(VMCS_PIN_CONTROLS, is_armed ? pin | (uint32_t)PIN_PREEMPTION_TIMER : pin);
}

// What is pending is taken in this window, on the thread's own kernel stack.
enum exit_action exit_preemption_timer(struct vcpu *vcpu) {
    (void)vcpu;
    __asm__ volatile("sti; nop; cli" ::: "memory");
    return EXIT_RETRY;
}
