// SPDX-License-Identifier: Apache-2.0
// What of VT-x this machine has, and which of it is used: found by boot/, used by vmx/. The bits
// stand under the manual's names. SDM 3C 25.6 "VM-Execution Control Fields", 25.7 "VM-Exit Control
// Fields", 25.8 "VM-Entry Control Fields".
#pragma once

#include "include/features.h"

enum control_word {
    CONTROL_PIN,
    CONTROL_PRIMARY,
    CONTROL_SECONDARY,
    CONTROL_EXIT,
    CONTROL_ENTRY,
    CONTROL_WORD_COUNT,
};

// Controls that come and go with a VM, or while a guest runs.
#define PRIMARY_INTERRUPT_WINDOW_EXITING (1ull << 2)
#define PRIMARY_NMI_WINDOW_EXITING       (1ull << 22)
#define PRIMARY_MONITOR_TRAP_FLAG        (1ull << 27)
#define SECONDARY_RDTSCP                 (1ull << 3)
#define SECONDARY_X2APIC_MODE            (1ull << 4)
#define SECONDARY_VPID                   (1ull << 5)
#define SECONDARY_INVPCID                (1ull << 12)
#define SECONDARY_ENCLS_EXITING          (1ull << 15)
#define SECONDARY_TSC_SCALING            (1ull << 25)
#define SECONDARY_ENCLV_EXITING          (1ull << 28)
#define ENTRY_CONTROL_IA32E_GUEST        (1ull << 9) // chosen for each entry

// Variants of the MSR bitmap, one page each in a row: index bits.
#define VMX_BITMAP_SPEC 1u // IA32_SPEC_CTRL is open: the guest has one of its own
#define VMX_BITMAP_APIC 2u // the x2APIC's registers are, as far as the processor virtualizes them
#define VMX_BITMAPS     4u

struct vmx_caps {
    uint64_t msr_bitmaps;                 // physical address of VMX_BITMAPS pages (boot_maps.h)
    uint32_t revision;                    // of VMXON region and VMCS
    uint32_t control[CONTROL_WORD_COUNT]; // what all VMCSs have
    uint64_t cr0_fixed0, cr0_fixed1;      // bits that must be 1; bits that may be 1
    uint64_t cr4_fixed0, cr4_fixed1;
    enum apic_level apic;
    bool has_x2apic_mode, has_trap_flag;
    bool has_unrestricted_guest, has_vpid, has_ple, has_rdtscp, has_tsc_scaling;
    bool has_2m_pages, has_1g_pages;                 // of EPT
    uint8_t invept_type, invvpid_type;               // 1: of one context; 2: only of all
    bool has_spec_ctrl, has_pred_cmd, has_flush_cmd; // IA32_SPEC_CTRL, _PRED_CMD, _FLUSH_CMD
};
