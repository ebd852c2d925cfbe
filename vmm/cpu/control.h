// SPDX-License-Identifier: Apache-2.0
// The rules of control registers, EFER, XCR0, PAT and IA32_DEBUGCTL: what a processor with the
// guest's CPUID would accept, and which bits the guest changes without asking. Pure. SDM 3A 2.5
// "Control Registers", SDM 3A 2.2.1 "Extended Feature Enable Register", SDM 3A 2.6 "Extended
// Control Registers (Including XCR0)".
#pragma once

#include <stddef.h>

#include "include/abi.h"
#include "lib/types.h"

#define CR0_PE BIT(0)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_PSE   BIT(4)
#define CR4_PAE   BIT(5)
#define CR4_MCE   BIT(6)
#define CR4_PGE   BIT(7)
#define CR4_PCIDE BIT(17)
#define CR4_SMEP  BIT(20)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define XCR0_X87    BIT(0)
#define XCR0_SSE    BIT(1)
#define XCR0_AVX    BIT(2)
#define XCR0_AVX512 (BIT(5) | BIT(6) | BIT(7))

#define MSR_EFER     0xc0000080u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_PAT      0x277u

// What a guest may set, by its CPUID.
struct control {
    uint64_t cr4, efer, xcr0;
    uint64_t spec_ctrl; // IA32_SPEC_CTRL; 0: there is no such register
    uint32_t signature; // of the processor: what EDX holds after a reset
    bool has_modes;     // guests run without protection and paging, too (unrestricted guest)
};

// From the table that the kernel has. `has_modes` is left alone.
void control_learn(struct control *control, const struct abi_cpuid *table, size_t count);

// The bits that the guest changes by itself: all but those that are without effect in a VM, and
// those of CR4 whose change is to fault.
uint64_t control_cr0_own(const struct control *control);
uint64_t control_cr4_own(const struct control *control);

// Writes by a running guest whose state is *r; false: #GP(0).
bool control_cr0_is_valid(const struct vcpu_registers *r, uint64_t value);
bool control_cr4_is_valid(const struct control *control, const struct vcpu_registers *r,
                          uint64_t value);
bool control_efer_is_valid(const struct control *control, const struct vcpu_registers *r,
                           uint64_t value);
bool control_xcr0_is_valid(const struct control *control, uint64_t value);
bool control_pat_is_valid(uint64_t value);
// Guests have no last-branch records and no traces.
bool control_debugctl_is_valid(uint64_t value);

// Whether the write of CR0 or CR4 (the other one as it is in *r) loads the PDPTEs, and what these
// must not have. SDM 3A 4.4.1 "PDPTE Registers".
bool control_loads_pdptes(const struct vcpu_registers *r, uint64_t cr0, uint64_t cr4);
bool control_pdpte_is_valid(uint64_t pdpte, unsigned physical_bits);

// The first thing in a state that no processor with this CPUID can be in, by name; where there is
// none of these, it is a segment or an address. SDM 3C 27.2.1.3 "VM-Entry Control Fields", 27.3.1
// "Checks on the Guest State Area"; APM 2 15.5.1 "Basic Operation", "Canonicalization and
// Consistency Checks".
const char *control_find_wrong(const struct control *control, const struct vcpu_registers *r,
                               unsigned physical_bits);

// Registers as they are after power-on, INIT and SIPI. What INIT keeps, and the time, stay as they
// are. SDM 3A 10.1.1 "Processor State After Reset"; SDM 3A 9.4.3 "MP Initialization Protocol
// Algorithm for MP Systems".
void control_power_on(const struct control *control, struct vcpu_registers *r);
void control_init(const struct control *control, struct vcpu_registers *r);
void control_sipi(struct vcpu_registers *r, uint8_t vector);
