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

#include "arch/entry.h"

.code64
.section .text

.globl svm_switch
.type svm_switch, @function
.balign 16
svm_switch:
    sti
    push    %rdi
    push    %rsi
    load_guest
    cmpb    $0, (%rsp)
    je      1f
    cli
    sti
1:
    vmrun   %rax
    cli
    mov     %rdi, (%rsp)
    mov     8(%rsp), %rdi
    save_guest
    pop     %rdi
    jmp     svm_switched
.size svm_switch, . - svm_switch

.section .note.GNU-stack, "", @progbits
