// SPDX-License-Identifier: Apache-2.0
// The 32-bit entry of guests that are started by Multiboot or PVH: keeps what the processor's state
// was, and goes to long mode and _start, with the first 4 GiB mapped identically, as the other
// guests start. The interface is told in entry32.h.

    .section .text
    .code32
    .globl entry_32
entry_32:
    mov %eax, entry_state
    mov %ebx, entry_state + 4
    mov %cr0, %eax
    mov %eax, entry_state + 8
    mov %cr3, %eax
    mov %eax, entry_state + 12
    mov %cr4, %eax
    mov %eax, entry_state + 16
    mov $entry_stack_top, %esp
    pushf
    pop entry_state + 20
    mov $0xc0000080, %ecx
    rdmsr
    mov %eax, entry_state + 24
    mov %cs, %ax
    mov %ax, entry_state + 28
    lsl %eax, %eax
    mov %eax, entry_state + 32
    mov %ds, %ax
    mov %ax, entry_state + 30
    lsl %eax, %eax
    mov %eax, entry_state + 36

    // 4 GiB in pages of 2 MiB.
    mov $entry_directories + 3, %eax
    mov $entry_pointers, %edi
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    movl $entry_pointers + 3, entry_tables
    mov $0x83, %eax
    mov $entry_directories, %edi
    mov $2048, %ecx
2:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 2b
    mov $entry_tables, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000000, %eax
    mov %eax, %cr0
    lgdt entry_gdtr
    ljmp $0x10, $3f
    .code64
3:  mov $0x18, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    lea entry_zero_page(%rip), %rsi
    jmp _start

    .section .rodata
    .balign 8
entry_gdt:
    .quad 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
entry_gdtr:
    .word entry_gdtr - entry_gdt - 1
    .long entry_gdt

    .bss
    .balign 0x1000
entry_tables:
    .skip 0x1000
entry_pointers:
    .skip 0x1000
entry_directories:
    .skip 0x4000
    .globl entry_zero_page
entry_zero_page:
    .skip 0x1000
    .globl entry_state
entry_state:
    .skip 40
    .balign 16
    .skip 64
entry_stack_top:

    .section .note.GNU-stack, "", @progbits
