// SPDX-License-Identifier: Apache-2.0
// Into the guest and out of it, for enter.c only: its loop jumps to vmx_switch with RDI the address
// of gpr[] and RSI the struct vmx_vcpu, and goes on at vmx_switched with RAX the exit reason, or
// VMX_REFUSED. No register is kept but RSP.
//
// Not a call: behind an exit no RET may run that no CALL of ours pairs, since what it is predicted
// by is the guest's (Intel, "Post-barrier Return Stack Buffer Predictions"). The loop fills the
// return stack where it is left.
//
// VM entry and VM exit switch RSP, RIP, RFLAGS, segments and control registers by the VMCS; the
// other general registers are moved here. HOST_RSP is the same for the vCPU's life: it points into
// struct vmx_vcpu, at the address of gpr[], with a word below to push to, and the loop's RSP above.
//
// An exit leaves interrupts off, AC and DF clear (SDM 3C 28.5.3 "Loading Host RIP, RSP, RFLAGS, and
// SSP"), so C can go on at once.

#include "arch/entry.h"
#include "vmx/layout.h"

.code64
.section .text

.globl vmx_switch
.type vmx_switch, @function
.balign 16
vmx_switch:
    mov     %rsp, VMX_VCPU_RSP(%rsi)
    cmpl    $0, VMX_VCPU_IS_LAUNCHED(%rsi)
    je      launch
    mov     0(%rdi), %rax
    load_guest
    vmresume
    jmp     refused
launch:
    movl    $1, VMX_VCPU_IS_LAUNCHED(%rsi)
    mov     0(%rdi), %rax
    load_guest
    vmlaunch
refused:
    // No exit: the guest's values are in the registers, RSP is ours.
    mov     $VMX_REFUSED, %eax
    jmp     vmx_switched

.globl vmx_exit_entry
.balign 16
vmx_exit_entry:
    push    %rdi
    mov     8(%rsp), %rdi
    mov     %rax, 0(%rdi)
    save_guest
    // Right after an exit this VMREAD cannot fail.
    mov     $ASM_VMCS_EXIT_REASON, %eax
    vmread  %rax, %rax
    mov     (VMX_VCPU_RSP - VMX_VCPU_GPR)(%rsp), %rsp
    jmp     vmx_switched
.size vmx_switch, . - vmx_switch

.section .note.GNU-stack, "", @progbits
