// SPDX-License-Identifier: Apache-2.0
// One physical CPU: what the kernel keeps for it, and how code finds its own.
//
// There is no GS base in this kernel: every kernel stack is CPU_STACK_SIZE bytes, aligned to its
// size, and its top eight bytes hold the address of the CPU it runs on. So neither a system call
// nor a VM exit has to move a base register, and ring 3 and guests can do with theirs what they
// like.
//
// Interrupts are off whenever the kernel runs, except in the idle loop's one STI; HLT and in one
// instruction of a preemption point (thread_preempt). So a CPU's own fields need no lock against
// itself.
#pragma once

#include "arch/x86.h"
#include "include/features.h"

#define CPU_COUNT_MAX    1024
#define CPU_RECENT_EXITS 16u // a power of two
#define CPU_STACK_SIZE   8192ULL

// Vectors from 32 up. The highest is the spurious one, as xAPIC wants its low four bits set.
enum vector {
    VECTOR_DEVICE = 0x30, // and those behind it: interrupts of devices (kernel/device.h)
    VECTOR_TIMER = 0xf0,
    VECTOR_WAKE = 0xf1,   // look at your run queue and your pending words again
    VECTOR_POSTED = 0xf2, // requests for the vCPU that runs: the processor takes them by itself
    VECTOR_ERROR = 0xfe,
    VECTOR_SPURIOUS = 0xff,
};

// The registers as they are pushed on a kernel stack. Entry from ring 3 by the system-call
// instruction fills the same frame, so that one place returns to ring 3.
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbx, rbp, rdi, rsi, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

// GDT selectors. The order of the ring-3 ones is what SYSEXIT and SYSRET both demand.
#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_KERNEL_DATA 0x10
#define SELECTOR_USER_CODE32 0x18 // never used; SYSEXIT to 32-bit code would
#define SELECTOR_USER_DATA   0x20
#define SELECTOR_USER_CODE   0x28
#define SELECTOR_USER_DATA2  0x30 // SYSEXIT's stack segment: code + 8
#define SELECTOR_TSS         0x38

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t iomap_base;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "SDM 3A 8.7 \"Task Management in 64-bit Mode\"");

// Each CPU's TSS and GDT stand on a page of their own, at the start of a slot in a fixed window. A
// VM exit sets the GDT's limit to 0xffff (SDM 3C 28.5.2 "Loading Host Segment and Descriptor-Table
// Registers"), so ring 3 can name whatever lies within 64 KiB of it: the GDT ends its page, and
// behind it nothing is mapped.
#define CPU_TABLES_BASE   0xffffff0000000000ULL
#define CPU_TABLES_SLOT   0x20000ULL
#define CPU_TABLES_WINDOW 0x18000ULL // the CPU's window to one page that is not mapped, in its slot
#define GDT_REACH         0x10000ULL
_Static_assert(CPU_TABLES_WINDOW >= PAGE_SIZE + GDT_REACH, "nothing in reach of a selector");
_Static_assert(CPU_TABLES_WINDOW + PAGE_SIZE < CPU_TABLES_SLOT, "nor below the next CPU's page");

struct thread;
struct vcpu;
struct cpu_tables;

struct cpu {
    struct cpu_tables *tables; // see arch/split.h; first, for the assembly
    // Written by this CPU alone.
    uint32_t index;
    uint32_t slot; // its tables' place; of one that was left off, nobody else's
    uint32_t apic_id;
    uint32_t core;        // number of its physical core, see arch/topology.h
    struct cpu *sibling;  // the next hardware thread of that core, in a ring; NULL: it is alone
    uint64_t domain;      // of its last barrier; 0: another ran on the core since (kernel/core.c)
    uint64_t barriers;    // between two domains
    uint32_t cache_class; // of service, see arch/cache.h
    uint32_t cache_generation;
    struct thread *current;
    struct vcpu *loaded_vcpu; // whose FPU, debug registers, MSRs and VMCS are in this processor
    bool has_forgotten;       // no vCPU was loaded since its registers were last emptied
    struct tss *tss;          // of the tables
    uint64_t *stack;          // where entries from ring 3 find the top of the running thread's
    uint64_t root;            // CR3's table, for who wants it flushed (atomic)
    uint64_t timers, mwaits;  // interrupts of the local APIC's timer; how often it waited by MWAIT
    uint64_t own_timers;      // of them: not because of what a guest armed
    uint64_t locks_held;      // ranks, in debug builds
    uint64_t exits[80];       // VM exits by reason, for the console and the crash record
    uint8_t recent[CPU_RECENT_EXITS]; // reasons of the last VM exits, a ring
    uint8_t recent_next;              // where the next one goes, modulo the size
    void *host_region;                // VMXON region or host save area, kernel address
    uint64_t window;                  // kernel address of this CPU's temporary mapping of one page
    uint64_t *window_entry;           // the page-table entry behind it
    bool is_online;                   // runs threads and guests
    uint32_t admission;               // of its start, see kernel/smp.c (atomic)
    bool has_arrived;                 // its start is over, well or not

    uint32_t pinned; // threads that are promised this CPU (atomic)

    // Written by other CPUs too: in a cache line of its own, which wakes this one from MWAIT.
    _Alignas(64) uint32_t is_wanted; // another thread shall run, perhaps (atomic)
};

extern struct cpu *cpu_table[CPU_COUNT_MAX];
extern uint32_t cpu_count; // online

// The CPU that runs this code. The compiler may not keep it over a call that can switch threads,
// which is why the read is volatile.
static inline struct cpu *cpu_current(void) {
    struct cpu *cpu;
    uint64_t top;
    __asm__ volatile("mov %%rsp, %0\n\tor %2, %0\n\tmov -7(%0), %1"
                     : "=&r"(top), "=r"(cpu)
                     : "i"(CPU_STACK_SIZE - 1)
                     : "cc");
    return cpu;
}

// What the boot application found. A CPU that offers less is left off.
extern struct cpu_features cpu_features;
