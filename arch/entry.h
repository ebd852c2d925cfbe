// SPDX-License-Identifier: Apache-2.0
// Numbers and macros that the assembly of the entries shares, and with C; split.h asserts that they
// are right.
#pragma once

#define ABI_CALL_PAGE_ASM 0x1000 // include/abi.h
#define CPU_STACK_MASK    8191   // CPU_STACK_SIZE - 1: a stack's top word names the CPU
#define CPU_TABLES_FIELD  0      // struct cpu: tables

// Offsets in struct cpu_tables, which has a page of its own.
#define ENTRY_STACK_SIZE 256
#define ENTRY_FRAME      192  // of RAX on the stack of entries from ring 3, before RIP and the rest
#define ENTRY_STACK      1280 // the top of the thread's stack
#define ENTRY_KERNEL_CR3 1288 // to load
#define ENTRY_USER_CR3   1296 // to load
#define ENTRY_USER_READ  1304 // as it is read back

#ifdef __ASSEMBLER__
// clang-format off

// One entry a vector, 16 bytes apart. The processor pushes an error code for some exceptions; for
// the others a zero takes its place, so that every frame has the shape of struct trap_frame. `ist`
// is where those go that have a stack of their own: #DB, NMI, #DF, #MC.
.macro trap_table common, ist
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
          vector == 29 || vector == 30)
    pushq   $0
    .endif
    pushq   $vector
    .if vector == 1 || vector == 2 || vector == 8 || vector == 18
    jmp     \ist
    .else
    jmp     \common
    .endif
    .set vector, vector + 1
.endr
.endm

// The registers of struct trap_frame behind RCX.
.macro push_registers
    push    %rdx
    push    %rsi
    push    %rdi
    push    %rbp
    push    %rbx
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
.endm

.macro pop_registers
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rbx
    pop     %rbp
    pop     %rdi
    pop     %rsi
    pop     %rdx
.endm

// A guest's registers but RAX and RSP, from gpr[] at RDI, and to it; of an exit, its RDI is on top
// of the stack (vmx/enter.S, svm/enter.S).
.macro load_guest
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

.macro save_guest
    mov     %rcx, 8(%rdi)
    mov     %rdx, 16(%rdi)
    mov     %rbx, 24(%rdi)
    mov     %rbp, 40(%rdi)
    mov     %rsi, 48(%rdi)
    mov     %r8, 64(%rdi)
    mov     %r9, 72(%rdi)
    mov     %r10, 80(%rdi)
    mov     %r11, 88(%rdi)
    mov     %r12, 96(%rdi)
    mov     %r13, 104(%rdi)
    mov     %r14, 112(%rdi)
    mov     %r15, 120(%rdi)
    popq    56(%rdi)
.endm

// clang-format on
#endif
