// SPDX-License-Identifier: Apache-2.0
// Into an attack and out of it.

    .text
    .balign 16
    .globl attack_traps
// 256 entries of 16 bytes each: push an error code where the processor does not, and the vector.
attack_traps:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
    .else
    push $0
    .endif
    push $vector
    jmp attack_common
    .set vector, vector + 1
    .endr

// An exception that comes while none is expected, the watchdog's that is late included, goes on
// where it came from, if attack_trap says so.
attack_common:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %rbx
    mov %rsp, %rdi
    mov %rsp, %rbx
    and $-16, %rsp
    cld
    call attack_trap
    mov %rbx, %rsp
    test %al, %al
    jnz 1f
    pop %rbx
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq
1:  mov attack_saved_rsp(%rip), %rax // an IRET, so that NMIs are unblocked
    push $0x18                       // ATTACK_DATA0
    push %rax
    push $2
    push $0x10 // ATTACK_CODE64
    lea attack_left(%rip), %rax
    push %rax
    iretq

// void attack_enter(const struct attack *attack): returns when attack_trap ends it.
    .globl attack_enter
attack_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, attack_saved_rsp(%rip)
    mov 152(%rdi), %eax
    mov %eax, %ds
    mov %eax, %es
    push 152(%rdi) // ss
    push 32(%rdi)  // rsp
    push 144(%rdi) // rflags
    push 136(%rdi) // cs
    push 128(%rdi) // rip
    mov 0(%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    iretq
attack_left:
    mov $0x18, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .balign 8
attack_saved_rsp:
    .quad 0

    .section .note.GNU-stack, "", @progbits
