// SPDX-License-Identifier: Apache-2.0
// Where a processor begins after SIPI: real mode, in the page that the vector names. It goes to
// 64-bit mode on the page tables of processor 0, and to its own stack by its APIC ID.
//
// Copied to SMP_TRAMPOLINE: until 64-bit mode only addresses of the copy are used. SDM 3A 9.8.5
// "Initializing IA-32e Mode".

#define TRAMPOLINE 0x10000
#define STACK_SIZE 0x2000
#define HERE(label) (TRAMPOLINE + (label) - trampoline_begin)

#define CR0_PE 0x1
#define CR0_NE 0x20
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define CPUID_1_APIC_ID 24
#define CODE32 0x08
#define CODE64 0x10
#define DATA 0x18

    .data
    .globl trampoline_begin, trampoline_end, trampoline_cr3
    .balign 16
trampoline_begin:
    .code16
    cli
    cld
    mov %cs, %ax
    mov %ax, %ds
    lgdtl gdt_pointer - trampoline_begin
    mov $CR0_PE | CR0_NE, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $HERE(protected)

    .code32
protected:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov HERE(trampoline_cr3), %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    mov $EFER_LME, %eax
    xor %edx, %edx
    wrmsr
    mov $CR0_PG | CR0_PE | CR0_NE, %eax
    mov %eax, %cr0
    ljmpl $CODE64, $HERE(long_mode)

    .code64
long_mode:
    mov $1, %eax
    cpuid
    shr $CPUID_1_APIC_ID, %ebx
    mov %ebx, %edi
    lea 1(%rbx), %eax
    imul $STACK_SIZE, %eax, %eax
    movabs $smp_stacks, %rcx
    add (%rcx), %rax
    mov %rax, %rsp
    xor %ebp, %ebp
    movabs $smp_entry, %rax
    call *%rax

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff // 0x08 code, 32 bits
    .quad 0x00af9b000000ffff // 0x10 code, 64 bits
    .quad 0x00cf93000000ffff // 0x18 data
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long HERE(gdt)
trampoline_cr3:
    .long 0
trampoline_end:

    .section .note.GNU-stack, "", @progbits
