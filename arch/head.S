// SPDX-License-Identifier: Apache-2.0
// The kernel's first instruction, for the boot CPU (from boot/, see include/boot.h) and for the
// others (from INIT and SIPI, through a copy of the trampoline in a page below 1 MiB).

#define CR0_PE_PG_WP 0x80010001
#define CR4_PAE      0x20
#define EFER_LME_NXE 0x900
#define MSR_EFER     0xc0000080

.code64
.section .text
.globl kernel_entry
kernel_entry:
    cld
    lea     boot_stack_end(%rip), %rsp
    sub     $16, %rsp
    xor     %ebp, %ebp
    call    kernel_main         // RDI: struct boot_info
    ud2

// The first C code of another CPU: RSP is a kernel stack of its own.
ap_entry:
    xor     %ebp, %ebp
    call    smp_ap_main
    ud2

// The boot CPU's stack until it has a thread. Its top names the CPU, as on every kernel stack.
.section .bss
.balign 8192
boot_stack:
    .skip 8192
.globl boot_stack_end
boot_stack_end:

// ---- the trampoline: position-dependent by TRAMPOLINE_PAGE only, which is in CS on arrival ------
// It writes to itself before it has paging alone: the kernel's root maps that page read-only.
.section .rodata
.globl trampoline_begin
.globl trampoline_end
.globl trampoline_root
.globl trampoline_stack
.balign 16
trampoline_begin:
.code16
    cli
    cld
    mov     %cs, %ax
    mov     %ax, %ds
    xor     %ebx, %ebx
    mov     %ax, %bx
    shl     $4, %ebx            // linear address of this page
    // The far pointer and the GDT's address are not known at build time: complete them here.
    lea     (tramp_64 - trampoline_begin)(%ebx), %eax
    mov     %eax, tramp_jump - trampoline_begin
    lea     (tramp_gdt - trampoline_begin)(%ebx), %eax
    mov     %eax, tramp_gdtr + 2 - trampoline_begin
    lgdtl   tramp_gdtr - trampoline_begin
    // Straight from real mode to long mode: PE, PG, PAE and LME together.
    mov     $CR4_PAE, %eax
    mov     %eax, %cr4
    mov     trampoline_root - trampoline_begin, %eax
    mov     %eax, %cr3
    mov     $MSR_EFER, %ecx
    mov     $EFER_LME_NXE, %eax
    xor     %edx, %edx
    wrmsr
    mov     $CR0_PE_PG_WP, %eax
    mov     %eax, %cr0
    ljmpl   *(tramp_jump - trampoline_begin)
.code64
tramp_64:
    mov     %ebx, %ebx
    mov     (trampoline_stack - trampoline_begin)(%rbx), %rsp
    mov     (tramp_entry - trampoline_begin)(%rbx), %rax
    jmp     *%rax
.balign 8
tramp_gdt:
    .quad   0
    .quad   0x00209b0000000000  // 64-bit code
    .quad   0x0000930000000000
tramp_gdtr:
    .word   23
    .long   0
    .word   0
tramp_jump:
    .long   0
    .word   8
.balign 8
trampoline_root:
    .quad   0
trampoline_stack:
    .quad   0
tramp_entry:
    .quad   ap_entry
trampoline_end:
