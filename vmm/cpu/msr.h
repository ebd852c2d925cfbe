// SPDX-License-Identifier: Apache-2.0
// The model-specific registers that the kernel leaves to the VMM: a sorted table of what each reads
// and what a write does; whatever is not in it is refused with #GP, as hardware would.
//
// The kernel itself handles what guests use often or what the processor must hold: FS, GS and
// KERNEL_GS base, STAR to SFMASK, SYSENTER, TSC_AUX, TSC_DEADLINE, APIC_BASE, the x2APIC range,
// reads of TSC and TSC_ADJUST; SPEC_CTRL, PRED_CMD and FLUSH_CMD where the processor has them.
// Writes of TSC and TSC_ADJUST, EFER, DEBUGCTL, PAT and where steal time is told are parts of the
// vCPU's state (exit_msr.c). The addresses of the clocks (pvclock.h) are kept here.
//
// Each vCPU has a struct msr_state of its own, used by its thread alone. Of what is in it only the
// clock's address has an effect: MTRRs are kept so that a guest finds what it wrote, while EPT
// makes all RAM write-back.
//
// Source: SDM 4 2.1 "Architectural MSRs".
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MSR_STORED_MAX 32u

enum msr_write {
    MSR_WRITE_FAULTS,  // #GP
    MSR_WRITE_IGNORED, // accepted, without effect
    MSR_WRITE_STORED,  // bits of `writable` are stored, others must be as they are (#GP)
    MSR_WRITE_MASKED,  // bits of `writable` are stored, others ignored
};

// One row: registers `first` to `last` read as they were stored, or as `value`, which is also what
// they hold after a reset.
struct msr_rule {
    uint32_t first;
    uint32_t last;
    enum msr_write write;
    uint64_t value;
    uint64_t writable;
    uint64_t types; // which bytes name a memory type, by ones; others than the five there are: #GP
};

extern const struct msr_rule msr_rules[];
extern const size_t msr_rule_count;

struct msr_state {
    uint64_t
        arch_capabilities; // IA32_ARCH_CAPABILITIES, which cannot be written; 0: the guest has none
    uint64_t stored[MSR_STORED_MAX]; // of the rows that store, in the order of the table
};

// What of a host's IA32_ARCH_CAPABILITIES holds for a guest on it: no bit that promises a register
// which guests have not, and none that this table does not know.
uint64_t msr_guest_capabilities(uint64_t host);

// Values after power-on or reset.
void msr_reset(struct msr_state *state, uint64_t arch_capabilities);

// RDMSR and WRMSR. False: #GP(0), and nothing has changed.
bool msr_read(const struct msr_state *state, uint32_t msr, uint64_t *value);
bool msr_write(struct msr_state *state, uint32_t msr, uint64_t value);

// Whether a state that comes from a saved VM holds nothing that msr_write would have refused, and
// whether what it told the guest of the processor is true of one with these `arch_capabilities`,
// too.
bool msr_state_is_valid(const struct msr_state *state, uint64_t arch_capabilities);

// The same for the registers that only guests on AMD's processors have, which hold no state.
bool msr_amd_read(uint32_t msr, uint64_t *value);
bool msr_amd_write(uint32_t msr, uint64_t value);
