// SPDX-License-Identifier: Apache-2.0
// Side channels: what the processor remembers of one owner (predictions of branches, contents of
// caches and buffers), and what has it forget before another one runs. Which CPU needs what is read
// once, and said in the preflight report. Intel, "Affected Processors: Guidance for Security Issues
// on Intel Processors"; SDM 4 2.1 "Architectural MSRs"; APM 2 3.2.9 "Speculation Control MSRs".
//
// Between owners, that is scheduling domains, stands one barrier: mitigation_switch. Hardware
// threads of a core share all of this at every moment; that two domains never run on them at once
// is the scheduler's. The kernel maps no guest's memory, so what a guest could read of it
// speculatively is little.
//
// In call order: mitigation_init (boot CPU), mitigation_init_cpu (each CPU), mitigation_switch.
#pragma once

#include "arch/cpu.h"

// Constant after mitigation_init.
struct mitigation {
    bool has_ibpb;          // IA32_PRED_CMD: forgets indirect branches
    bool has_verw;          // VERW empties the buffers between core and cache
    bool has_l1d_flush;     // IA32_FLUSH_CMD: empties the first-level data cache
    bool has_enhanced_ibrs; // once on, a guest's branches do not steer ours
    bool needs_verw;        // MDS, TAA, MMIO stale data, register file data
    bool needs_l1d_flush;   // L1 terminal fault
    bool has_page_hazard;   // a guest's code on large pages can stop the machine (ITLB multihit)
    bool splits_tables;  // ring 3 could read what its tables map for the kernel: see arch/split.h
    bool has_pcid;       // and those of a split can be told apart in the TLB
    bool fills_returns;  // the return stack is filled before a return that others may have trained
    uint64_t spec_ctrl;  // IA32_SPEC_CTRL, while the kernel runs
    bool clears_history; // the history of branches can steer ours, and no bit says stop
    bool empties_for_users; // VERW before ring 3 in arch/traps.S; arch/split.S has it always
    uint64_t capabilities;  // IA32_ARCH_CAPABILITIES; 0: there is none
    bool is_off;            // all of this, by the command line
};
extern struct mitigation mitigation;

// Pure. `leaf7`, `leaf7_2` and `amd` are CPUID leaves 7, its subleaf 2, and 80000008H, 0 where
// there are none; `capabilities` is IA32_ARCH_CAPABILITIES, 0 where there is none.
struct mitigation mitigation_judge(bool is_intel, struct cpuid_result leaf7,
                                   struct cpuid_result leaf7_2, struct cpuid_result amd,
                                   uint64_t capabilities);

// `is_off`: nothing is used, whatever the CPU needs.
void mitigation_init(bool is_off);
void mitigation_init_cpu(void);
// Calls that are never returned from: a return that no call of ours pairs is predicted to go
// nowhere, not to where somebody else's calls were. Behind a guest, and where a thread gives its
// stack to another one.
static inline void mitigation_fill_returns(void) {
    if (mitigation.fills_returns)
        __asm__ volatile(".rept 32\n\t" // entries: no processor has more
                         "call 1f\n\t"
                         "int3\n"
                         "1:\n\t"
                         ".endr\n\t"
                         "add $(32 * 8), %%rsp\n\t"
                         "lfence" ::
                             : "memory", "cc");
}

// Indirect branches behind this are not predicted by what a guest or ring 3 branched before.
void mitigation_clear_history(void);
// Says by log_line what is used, and what is needed and missing.
void mitigation_report(void);

// Whether this CPU, or another one of its core, ran another domain than this one (never 0) since
// its last barrier.
static inline bool mitigation_is_switch(const struct cpu *cpu, uint64_t domain) {
    return cpu->domain != domain;
}
// Before anything of the domain runs on this CPU, and after what the last one left in registers has
// been saved: has the processor forget. Counted in cpu->barriers.
void mitigation_switch(struct cpu *cpu, uint64_t domain);
// The part of it that is for a CPU about to leave its core to others: what it stored or loaded
// lately.
void mitigation_empty_buffers(void);
