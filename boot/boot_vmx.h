// SPDX-License-Identifier: Apache-2.0
// Whether this machine can run guests by VT-x, and with which controls (include/vmx.h). Each
// capability MSR is read once. SDM 3D Appendix A "VMX Capability Reporting Facility".
//
// No instructions but what is passed in, so that the host's tests can link it.
#pragma once

#include "boot/boot_features.h"
#include "include/vmx.h"
#include "lib/types.h"

enum vmx_msr {
    MSR_VMX_BASIC = 0x480,
    MSR_VMX_PIN = 0x481,
    MSR_VMX_PRIMARY = 0x482,
    MSR_VMX_EXIT = 0x483,
    MSR_VMX_ENTRY = 0x484,
    MSR_VMX_MISC = 0x485,
    MSR_VMX_CR0_FIXED0 = 0x486,
    MSR_VMX_CR0_FIXED1 = 0x487,
    MSR_VMX_CR4_FIXED0 = 0x488,
    MSR_VMX_CR4_FIXED1 = 0x489,
    MSR_VMX_SECONDARY = 0x48b,
    MSR_VMX_EPT_VPID_CAP = 0x48c,
    MSR_VMX_TRUE_PIN = 0x48d,
    MSR_VMX_TRUE_PRIMARY = 0x48e,
    MSR_VMX_TRUE_EXIT = 0x48f,
    MSR_VMX_TRUE_ENTRY = 0x490,
};

// SDM 3D A.1 "Basic VMX Information".
#define VMX_BASIC_REVISION      0x7fffffffULL
#define VMX_BASIC_TRUE_CONTROLS BIT(55)

// Pin-based VM-execution controls.
#define PIN_EXTERNAL_INTERRUPT_EXITING BIT(0)
#define PIN_NMI_EXITING                BIT(3)
#define PIN_VIRTUAL_NMIS               BIT(5)
#define PIN_POSTED_INTERRUPTS          BIT(7)

// Primary processor-based VM-execution controls.
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
#define PRIMARY_MOV_DR_EXITING           BIT(23)
#define PRIMARY_UNCONDITIONAL_IO_EXITING BIT(24)
#define PRIMARY_IO_BITMAPS               BIT(25)
#define PRIMARY_MSR_BITMAPS              BIT(28)
#define PRIMARY_MONITOR_EXITING          BIT(29)
#define PRIMARY_SECONDARY_CONTROLS       BIT(31)

// Secondary processor-based VM-execution controls.
#define SECONDARY_APIC_ACCESSES      BIT(0)
#define SECONDARY_EPT                BIT(1)
#define SECONDARY_DESCRIPTOR_EXITING BIT(2)
#define SECONDARY_WBINVD_EXITING     BIT(6)
#define SECONDARY_UNRESTRICTED_GUEST BIT(7)
#define SECONDARY_APIC_REGISTERS     BIT(8)
#define SECONDARY_INTERRUPT_DELIVERY BIT(9)
#define SECONDARY_PAUSE_LOOP_EXITING BIT(10)
#define SECONDARY_RDRAND_EXITING     BIT(11)
#define SECONDARY_VMFUNC             BIT(13)
#define SECONDARY_VMCS_SHADOWING     BIT(14)
#define SECONDARY_RDSEED_EXITING     BIT(16)
#define SECONDARY_PML                BIT(17)
#define SECONDARY_EPT_VIOLATION_VE   BIT(18)
#define SECONDARY_XSAVES             BIT(20)
#define SECONDARY_USER_WAIT_PAUSE    BIT(26)

// VM-exit controls.
#define EXIT_CONTROL_SAVE_DEBUG  BIT(2)
#define EXIT_CONTROL_HOST_64     BIT(9)
#define EXIT_CONTROL_ACKNOWLEDGE BIT(15)
#define EXIT_CONTROL_SAVE_PAT    BIT(18)
#define EXIT_CONTROL_LOAD_PAT    BIT(19)
#define EXIT_CONTROL_SAVE_EFER   BIT(20)
#define EXIT_CONTROL_LOAD_EFER   BIT(21)

// VM-entry controls.
#define ENTRY_CONTROL_LOAD_DEBUG BIT(2)
#define ENTRY_CONTROL_LOAD_PAT   BIT(14)
#define ENTRY_CONTROL_LOAD_EFER  BIT(15)

// SDM 3D A.10 "VPID and EPT Capabilities".
#define EPT_CAP_WALK_4          BIT(6)
#define EPT_CAP_WRITE_BACK      BIT(14)
#define EPT_CAP_2M              BIT(16)
#define EPT_CAP_1G              BIT(17)
#define EPT_CAP_INVEPT          BIT(20)
#define EPT_CAP_INVEPT_SINGLE   BIT(25)
#define EPT_CAP_INVEPT_ALL      BIT(26)
#define VPID_CAP_INVVPID        BIT(32)
#define VPID_CAP_INVVPID_SINGLE BIT(41)
#define VPID_CAP_INVVPID_ALL    BIT(42)

// From a capability MSR: bits that must be 1, and bits that may be.
struct control_allowed {
    uint32_t must1;
    uint32_t may1;
};

struct control_allowed control_from_msr(uint64_t value);

// Pure. Fills `words` with what we want as far as it is allowed. NULL, or the name of a control
// without which we do not run (or that cannot be turned off); `words` is not to be used then.
const char *control_build(const struct control_allowed allowed[CONTROL_WORD_COUNT],
                          uint32_t words[CONTROL_WORD_COUNT]);

// Pure. What is used of a processor that allows this; `ept_vpid` is IA32_VMX_EPT_VPID_CAP. Fills
// the judged part of `caps`: control, apic, and the has_* of controls and EPT. False: Bulkhead
// cannot run guests on it, and `refusal` says why, with the remedy.
bool boot_vmx_judge(struct vmx_caps *caps, const struct control_allowed allowed[CONTROL_WORD_COUNT],
                    uint64_t ept_vpid, char refusal[BOOT_REFUSAL_MAX]);
// Pure. Uses no more of APIC virtualization than this.
void boot_vmx_limit_apic(struct vmx_caps *caps,
                         const struct control_allowed allowed[CONTROL_WORD_COUNT],
                         enum apic_level limit);

// Fills info->vmx and info->refusal, by info->features and info->words.
void boot_vmx_read(const struct boot_processor *cpu, struct boot_info *info);
// Adds to the preflight report what is used, and what is missing and what that costs.
void boot_vmx_report(struct boot_info *info);
