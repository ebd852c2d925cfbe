// SPDX-License-Identifier: Apache-2.0
// Ways into the kernel, and the one way back to ring 3. VM entry and exit are vmx/enter.S's.
//
// Every entry first sets RFLAGS to a known value: interrupts off, AC clear (SMAP), DF and NT clear.

#include "arch/entry.h"

.code64
.section .text

// The last thing before ring 3 that loads or stores anything of the kernel's.
.macro empty_buffers
    cmpb    $0, traps_empty_buffers(%rip)
    je      1f
    verw    entry_selector(%rip)
1:
.endm

// SYSENTER: SYSENTER_ESP is the address of this CPU's tss.rsp[0], which holds the top of the
// current thread's stack. The call page passed its RSP in RCX; the return address is the call
// page's and constant. What ring 3 may have put into RCX only harms itself: bits 47 to 63 are
// cleared, since SYSEXIT faults in ring 0 on a non-canonical address (SDM 2B "SYSEXIT").
.macro system_call
    pushq   $2
    popfq
    push    %rcx
    push    %r10
    push    %r9
    push    %r8
    push    %rsi
    push    %rdi
    // C arguments: a0 RDI, a1 RSI, a2 R8, a3 R9, a4 R10, a5 R12, number RAX
    mov     %r8, %rdx
    mov     %r9, %rcx
    mov     %r10, %r8
    mov     %r12, %r9
    push    %rax
    call    syscall_dispatch
    add     $8, %rsp
    pop     %rdi
    pop     %rsi
    pop     %r8
    pop     %r9
    pop     %r10
    pop     %rcx
    shl     $17, %rcx
    shr     $17, %rcx
    mov     $CALL_PAGE_RETURN, %edx
.endm

.globl entry_sysenter
.balign 16
entry_sysenter:
    mov     (%rsp), %rsp
    system_call
    xor     %r11d, %r11d
    empty_buffers
    sti                         // takes effect after SYSEXIT
.globl sysexit_whole
sysexit_whole:
    sysexitq

// The same between the halves of arch/split.S. The thread may be on another CPU by the end.
.globl sysenter_split
.balign 16
sysenter_split:
    system_call
    mov     %rsp, %r11
    or      $CPU_STACK_MASK, %r11
    mov     -7(%r11), %r11      // struct cpu
    mov     CPU_TABLES_FIELD(%r11), %r11
    mov     ENTRY_USER_CR3(%r11), %r11
    jmp     sysexit_split

// SYSCALL, where long mode has no SYSENTER: AMD. The call page passed its RSP in RDX, as RCX and
// R11 take RIP and RFLAGS. The GS base that SWAPGS brings is the address of this CPU's tss.rsp[0].
// SYSRET does not change RSP, so what comes between runs on the user's: NMI, #MC and #DB have
// stacks of their own.
.globl entry_syscall
.balign 16
entry_syscall:
    swapgs
    mov     %gs:0, %rsp
    swapgs
    mov     %rdx, %rcx
    system_call
    empty_buffers
    mov     %rcx, %rsp
    mov     %edx, %ecx
    mov     $0x202, %r11d       // interrupts on
    sysretq

// The call page: code that ring 3 calls. CALL_PAGE_RETURN is where SYSEXIT goes on.
.section .rodata
.globl call_page_begin
call_page_begin:
    mov     %rsp, %rcx
    sysenter
call_page_return:
    ret
.globl call_page_syscall
call_page_syscall:
    mov     %rsp, %rdx
    syscall
.if . - call_page_syscall - (call_page_return - call_page_begin)
.error "both return at the same address"
.endif
    ret
.equ CALL_PAGE_RETURN, ABI_CALL_PAGE_ASM + (call_page_return - call_page_begin)

.section .text
.globl trap_entries
.balign 16
trap_entries:
    trap_table trap_common, trap_common

.globl trap_common
.balign 16
trap_common:
    push    %rax
.globl trap_common_pushed
trap_common_pushed:
    push    %rcx
    push_registers
    pushq   $2
    popfq
    mov     %rsp, %rdi
    call    trap_dispatch
.globl trap_return
trap_return:
    pop_registers
    pop     %rcx
    pop     %rax
    cmpb    $0, traps_are_split(%rip)
    jne     trap_return_split
.globl trap_return_whole
trap_return_whole:
    add     $16, %rsp
    empty_buffers               // into ring 0, too: an NMI comes behind the VERW of others
    iretq

// Where a new thread's first switch_stack returns to: RSP is its struct trap_frame.
.globl thread_first_return
thread_first_return:
    call    thread_first_run
    jmp     trap_return

// void switch_stack(uint64_t *save, uint64_t rsp)
.globl switch_stack
switch_stack:
    push    %rbx
    push    %rbp
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    mov     %rsp, (%rdi)
    mov     %rsi, %rsp
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %rbp
    pop     %rbx
    ret

// void x86_sti_hlt_cli(void)
.globl x86_sti_hlt_cli
.globl idle_hlt
x86_sti_hlt_cli:
    sti
idle_hlt:
    hlt
    cli
    ret

// uint64_t usercopy(void *to, const void *from, size_t size): bytes not copied. A page fault at
// usercopy_move that cannot be resolved goes on at usercopy_fault.
.globl usercopy
.globl usercopy_move
.globl usercopy_fault
usercopy:
    mov     %rdx, %rcx
usercopy_move:
    rep movsb
usercopy_fault:
    mov     %rcx, %rax
    ret

.section .note.GNU-stack, "", @progbits
