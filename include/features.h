// SPDX-License-Identifier: Apache-2.0
// What the boot CPU's processor offers, what is used against side channels, and what every other
// CPU must offer like it: found by boot/, used by the kernel.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define CPU_CACHE_CLASSES_MAX 16u

struct cpu_features {
    bool has_nx, has_1g_pages, has_smep, has_smap, has_umip;
    bool has_x2apic;       // and it is to be used
    bool has_tsc_deadline; // and it works
    bool has_tsc_invariant, has_tsc_adjust, has_xsave, has_rdtscp, has_la57;
    bool has_syscall; // in long mode
    bool has_vmx, has_svm, is_intel;
    bool has_unrestricted_guest;     // real mode, and without paging, where VMs can run at all
    bool has_tsc_scaling, has_mwait; // for guests; and idle CPUs wait by it, idle_hint in EAX
    uint32_t physical_bits, idle_hint;
    uint64_t xcr0_mask; // what the kernel saves and restores for guests; within a page
    // See arch/cache.h: ways of the last-level cache that may be divided, 0 to 32, and classes of
    // service, at most CPU_CACHE_CLASSES_MAX; 0: there is nothing to divide.
    uint32_t cache_ways, cache_classes;
};

// See arch/mitigation.h.
struct mitigation {
    bool has_ibpb;        // IA32_PRED_CMD: forgets indirect branches
    bool has_verw;        // VERW empties the buffers between core and cache
    bool has_l1d_flush;   // IA32_FLUSH_CMD: empties the first-level data cache
    bool needs_l1d_flush; // L1 terminal fault
    bool has_page_hazard; // a guest's code on large pages can stop the machine (ITLB multihit)
    bool splits_tables;   // ring 3 could read what its tables map for the kernel: see arch/split.h
    bool has_pcid;        // and those of a split can be told apart in the TLB
    bool stuffs_rsb;      // the return stack is filled before a return that others may have trained
    uint64_t spec_ctrl;   // IA32_SPEC_CTRL, while the kernel runs
    bool clears_bhb;      // the history of branches can steer ours, and no bit says stop
    bool empties_for_users; // VERW before ring 3 in arch/traps.S; arch/split.S has it always
    uint64_t capabilities;  // IA32_ARCH_CAPABILITIES; 0: there is none
    bool needs_lfence_bit;  // LFENCE does not wait for loads before it unless DE_CFG says so
    bool has_auto_ibrs;     // enhanced IBRS as AMD has it: a bit of EFER
    bool is_off;            // all of this but that bit, by the command line
};

// What of a guest's local APIC's work the processor does, each with all before it. SDM 3C chapter
// 30 "APIC Virtualization and Virtual Interrupts".
enum apic_level {
    APIC_SOFTWARE,  // nothing
    APIC_TPR,       // CR8; and TPR in x2APIC mode, where the processor can "virtualize x2APIC mode"
    APIC_REGISTERS, // most registers in x2APIC mode, delivery of what is in IRR
    APIC_POSTED,    // requests of other CPUs while the guest runs
};

// How the word of another CPU may differ from the boot CPU's `value`.
enum cpu_word_rule {
    CPU_WORD_SAME,     // not at all
    CPU_WORD_BITS,     // it may have bits more
    CPU_WORD_CONTROLS, // of VT-x: the low half may have bits fewer, the high half more
};

enum cpu_word_source { CPU_WORD_EAX, CPU_WORD_EBX, CPU_WORD_ECX, CPU_WORD_EDX, CPU_WORD_MSR };

// A word by which CPUs are compared: a register of a CPUID leaf, or an MSR. In an order in which
// none is read that words before it do not promise.
struct cpu_word {
    uint32_t number; // of the leaf or MSR
    uint16_t subleaf;
    uint8_t source; // enum cpu_word_source
    uint8_t rule;   // enum cpu_word_rule
    uint64_t mask;  // what of it counts
    uint64_t value; // within the mask
};
