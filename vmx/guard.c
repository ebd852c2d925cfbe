// SPDX-License-Identifier: Apache-2.0
// See vmx/guard.h.
#include "vmx/guard.h"

#include "arch/tsc.h"

#define RUNS_A_SECOND    1000u // of a guest with its interrupts off
#define MISC_TIMER_SHIFT 0x1fu

static void restart(void) {
    uint64_t ticks = tsc_hz / RUNS_A_SECOND >> (vmx_caps.misc & MISC_TIMER_SHIFT);
    vmcs_write32(VMCS_GUEST_PREEMPTION_TIMER, (uint32_t)ticks);
}

void guard_init(void) {
    if (vmx_caps.has_preemption_timer)
        restart();
}

// Saving the timer's value is not allowed without the timer.
void guard_set(bool is_armed) {
    uint32_t pin = vmx_caps.control[CONTROL_PIN], exit = vmx_caps.control[CONTROL_EXIT];
    if (!vmx_caps.has_preemption_timer)
        return;
    if (is_armed) {
        pin |= (uint32_t)PIN_PREEMPTION_TIMER;
        exit |= (uint32_t)EXIT_CONTROL_SAVE_PREEMPTION;
    }
    vmcs_write32(VMCS_PIN_CONTROLS, pin);
    vmcs_write32(VMCS_EXIT_CONTROLS, exit);
}

// What is pending is taken in this window, on the thread's own kernel stack.
enum exit_action exit_preemption_timer(struct vcpu *vcpu) {
    vcpu->own_timer_exits++;
    restart();
    x86_sti_nop_cli();
    return EXIT_RETRY;
}
