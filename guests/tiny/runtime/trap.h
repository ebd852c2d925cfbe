// SPDX-License-Identifier: Apache-2.0
// Exceptions and interrupts of a tiny guest.
//
// An instruction that may fault stands in TRY: it is skipped when it does, and trap_last tells
// which exception it was. Other exceptions and all interrupts go to the handler set for their
// vector; without one they fail the guest.
//
//     __asm__ volatile(TRY("rdmsr") : "=a"(low), "=d"(high) : "c"(msr) : TRY_CLOBBERS);
//     CHECK_FAULT(EXC_GP, 0);
#pragma once

#include "lib/types.h"

// The GDT. User selectors stand with their RPL of 3.
#define SELECTOR_CODE        0x10u
#define SELECTOR_DATA        0x18u
#define SELECTOR_USER_CODE   0x2bu
#define SELECTOR_USER_DATA   0x33u
#define SELECTOR_TSS         0x38u
#define SELECTOR_NOT_PRESENT 0x48u // a data segment that is not there
#define SELECTOR_BEYOND      0x80u // behind the end of the table

// SDM 3A 8.7 "Task Management in 64-bit Mode".
struct __attribute__((packed)) tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_base;
};

// For LGDT and LIDT.
struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

struct trap {
    bool is_taken;
    uint8_t vector;
    uint32_t error;
    uint64_t rip;
    uint64_t cr2; // as it is now, for #PF
};

extern volatile struct trap trap_last;
extern volatile uint64_t trap_resume; // where to go on after an exception; 0: none expected

#define TRY(code)                                                                                  \
    "movb $0, trap_last(%%rip)\n\t"                                                                \
    "leaq 99f(%%rip), %%r11\n\t"                                                                   \
    "movq %%r11, trap_resume(%%rip)\n\t" code "\n"                                                 \
    "99:\tmovq $0, trap_resume(%%rip)\n\t"
#define TRY_CLOBBERS "r11", "memory", "cc"

typedef void trap_handler(struct trap_frame *frame);
void trap_set_handler(uint8_t vector, trap_handler *handler); // NULL: none
// Makes the entry of a vector not present, or present again.
void trap_set_present(uint8_t vector, bool is_present);

// Counts the interrupts of a vector, on all processors together, without an EOI; trap_handler's
// simplest user.
extern volatile uint32_t trap_count[256];

// The common cases of TRY. Each leaves trap_last.
uint64_t try_rdmsr(uint32_t msr);
void try_wrmsr(uint32_t msr, uint64_t value);

// Runs code in ring 3 until it raises an exception, which trap_last then tells. Interrupts come as
// elsewhere.
void user_run(uint64_t rip, uint64_t rsp, uint64_t rflags);

// Descriptor tables of this processor: the GDT is its own, with its own TSS, the IDT is
// everybody's.
void trap_init(void); // processor 0, and the IDT
void trap_init_cpu(uint32_t index);
