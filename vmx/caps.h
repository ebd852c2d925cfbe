// SPDX-License-Identifier: Apache-2.0
// What this machine's VT-x can do: every capability MSR is read once, at boot, into one struct; the
// rest of vmx/ reads the struct. SDM 3D Appendix A "VMX Capability Reporting Facility".
//
// In call order: caps_read (boot CPU), caps_judge, caps_limit_apic, caps_report; then vmx_caps is
// constant.
#pragma once

#include "include/features.h"
#include "vmx/control.h"

struct vmx_caps {
    uint32_t revision;               // of VMXON region and VMCS
    bool has_true_controls;          // TRUE capability MSRs
    bool has_string_io_info;         // instruction information on INS and OUTS
    uint64_t cr0_fixed0, cr0_fixed1; // bits that must be 1; bits that may be 1
    uint64_t cr4_fixed0, cr4_fixed1;
    uint64_t ept_vpid; // IA32_VMX_EPT_VPID_CAP
    struct control_allowed allowed[CONTROL_WORD_COUNT];
    bool has_spec_ctrl;               // IA32_SPEC_CTRL
    bool has_pred_cmd, has_flush_cmd; // IA32_PRED_CMD, IA32_FLUSH_CMD

    // Judged from the above.
    uint32_t control[CONTROL_WORD_COUNT];
    bool has_unrestricted_guest, has_vpid, has_ple, has_rdtscp;
    bool has_tsc_scaling;
    enum apic_level apic;
    bool has_x2apic_mode;
    bool has_2m_pages, has_1g_pages;
    bool has_invept_single;  // else only all contexts
    bool has_invvpid_single; // likewise
};
extern struct vmx_caps vmx_caps;

// IA32_VMX_EPT_VPID_CAP: SDM 3D A.10 "VPID and EPT Capabilities".
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

// Reads the MSRs. The CPU must have VMX.
void caps_read(struct vmx_caps *caps);
// Pure: fills the judged part. NULL, or why Bulkhead cannot run guests on it, with the remedy; the
// text is good until the next call.
const char *caps_judge(struct vmx_caps *caps);
// Pure: uses no more of APIC virtualization than this.
void caps_limit_apic(struct vmx_caps *caps, enum apic_level limit);
// Says by log_line what is used, and what is missing and what that costs.
void caps_report(const struct vmx_caps *caps);

// IA32_FEATURE_CONTROL of this CPU: turns VMX on and locks it where the firmware left that open.
// NULL, or why VMX stays off.
const char *caps_unlock(void);
