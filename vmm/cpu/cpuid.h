// SPDX-License-Identifier: Apache-2.0
// What CPUID tells the guest: the host processor's own answer, cut down by a sorted table of rules
// to what the guest can use without harm to others and without surprise, plus what the kernel
// emulates. A leaf or bit that no rule names reads 0.
//
// cpuid_build makes the table once, before the first vCPU; the kernel answers from it and itself
// fills in what changes: OSXSAVE, the size of the current XSAVE area, the APIC IDs (abi.h,
// ABI_VM_CPUID).
//
// Sources: SDM 2A 3.3 "CPUID—CPU Identification"; AMD APM 3 Appendix E; for leaves from
// 0x40000000 on Linux, Documentation/virt/kvm/x86/cpuid.rst.
#pragma once

#include <stdbool.h>

#include "include/abi.h"

// The host's answer to CPUID: fills eax, ebx, ecx and edx.
typedef void cpuid_read(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer);

struct cpuid_config {
    cpuid_read *host;
    uint64_t tsc_hz;
    uint64_t xcr0_mask;         // what a guest may set in XCR0; 0: no XSAVE
    uint64_t arch_capabilities; // what a guest reads as IA32_ARCH_CAPABILITIES; 0: it has none
    uint32_t physical_bits;     // of guest-physical addresses
    uint32_t vcpu_count;        // 1..64, each a core of one package
};

// One rule, one row at most.
struct cpuid_rule {
    uint32_t leaf;
    uint32_t subleaf; // ABI_CPUID_ANY_SUBLEAF: the leaf ignores ECX
    struct {
        uint32_t eax, ebx, ecx, edx;
    } mask; // bits of the host's answer that pass
    // Completes the row, which holds the masked answer. NULL: complete. False: the guest has no
    // such row.
    bool (*finish)(const struct cpuid_config *config, struct abi_cpuid *row);
};

extern const struct cpuid_rule cpuid_rules[];
extern const size_t cpuid_rule_count;

// Fills `table`, sorted by leaf and subleaf; returns the number of rows.
size_t cpuid_build(const struct cpuid_config *config, struct abi_cpuid table[static ABI_CPUID_MAX]);

// The instruction itself.
void cpuid_execute(uint32_t leaf, uint32_t subleaf, struct abi_cpuid *answer);
