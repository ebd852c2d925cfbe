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

#include "vmx/layout.h"

.macro load_guest
    mov     0(%rdi), %rax
    mov     8(%rdi), %rcx
    mov     16(%rdi), %rdx
    mov     24(%rdi), %rbx
    mov     40(%rdi), %rbp
    mov     48(%rdi), %rsi
    mov     64(%rdi), %r8
    mov     72(%rdi), %r9
    mov     80(%rdi), %r10
    mov     88(%rdi), %r11
    mov     96(%rdi), %r12
    mov     104(%rdi), %r13
    mov     112(%rdi), %r14
    mov     120(%rdi), %r15
    mov     56(%rdi), %rdi
.endm

.code64
.section .text

.globl vmx_switch
.type vmx_switch, @function
.balign 16
vmx_switch:
    mov     %rsp, VMX_VCPU_RSP(%rsi)
    cmpl    $0, VMX_VCPU_IS_LAUNCHED(%rsi)
    je      launch
    load_guest
    vmresume
    jmp     refused
launch:
    movl    $1, VMX_VCPU_IS_LAUNCHED(%rsi)
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
    mov     %rcx, 8(%rdi)
    mov     %rdx, 16(%rdi)
    mov     %rbx, 24(%rdi)
    mov     %rbp, 40(%rdi)
    mov     %rsi, 48(%rdi)
    popq    56(%rdi)
    mov     %r8, 64(%rdi)
    mov     %r9, 72(%rdi)
    mov     %r10, 80(%rdi)
    mov     %r11, 88(%rdi)
    mov     %r12, 96(%rdi)
    mov     %r13, 104(%rdi)
    mov     %r14, 112(%rdi)
    mov     %r15, 120(%rdi)
    // Right after an exit this VMREAD cannot fail.
    mov     $ASM_VMCS_EXIT_REASON, %eax
    vmread  %rax, %rax
    mov     (VMX_VCPU_RSP - VMX_VCPU_GPR)(%rsp), %rsp
    jmp     vmx_switched
.size vmx_switch, . - vmx_switch

.section .note.GNU-stack, "", @progbits
