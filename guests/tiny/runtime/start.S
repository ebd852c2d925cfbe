// SPDX-License-Identifier: Apache-2.0
// Where a tiny guest starts, the entries of its IDT, and the way into ring 3 and back.

// ---- start: long mode, interrupts off, RSI = zero page ------------------------------------------
    .section .text.start, "ax"
    .globl _start
_start:
    cld
    lea stack_top(%rip), %rsp
    xor %ebp, %ebp
    mov %rsi, %rdi
    call runtime_main
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 0x4000
stack_top:

// ---- 256 entries of 16 bytes: push an error code where the processor does not, and the vector ---
    .text
    .balign 16
    .globl trap_entries
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21)
    .else
    push $0
    .endif
    push $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

// struct trap_frame of trap.h, from the last field to the first.
trap_common:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    cld
    call trap_handle
    mov %rbp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq

// ---- void user_run(uint64_t rip, uint64_t rsp, uint64_t rflags): returns at the first trap ------
    .globl user_run
user_run:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, user_return_rsp(%rip)
    push $0x33 // SELECTOR_USER_DATA
    push %rsi
    push %rdx
    push $0x2b // SELECTOR_USER_CODE
    push %rdi
    iretq

// _Noreturn void user_return(void)
    .globl user_return
user_return:
    mov user_return_rsp(%rip), %rsp
    movq $0, user_return_rsp(%rip)
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .globl user_return_rsp
    .balign 8
user_return_rsp:
    .quad 0

    .section .note.GNU-stack, "", @progbits
