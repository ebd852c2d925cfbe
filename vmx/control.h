// SPDX-License-Identifier: Apache-2.0
// The five words of VMX controls: their bits under the manual's names, and how they are chosen from
// what a processor allows. SDM 3C 25.6 "VM-Execution Control Fields", 25.7 "VM-Exit Control
// Fields", 25.8 "VM-Entry Control Fields"; what is allowed: SDM 3D Appendix A "VMX Capability
// Reporting Facility".
//
// control_build is a pure function; nothing here touches the processor.
#pragma once

#include "lib/types.h"

// Pin-based VM-execution controls.
#define PIN_EXTERNAL_INTERRUPT_EXITING BIT(0)
#define PIN_NMI_EXITING                BIT(3)
#define PIN_VIRTUAL_NMIS               BIT(5)
#define PIN_POSTED_INTERRUPTS          BIT(7)

// Primary processor-based VM-execution controls.
#define PRIMARY_INTERRUPT_WINDOW_EXITING BIT(2)
#define PRIMARY_TSC_OFFSETTING           BIT(3)
#define PRIMARY_HLT_EXITING              BIT(7)
#define PRIMARY_INVLPG_EXITING           BIT(9)
#define PRIMARY_MWAIT_EXITING            BIT(10)
#define PRIMARY_RDPMC_EXITING            BIT(11)
#define PRIMARY_RDTSC_EXITING            BIT(12)
#define PRIMARY_CR3_LOAD_EXITING         BIT(15)
#define PRIMARY_CR3_STORE_EXITING        BIT(16)
#define PRIMARY_CR8_LOAD_EXITING         BIT(19)
#define PRIMARY_CR8_STORE_EXITING        BIT(20)
#define PRIMARY_TPR_SHADOW               BIT(21)
#define PRIMARY_NMI_WINDOW_EXITING       BIT(22)
#define PRIMARY_MOV_DR_EXITING           BIT(23)
#define PRIMARY_UNCONDITIONAL_IO_EXITING BIT(24)
#define PRIMARY_IO_BITMAPS               BIT(25)
#define PRIMARY_MONITOR_TRAP_FLAG        BIT(27)
#define PRIMARY_MSR_BITMAPS              BIT(28)
#define PRIMARY_MONITOR_EXITING          BIT(29)
#define PRIMARY_SECONDARY_CONTROLS       BIT(31)

// Secondary processor-based VM-execution controls.
#define SECONDARY_APIC_ACCESSES      BIT(0)
#define SECONDARY_EPT                BIT(1)
#define SECONDARY_DESCRIPTOR_EXITING BIT(2)
#define SECONDARY_RDTSCP             BIT(3)
#define SECONDARY_X2APIC_MODE        BIT(4)
#define SECONDARY_VPID               BIT(5)
#define SECONDARY_WBINVD_EXITING     BIT(6)
#define SECONDARY_UNRESTRICTED_GUEST BIT(7)
#define SECONDARY_APIC_REGISTERS     BIT(8)
#define SECONDARY_INTERRUPT_DELIVERY BIT(9)
#define SECONDARY_PAUSE_LOOP_EXITING BIT(10)
#define SECONDARY_RDRAND_EXITING     BIT(11)
#define SECONDARY_INVPCID            BIT(12)
#define SECONDARY_VMFUNC             BIT(13)
#define SECONDARY_VMCS_SHADOWING     BIT(14)
#define SECONDARY_ENCLS_EXITING      BIT(15)
#define SECONDARY_RDSEED_EXITING     BIT(16)
#define SECONDARY_PML                BIT(17)
#define SECONDARY_EPT_VIOLATION_VE   BIT(18)
#define SECONDARY_XSAVES             BIT(20)
#define SECONDARY_TSC_SCALING        BIT(25)
#define SECONDARY_USER_WAIT_PAUSE    BIT(26)
#define SECONDARY_ENCLV_EXITING      BIT(28)

// VM-exit controls.
#define EXIT_CONTROL_SAVE_DEBUG  BIT(2)
#define EXIT_CONTROL_HOST_64     BIT(9)
#define EXIT_CONTROL_ACKNOWLEDGE BIT(15)
#define EXIT_CONTROL_SAVE_PAT    BIT(18)
#define EXIT_CONTROL_LOAD_PAT    BIT(19)
#define EXIT_CONTROL_SAVE_EFER   BIT(20)
#define EXIT_CONTROL_LOAD_EFER   BIT(21)

// VM-entry controls.
#define ENTRY_CONTROL_LOAD_DEBUG  BIT(2)
#define ENTRY_CONTROL_IA32E_GUEST BIT(9) // chosen for each entry
#define ENTRY_CONTROL_LOAD_PAT    BIT(14)
#define ENTRY_CONTROL_LOAD_EFER   BIT(15)

enum control_word {
    CONTROL_PIN,
    CONTROL_PRIMARY,
    CONTROL_SECONDARY,
    CONTROL_EXIT,
    CONTROL_ENTRY,
    CONTROL_WORD_COUNT,
};

// From a capability MSR: bits that must be 1, and bits that may be.
struct control_allowed {
    uint32_t must1;
    uint32_t may1;
};

struct control_allowed control_from_msr(uint64_t value);

// Fills `words` with what we want as far as it is allowed. NULL, or the name of a control without
// which we do not run (or that cannot be turned off); `words` is not to be used then.
const char *control_build(const struct control_allowed allowed[CONTROL_WORD_COUNT],
                          uint32_t words[CONTROL_WORD_COUNT]);
