// SPDX-License-Identifier: Apache-2.0
// Which MSRs a guest reaches without an exit: one sorted constant table. What is not named exits,
// both ways, and is answered by neutral code (kernel/vcpu_emulate.c), by exit_msr.c, or else by the
// VMM, which knows what an unknown MSR does (#GP). Ports need no table: all of them exit.
//
// Pure, but for msr_bitmap_init, which allocates the bitmaps. All vCPUs share them. There are
// variants: with the x2APIC's registers open, where the processor virtualizes them, and with
// IA32_SPEC_CTRL open, for a guest that has one of its own (speculation.c).
#pragma once

#include "include/vmx.h"
#include "lib/types.h"

enum msr_pass { MSR_PASS_READ = 1u << 0, MSR_PASS_WRITE = 1u << 1 };
#define MSR_PASS_BOTH (MSR_PASS_READ | MSR_PASS_WRITE)

enum msr_need {
    MSR_NEEDS_NOTHING = 0,
    MSR_NEEDS_RDTSCP = 1u << 0,    // vmx_caps.has_rdtscp
    MSR_NEEDS_PRED_CMD = 1u << 1,  // vmx_caps.has_pred_cmd
    MSR_NEEDS_FLUSH_CMD = 1u << 2, // vmx_caps.has_flush_cmd
};

struct msr_rule {
    uint32_t first, last; // inclusive
    uint32_t pass;        // enum msr_pass
    uint32_t need;        // enum msr_need: without it the processor has no such register
};

extern const struct msr_rule msr_rules[];
extern const size_t msr_rule_count;

// Fills the page: a set bit is an exit. `has`: bits of enum msr_need that this CPU meets.
void msr_bitmap_fill(uint8_t bitmap[PAGE_SIZE], uint32_t has);
// Writes of linear addresses exit: guests have 48 bits of them, and a processor that has 57 takes
// more by WRMSR than it does at VM entry (SDM 1 3.3.7.1 "Canonical Addressing", SDM 3C 27.3.1.4).
void msr_bitmap_close_addresses(uint8_t bitmap[PAGE_SIZE]);
// Lets through what the processor virtualizes of x2APIC mode at this level.
void msr_bitmap_open_apic(uint8_t bitmap[PAGE_SIZE], enum apic_level level);
// Lets IA32_SPEC_CTRL through, for a guest that has its own.
void msr_bitmap_open_spec(uint8_t bitmap[PAGE_SIZE]);
// Whether an access exits, by the bitmap.
bool msr_bitmap_exits(const uint8_t bitmap[PAGE_SIZE], uint32_t msr, bool is_write);

// For vmx_caps. False: no memory. Boot CPU, once.
bool msr_bitmap_init(void);
hpa_t msr_bitmap_get(bool is_apic_open, bool is_spec_open);
