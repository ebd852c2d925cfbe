// SPDX-License-Identifier: Apache-2.0
// What must be in known instructions: the handlers that take the time, and the start of the second processor.

// ---- handler_0, handler_1: the TSC into stamp[0] or stamp[1], EOI in x2APIC mode -----------------------
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

// ---- Copied to TRAMPOLINE, where a SIPI starts it in real mode: goes to 64-bit mode at once ------------
    .set TRAMPOLINE, 0x8000
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + second_gdt - trampoline
    mov TRAMPOLINE + second_cr3 - trampoline, %eax
    mov %eax, %cr3
    mov $0x620, %eax // PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx // IA32_EFER
    xor %edx, %edx
    mov $0x100, %eax // LME
    wrmsr
    mov $0x80000033, %eax // PG, NE, ET, MP, PE
    mov %eax, %cr0
    ljmpl $0x10, $second_start // SELECTOR_CODE
    .balign 8
    .globl second_gdt, second_cr3
second_gdt: .skip 10
second_cr3: .skip 4
trampoline_end:

    .code64
    .weak second_main
second_start:
    mov $0x18, %eax // SELECTOR_DATA
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    lea second_stack(%rip), %rsp
    lidt second_idt(%rip)
    xor %ebp, %ebp
    call second_main
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 0x4000
second_stack:
    .globl stamp
    .balign 64
stamp:
    .skip 16
    .globl second_idt
second_idt:
    .skip 10

    .section .note.GNU-stack, "", @progbits
