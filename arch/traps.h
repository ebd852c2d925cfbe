// SPDX-License-Identifier: Apache-2.0
// Interrupts and exceptions: the IDT, and what arch/ expects of the kernel above it.
#pragma once

#include "arch/cpu.h"

// Builds the IDT, once, and where it is: a page.
void traps_init(void);
const void *traps_idt(void);
// Loads GDT, TSS and IDT on this CPU, and programs the system-call entry.
void descriptors_load(struct cpu *cpu);
// Fills the TSS and GDT at the start of the CPU's slot; `stacks` are the tops of one stack for each
// of NMI, #DF, #MC, #DB.
void descriptors_init(struct cpu *cpu, const uint64_t stacks[4]);

// The code for the page at ABI_CALL_PAGE, and how many bytes it has at most.
const uint8_t *call_page_code(void);
#define CALL_PAGE_CODE 6u

// Saves the callee-saved registers, stores RSP in *save, takes `rsp`, and returns there.
void switch_stack(uint64_t *save, uint64_t rsp);
// Where a new thread's first switch_stack returns to: RSP is then its struct trap_frame. Calls the
// kernel's thread_first_run, then goes to ring 3.
void thread_first_return(void);
void thread_first_run(void);

// Copies between kernel and ring-3 memory. False: some byte of the ring-3 side may not be used so.
// The addresses are checked to be ring 3's. No lock may be held.
bool user_read(void *to, uint64_t from, size_t size);
bool user_write(uint64_t to, const void *from, size_t size);

// ---- what the kernel provides -------------------------------------------------------------------

// An interrupt with vector >= 32 arrived (from ring 3, the idle loop, or out of a guest).
void interrupt_dispatch(uint8_t vector);
// A machine check, or the exit of a guest for one. `is_kernel`: the kernel ran, else a guest or
// ring 3. True: what ran used memory that is broken, and must not go on. Panics where that is not
// all, and takes no lock. After true, another one resets the machine until the next is called.
bool machine_check_handle(bool is_kernel);
// On the thread's own stack, after true for ring 3: ends its process.
_Noreturn void machine_check_leave(void);
// A non-maskable interrupt.
void nmi_handle(void);
// An exception in ring 3. Returns when the instruction may be tried again.
void trap_user_exception(struct trap_frame *frame);
// A page fault of the kernel's own on a ring-3 address, inside user_read or user_write. True:
// mapped.
bool trap_user_page(uint64_t address, bool is_write);
// Last thing before any return to ring 3: reschedules, or ends the thread. The second for system
// calls, which are on the thread's own stack.
void trap_before_user(void);
void trap_after_call(void);
// A system call. Returns what goes to RAX.
int64_t syscall_dispatch(uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
                         uint64_t a5, uint64_t number);
// For the crash record of an exception in the kernel.
_Noreturn void trap_kernel_exception(const struct trap_frame *frame);
