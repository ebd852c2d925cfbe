// SPDX-License-Identifier: Apache-2.0
// Into the guest and out of it, for enter.c only: its loop jumps to svm_switch with RDI the address
// of gpr[], RSI the interrupt shadow and RAX the VMCB, and goes on at svm_switched. No register is
// kept but RSP.
//
// Not a call: behind an exit no RET may run that no CALL of ours pairs, since what it is predicted
// by is the guest's. The loop fills the return stack where it is left.
//
// VMRUN and the exit switch RAX, RSP, RIP, RFLAGS, segments and control registers; the other
// general registers are moved here. GIF is 0. IF is 1 while the guest runs, as it tells VMRUN that
// an interrupt of ours shall exit (APM 2 15.21.1 "Physical (INTR) Interrupt Masking in EFLAGS").
//
// QEMU does not load the VMCB's interrupt shadow, but takes that of an STI right before VMRUN into
// the guest. So there is one when RSI, the shadow, is not 0.

.code64
.section .text

.globl svm_switch
.type svm_switch, @function
.balign 16
svm_switch:
    sti
    push    %rdi
    push    %rsi
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
    cmpb    $0, (%rsp)
    je      1f
    cli
    sti
1:
    vmrun   %rax
    cli
    mov     %rdi, (%rsp)
    mov     8(%rsp), %rdi
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
    pop     %rdi
    jmp     svm_switched
.size svm_switch, . - svm_switch

.section .note.GNU-stack, "", @progbits
