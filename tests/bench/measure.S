// SPDX-License-Identifier: Apache-2.0
// handler_0, handler_1: the TSC into stamp[0] or stamp[1], EOI in x2APIC mode.
    .macro HANDLER number
    .globl handler_\number
handler_\number:
    push %rax
    push %rdx
    rdtsc
    shl $32, %rdx
    or %rdx, %rax
    mov %rax, stamp + 8 * \number(%rip)
    push %rcx
    mov $0x80b, %ecx // IA32_X2APIC_EOI
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rcx
    pop %rdx
    pop %rax
    iretq
    .endm

    .text
    HANDLER 0
    HANDLER 1

    .bss
    .globl stamp
    .balign 64
stamp:
    .skip 16

    .section .note.GNU-stack, "", @progbits
