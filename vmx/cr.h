// SPDX-License-Identifier: Apache-2.0
// The rules of control registers, EFER, XCR0, PAT and SPEC_CTRL, as pure functions: what a
// processor with the guest's CPUID would accept. SDM 3A 2.5 "Control Registers", SDM 3A 2.2.1
// "Extended Feature Enable Register", SDM 3A 2.6 "Extended Control Registers (Including XCR0)".
#pragma once

#include "arch/x86.h"

#define XCR0_MPX (BIT(3) | BIT(4))
#define XCR0_AMX (BIT(17) | BIT(18))
#define CR3_PCID 0xfffULL // must be 0 where PCIDs are switched on

// What the guest's CPUID table says, of what matters here.
struct cr_features {
    uint32_t leaf1_ecx, leaf1_edx, leaf7_ebx, leaf7_ecx, leaf80000001_edx;
    uint32_t leaf7_edx, leaf7_2_edx; // of leaf 7, subleaves 0 and 2
    uint64_t leafd_xcr0;             // EDX:EAX of leaf 0xd
};

// The bits a guest with these features may set.
uint64_t cr4_allowed(const struct cr_features *features);
uint64_t efer_allowed(const struct cr_features *features);
// IA32_SPEC_CTRL: SDM 4 2.1 "Architectural MSRs". 0: there is no such register.
uint64_t spec_ctrl_allowed(const struct cr_features *features);

// The guest/host masks: the bits that are ours, whose change by the guest exits. Of CR0: CD and NW,
// since a guest must not turn off this CPU's caches; NE, which VT-x wants set; and protection and
// paging where the processor cannot run without them. Bits that MOV to CR0 ignores must not be
// here: a write that differs from the shadow in one of them would exit for ever. Of CR4: all that
// the guest may not set, and MCE, since machine checks are the host's.
uint64_t cr0_host_mask(bool has_unrestricted_guest);
uint64_t cr4_host_mask(uint64_t allowed);

// As the guest sees a register: our bits from the shadow, the others from the hardware's.
static inline uint64_t cr_merge(uint64_t hardware, uint64_t shadow, uint64_t mask) {
    return (hardware & ~mask) | (shadow & mask);
}

// A whole state, as in vcpu_registers.
bool cr_state_is_valid(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr4_may,
                       uint64_t efer_may);
// A write to a register of a running guest; false: #GP(0). `old` and `value` as the guest sees
// them.
bool cr0_write_is_valid(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer, bool is_cs_long);
bool cr4_write_is_valid(uint64_t old, uint64_t value, uint64_t allowed, uint64_t efer,
                        uint64_t cr3);
// Whether a MOV to CR4 that is valid loads the PDPTEs, and faults if they are bad: SDM 3A 4.4.1
// "PDPTE Registers".
bool cr4_write_loads_pdptes(uint64_t old, uint64_t value, uint64_t cr0, uint64_t efer);
bool efer_write_is_valid(uint64_t old, uint64_t value, uint64_t allowed, uint64_t cr0);
bool xcr0_is_valid(uint64_t value, uint64_t allowed);
bool pat_is_valid(uint64_t value);

static inline bool is_canonical(uint64_t address) {
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}
