// SPDX-License-Identifier: Apache-2.0
// Which MSRs and ports a guest reaches without an exit, as the processor reads it: no port, and the
// MSRs of one sorted constant table. What the table does not name exits, both ways, and is answered
// by the kernel or by the VMM, which knows what an unknown MSR does (#GP).
//
// Passing an MSR through needs that its value is the guest's whenever the guest runs: by the VMCS
// or VMCB, or by vmx/load.c and svm/load.c. PRED_CMD and FLUSH_CMD have none: they are orders to
// forget, which harm nobody else.
//
// All vCPUs share the pages; nobody writes them again. No instructions of the processor, so that
// the host's tests can link it.
#pragma once

#include "include/boot.h"

enum boot_pass { PASS_READ = 1u << 0, PASS_WRITE = 1u << 1 };
#define PASS_BOTH (PASS_READ | PASS_WRITE)

enum boot_need {
    NEEDS_VTX = 1u << 0,       // the backend keeps it with VT-x alone
    NEEDS_RDTSCP = 1u << 1,    // the processor has it
    NEEDS_PRED_CMD = 1u << 2,  //
    NEEDS_FLUSH_CMD = 1u << 3, //
    NEEDS_SPEC_CTRL = 1u << 4, // the guest has an IA32_SPEC_CTRL of its own
    // WRMSR takes no address that VM entry refuses: guests' have 48 bits, and a processor with
    // 57-bit addresses takes more (SDM 1 3.3.7.1 "Canonical Addressing", SDM 3C 27.3.1.4).
    NEEDS_48_BITS = 1u << 5,
    // x2APIC mode is virtualized: SDM 3C 30.5 "Virtualizing MSR-Based APIC Accesses".
    NEEDS_APIC_TPR = 1u << 6,       // its task priority
    NEEDS_APIC_REGISTERS = 1u << 7, // what the virtual-APIC page holds
};

struct msr_rule {
    uint32_t first, last; // inclusive
    uint32_t pass;        // enum boot_pass
    uint32_t needs;       // enum boot_need, all of them
};

extern const struct msr_rule boot_msr_rules[];
extern const uint32_t boot_msr_rule_count;

// The pages of struct vmx_caps' msr_bitmaps.
void boot_maps_fill_vmx(uint8_t pages[VMX_BITMAPS][BOOT_PAGE], const struct vmx_caps *caps,
                        bool has_la57);
// The pages of struct svm_caps' maps.
void boot_maps_fill_svm(uint8_t pages[SVM_MAP_PAGES][BOOT_PAGE], const struct svm_caps *caps);
