// SPDX-License-Identifier: Apache-2.0
// What of AMD-V this machine has (found by boot/, used by svm/), and the reasons for which a guest
// is left, as they are counted. APM 2 chapter 15 "Secure Virtual Machine".
#pragma once

#include "include/features.h"

#define SVM_IOPM_PAGES  3u
#define SVM_MSRPM_PAGES 2u
#define SVM_MAP_PAGES   (SVM_IOPM_PAGES + SVM_MSRPM_PAGES)

struct svm_caps {
    uint64_t maps;       // physical address of the I/O, then the MSR permissions map (boot_maps.h)
    uint32_t asid_count; // ASIDs from 1 to this less one are guests'
    bool has_next_rip, has_decode_assists, has_clean_bits;
    bool has_tsc_ratio, has_pause_filter, has_rdtscp, has_invpcid, has_rdpru;
    bool has_spec_ctrl, has_pred_cmd; // SPEC_CTRL by the VMCB; PRED_CMD
};

// The one table of exits: a row for each code of APM 2 Appendix C "SVM Intercept Exit Codes" that
// is expected, or for a run of codes that are one thing. All others are SVM_EXIT_OTHER, for which
// the VM ends: nothing asks for them. tests/unit/svm/exit_test.c has each code. The index of a row
// counts the exits (struct abi_usage, exit). X(first code, last code, NAME, handler, words).
#define SVM_EXITS(X)                                                                               \
    X(0x000, 0x00f, CR_READ, svm_exit_control_read, "control-register read")                       \
    X(0x010, 0x01f, CR_WRITE, svm_exit_control_write, "control-register write")                    \
    X(0x040, 0x05f, EXCEPTION, svm_exit_exception, "exception")                                    \
    X(0x060, 0x060, INTR, svm_exit_external_interrupt, "external interrupt")                       \
    X(0x061, 0x061, NMI, svm_exit_host_event, "NMI")                                               \
    X(0x062, 0x062, SMI, svm_exit_host_event, "SMI")                                               \
    X(0x063, 0x063, INIT, svm_exit_host_event, "INIT signal")                                      \
    X(0x064, 0x064, VINTR, svm_exit_interrupt_window, "interrupt window")                          \
    X(0x065, 0x065, CR0_SEL_WRITE, svm_exit_control_write, "selective CR0 write")                  \
    X(0x06f, 0x06f, RDPMC, vcpu_exit_protected, "RDPMC")                                           \
    X(0x072, 0x072, CPUID, vcpu_emulate_cpuid, "CPUID")                                            \
    X(0x073, 0x073, RSM, vcpu_exit_undefined, "RSM")                                               \
    X(0x074, 0x074, IRET, svm_exit_iret, "IRET")                                                   \
    X(0x076, 0x076, INVD, vcpu_exit_ignored, "INVD")                                               \
    X(0x077, 0x077, PAUSE, vcpu_exit_pause, "PAUSE")                                               \
    X(0x078, 0x078, HLT, vcpu_exit_hlt, "HLT")                                                     \
    X(0x07a, 0x07a, INVLPGA, vcpu_exit_undefined, "INVLPGA")                                       \
    X(0x07b, 0x07b, IOIO, svm_exit_io, "I/O instruction")                                          \
    X(0x07c, 0x07c, MSR, svm_exit_msr, "RDMSR or WRMSR")                                           \
    X(0x07d, 0x07d, TASK_SWITCH, svm_exit_task_switch, "task switch")                              \
    X(0x07f, 0x07f, SHUTDOWN, vcpu_exit_shutdown, "triple fault")                                  \
    X(0x080, 0x080, VMRUN, vcpu_exit_undefined, "VMRUN")                                           \
    X(0x081, 0x081, VMMCALL, svm_exit_vmmcall, "VMMCALL")                                          \
    X(0x082, 0x087, VMLOAD_TO_RDTSCP, vcpu_exit_undefined, "SVM instruction or RDTSCP")            \
    X(0x089, 0x089, WBINVD, vcpu_exit_ignored, "WBINVD")                                           \
    X(0x08a, 0x08c, MONITOR_TO_MWAIT, vcpu_exit_undefined, "MONITOR or MWAIT")                     \
    X(0x08d, 0x08d, XSETBV, svm_exit_xsetbv, "XSETBV")                                             \
    X(0x08e, 0x08e, RDPRU, vcpu_exit_undefined, "RDPRU")                                           \
    X(0x0a0, 0x0a4, INVLPGB_TO_TLBSYNC, vcpu_exit_undefined, "INVLPGB, INVPCID, MCOMMIT, TLBSYNC") \
    X(0x400, 0x400, NPF, svm_exit_nested_page_fault, "nested page fault")                          \
    X(0xfffffffe, 0xfffffffe, BUSY, svm_exit_refused, "VMCB in use")                               \
    X(0xffffffff, 0xffffffff, INVALID, svm_exit_refused, "invalid guest state")

#define SVM_EXIT_ENUM_ROW(first, last, name, handler, words) SVM_EXIT_##name,
enum svm_exit {
    SVM_EXITS(SVM_EXIT_ENUM_ROW) SVM_EXIT_OTHER, // a code without a row: unexpected
    SVM_EXIT_COUNT
};
#undef SVM_EXIT_ENUM_ROW
