// SPDX-License-Identifier: Apache-2.0
// What of the machine-check architecture is used, and what an error means: found by boot/ on the
// boot CPU, used by kernel/machine_check.c. SDM 3B 15 "Machine-Check Architecture"; APM 2 9
// "Machine Check Architecture".
#pragma once

#include "include/abi.h"

#include <stdbool.h>

#define MACHINE_CHECK_BANKS_MAX 64u
#define MACHINE_CHECK_RULES_MAX 16u

enum machine_check_severity {
    SEVERITY_NONE,     // no error, or one that is no reason for an exception
    SEVERITY_OPTIONAL, // found before anybody used it
    SEVERITY_OTHERS,   // another CPU's, in a bank that this one shares
    SEVERITY_CONSUMED, // of the frame at the address: what runs here has used it, and no more
    SEVERITY_FATAL,
    SEVERITY_COUNT
};

// Where all four words have the value within the mask, the error is of this severity.
struct machine_check_rule {
    struct {
        uint64_t mask, value;
    } status, address, misc, global; // MCi_STATUS, MCi_ADDR, MCi_MISC, IA32_MCG_STATUS
    uint32_t severity;
};

struct machine_check {
    uint64_t controls;               // a bit each: banks whose MCi_CTL is written
    uint32_t bank_count;             // at most, of each CPU; 0: machine checks are not used
    uint32_t first_msr, msrs_a_bank; // from one bank's MCi_CTL to the next
    bool is_broadcast;               // each CPU gets what one got, but for local ones
    bool has_control;                // IA32_MCG_CTL
    bool has_local;                  // IA32_MCG_EXT_CTL: only who used an error gets it
    bool has_config;                 // MCA_CONFIG of each bank: AMD's scalable ones
    uint32_t rule_count;
    struct machine_check_rule rule[MACHINE_CHECK_RULES_MAX];
};

// By the first rule that holds.
static inline uint32_t machine_check_judge(const struct machine_check *m, uint64_t global,
                                           const struct abi_machine_check *bank) {
    for (const struct machine_check_rule *r = m->rule; r < m->rule + m->rule_count; r++)
        if ((bank->status & r->status.mask) == r->status.value &&
            (bank->address & r->address.mask) == r->address.value &&
            (bank->misc & r->misc.mask) == r->misc.value &&
            (global & r->global.mask) == r->global.value)
            return r->severity;
    return SEVERITY_FATAL;
}
