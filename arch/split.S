// SPDX-License-Identifier: Apache-2.0
// Ways into the kernel and out of it where ring 3 has a root of its own (arch/split.h). Section
// .entry is in both roots; what is jumped to outside of it is in the kernel's alone. NMI, #MC and
// #DB can come at each instruction, in either root: they have stacks of their own, and go back to
// the root that they found.
//
// RSP is in the CPU's page (struct cpu_tables) on each arrival here, but for an exception of ring
// 0.

#include "arch/entry.h"

.code64
.section .entry, "ax", @progbits

.globl entry_begin
entry_begin:
.globl trap_entries_split
.balign 16
trap_entries_split:
    trap_table trap_split, trap_split_ist

// VERW's operand: a selector that may be written (SELECTOR_KERNEL_DATA).
.globl entry_selector
.balign 8
entry_selector:
    .quad   0x10

// SYSENTER_ESP is the address of ENTRY_STACK. RDX is lost in a system call.
.globl entry_sysenter_split
.balign 16
entry_sysenter_split:
    mov     (ENTRY_KERNEL_CR3 - ENTRY_STACK)(%rsp), %rdx
    mov     %rdx, %cr3
    mov     (%rsp), %rsp
    jmp     sysenter_split

// R11: the user's CR3. The page of RSP is not mapped any more; SYSEXIT takes RCX.
.globl sysexit_split
sysexit_split:
    mov     %r11, %cr3
    xor     %r11d, %r11d
    verw    entry_selector(%rip)
    sti                         // takes effect after SYSEXIT
.globl sysexit_split_last
sysexit_split_last:
    sysexitq

// From ring 3 on the CPU's first entry stack: the frame moves to the thread's. From ring 0, where
// the kernel's root is loaded, it is where it belongs.
.balign 16
trap_split:
    testb   $3, 24(%rsp)        // CS
    jz      trap_common
    push    %rax
    mov     %rsp, %rax
    and     $-4096, %rax
    mov     ENTRY_KERNEL_CR3(%rax), %rax
    mov     %rax, %cr3
    mov     %rsp, %rax
    and     $-4096, %rsp
    mov     ENTRY_STACK(%rsp), %rsp
    pushq   56(%rax)            // SS, RSP, RFLAGS, CS, RIP, error, vector, RAX
    pushq   48(%rax)
    pushq   40(%rax)
    pushq   32(%rax)
    pushq   24(%rax)
    pushq   16(%rax)
    pushq   8(%rax)
    pushq   (%rax)
    movq    $0, (%rax)
    jmp     trap_common_pushed

// RSP: the entry stack again, at RAX and the five words that IRETQ takes; RAX: the user's CR3.
iret_split:
    mov     %rax, %cr3
    pop     %rax
    movq    $0, -8(%rsp)
    verw    entry_selector(%rip)
    iretq

// At the entry stack: CR3 RCX RAX vector error RIP CS RFLAGS RSP SS. On the stack for the handler:
// the address of that, CR3, and the frame.
.balign 16
trap_split_ist:
    push    %rax
    push    %rcx
    mov     %rsp, %rcx
    and     $-4096, %rcx
    mov     %cr3, %rax
    push    %rax
    cmp     %rax, ENTRY_USER_READ(%rcx)
    jne     1f
    mov     ENTRY_KERNEL_CR3(%rcx), %rax
    mov     %rax, %cr3
1:  mov     %rsp, %rcx
    or      $(ENTRY_STACK_SIZE - 1), %rcx
    mov     -15(%rcx), %rcx     // kernel_stack
    xchg    %rcx, %rsp
    push    %rcx
    pushq   (%rcx)
    pushq   72(%rcx)            // SS, RSP, RFLAGS, CS, RIP, error, vector, RAX, RCX
    pushq   64(%rcx)
    pushq   56(%rcx)
    pushq   48(%rcx)
    pushq   40(%rcx)
    pushq   32(%rcx)
    pushq   24(%rcx)
    pushq   16(%rcx)
    pushq   8(%rcx)
    movq    $0, 16(%rcx)
    movq    $0, 8(%rcx)
    jmp     trap_ist_pushed

// RSP: the entry stack again, at RCX and RAX; RAX: CR3 as it was.
iret_split_ist:
    mov     %rax, %cr3
    pop     %rcx
    pop     %rax
    movq    $0, -8(%rsp)
    movq    $0, -16(%rsp)
    add     $16, %rsp
    verw    entry_selector(%rip)
    iretq

// void split_flush_user(uint64_t user_cr3, uint64_t kernel_cr3)
.globl split_flush_user
split_flush_user:
    mov     %rdi, %cr3
    mov     %rsi, %cr3
    ret
.balign 4096
.globl entry_end
entry_end:

// ---- with the kernel's root ---------------------------------------------------------------------
.section .text

// RSP: a thread's stack with vector, error, RIP, CS, RFLAGS, RSP, SS; the rest is in the registers.
.globl trap_return_split
trap_return_split:
    testb   $3, 24(%rsp)
    jz      trap_return_whole
    push    %rax
    push    %rcx
    mov     %rsp, %rax
    or      $CPU_STACK_MASK, %rax
    mov     -7(%rax), %rax      // struct cpu
    mov     CPU_TABLES_FIELD(%rax), %rax
    mov     8(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME(%rax) // RAX, RIP, CS, RFLAGS, RSP, SS
    mov     32(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME+8(%rax)
    mov     40(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME+16(%rax)
    mov     48(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME+24(%rax)
    mov     56(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME+32(%rax)
    mov     64(%rsp), %rcx
    mov     %rcx, ENTRY_FRAME+40(%rax)
    pop     %rcx
    lea     ENTRY_FRAME(%rax), %rsp
    mov     (ENTRY_USER_CR3 - ENTRY_FRAME)(%rsp), %rax
    jmp     iret_split

trap_ist_pushed:
    push_registers
    pushq   $2
    popfq
    mov     %rsp, %rdi
    call    trap_dispatch
    pop_registers
    mov     80(%rsp), %rcx      // the entry stack; what the handler may change goes back there
    mov     0(%rsp), %rax
    mov     %rax, 8(%rcx)
    mov     8(%rsp), %rax
    mov     %rax, 16(%rcx)
    mov     32(%rsp), %rax
    mov     %rax, 40(%rcx)
    mov     48(%rsp), %rax
    mov     %rax, 56(%rcx)
    mov     72(%rsp), %rax
    lea     8(%rcx), %rsp
    jmp     iret_split_ist

.section .note.GNU-stack, "", @progbits
