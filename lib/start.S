// SPDX-License-Identifier: Apache-2.0
// Where every ring-3 program of ours starts. The creator of the process gives
//     RDI: the address of its start page (struct abi_start or struct vmm_start)
//     RSP: the top of a stack
// and main(void *start) is called with it. When main returns, the process ends with its result as
// status.

#define ABI_PROCESS_KILL 11
#define ABI_CALL_PAGE 0x1000

    .section .text.start, "ax", @progbits
    .globl _start
    .type _start, @function
_start:
    xorl %ebp, %ebp             // the outermost frame, for backtraces
    andq $-16, %rsp
    cld
    call main
    movl %eax, %esi
    xorl %edi, %edi             // 0: the caller's own process
    movl $ABI_PROCESS_KILL, %eax
    call ABI_CALL_PAGE
    ud2                         // never reached
    .size _start, . - _start

    .section .note.GNU-stack, "", @progbits
