// SPDX-License-Identifier: Apache-2.0
// arch/split.S and arch/traps.S, instruction by instruction: the entries' own code runs here, one
// step at a time, and what ring 3 must not do (CR3, IRETQ, interrupts) is done for it. At each
// boundary between two instructions an NMI, a machine check and a #DB come, at each boundary of
// theirs another one, and everything must go on as if nothing had been.
//
// While the user's root is loaded the kernel's memory cannot be touched, and no instruction outside
// of the entries' pages can run.
#pragma once

#include <criterion/criterion.h>

#include "arch/split.h"
#include "arch/traps.h"
#include "include/abi.h"

#include <ucontext.h>

extern const uint8_t trap_entries_split[];
extern uint8_t traps_are_split;

#define KERNEL_ROOT_ 0x111000ULL
#define KERNEL_CS    8
#define USER_CS      0x2b

// As in ucontext: R8 to R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, flags.
struct machine {
    greg_t r[REG_EFL + 1];
};
extern struct machine stepped;
extern uint64_t cr3, flushes;
extern uint64_t gs[2]; // the base in force, and SWAPGS's
extern struct cpu_tables *tables;
extern const uint8_t *entries; // where events come in

// The last instruction, but for STI, was VERW: nothing of the kernel's came into a buffer behind
// it. `wants_emptied`: it must be so before each IRETQ of an event.
extern bool is_emptied, wants_emptied;

// Boundaries that events came at, and how deep they may come within each other.
extern unsigned boundaries, nested_limit;

// A machine with split tables, the kernel's root loaded, and numbers that tell registers apart.
void set_up(bool is_pcid);
uint64_t thread_stack(void); // its top

void load_cr3(uint64_t value);
bool is_user_root(void);

// Where the machine is.
bool is_at(const uint8_t *address);
bool is_iretq(void);
bool is_sysexit(void);
bool is_sysret(void);

void step(void);
void interrupt_all(unsigned mask); // each event that is not in the mask of those being handled
void run_to(const uint8_t *end);   // with all events at each boundary
void return_from_c(void);          // at its first instruction

void push(uint64_t value);
void push_user_frame(bool has_error); // as the processor does, from ring 3

// No entry stack keeps a register of the user's, and no register but two has changed.
void check_clean(unsigned stack);
void check_kept(const struct machine *before, unsigned but, unsigned or_but);
