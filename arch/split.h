// SPDX-License-Identifier: Apache-2.0
// Two roots for a process, on processors whose ring 3 can read what its tables map for the kernel
// alone (rogue data cache load, "Meltdown": IA32_ARCH_CAPABILITIES.RDCL_NO is 0). Ring 3 runs on
// the user's root, which has of the kernel only what an entry needs before it loads the other one:
// the entries' code, the IDT, and each CPU's page with TSS, GDT and entry stacks (struct
// cpu_tables). The lower halves have the same tables.
//
// Chosen at boot (mitigation.splits_tables); without it one root serves both, and other entries
// stand in the IDT.
//
// With PCIDs the kernel's root is 0 and the user's 1, of whichever process runs: both are flushed
// at each change of the space, and neither at an entry. Nothing is global then, since a global
// translation outlives the change.
#pragma once

#include "arch/cpu.h"
#include "arch/entry.h"
#include "arch/paging.h"

enum entry_stack { ENTRY_NORMAL, ENTRY_NMI, ENTRY_DF, ENTRY_MC, ENTRY_DB, ENTRY_STACKS };

// What entries push before they load the kernel's root; one of its own for each event that can come
// at any instruction. They hold nothing of other registers once the kernel's root is loaded.
struct cpu_entry_stack {
    uint64_t words[ENTRY_STACK_SIZE / 8 - 2];
    uint64_t kernel_stack; // where the handler goes on; ENTRY_NORMAL: the thread's
    uint64_t unused;
};

// The page at the start of a CPU's slot. The entry stack that runs over runs into nothing. The GDT
// is last, see arch/cpu.h. The IDT needs no such care: a vector has 8 bits. LDTR is empty and the
// TSS's limit its size, after an exit, too.
#define GDT_ENTRIES 9
struct cpu_tables {
    struct cpu_entry_stack stacks[ENTRY_STACKS];
    uint64_t stack; // the running thread's
    uint64_t kernel_cr3, user_cr3, user_cr3_read;
    uint32_t aligns_tss; // whose stack pointers are behind 4 bytes
    struct tss tss;
    uint8_t unused[PAGE_SIZE - ENTRY_STACKS * ENTRY_STACK_SIZE - 4 * sizeof(uint64_t) -
                   sizeof(uint32_t) - sizeof(struct tss) - GDT_ENTRIES * sizeof(uint64_t)];
    uint64_t gdt[GDT_ENTRIES];
} __attribute__((packed, aligned(8)));
_Static_assert(sizeof(struct cpu_tables) == PAGE_SIZE, "the GDT ends the page");
_Static_assert((offsetof(struct cpu_tables, tss) + offsetof(struct tss, rsp)) % 8 == 0,
               "cpu->stack");
_Static_assert(sizeof(struct cpu_entry_stack) == ENTRY_STACK_SIZE, "entry.h");
_Static_assert(offsetof(struct cpu_tables, stack) == ENTRY_STACK, "entry.h");
_Static_assert(offsetof(struct cpu_tables, kernel_cr3) == ENTRY_KERNEL_CR3, "entry.h");
_Static_assert(offsetof(struct cpu_tables, user_cr3) == ENTRY_USER_CR3, "entry.h");
_Static_assert(offsetof(struct cpu_tables, user_cr3_read) == ENTRY_USER_READ, "entry.h");
_Static_assert(CPU_STACK_MASK == CPU_STACK_SIZE - 1, "entry.h");
_Static_assert(offsetof(struct cpu, tables) == CPU_TABLES_FIELD, "entry.h");

// The code of the entries, in whole pages: what of the kernel's image the user's root has.
extern const uint8_t entry_begin[], entry_end[];
extern const uint8_t sysexit_split_last[]; // the last instruction of a system call

// This CPU goes into the space of `root`; `user_root` is 0 where nobody returns to ring 3. Its TLB
// forgets all of the spaces before, and of this one.
void split_load(struct cpu *cpu, hpa_t root, hpa_t user_root);
// What is on the entry stacks of this CPU is the last owner's.
void split_clear(struct cpu *cpu);
