// SPDX-License-Identifier: Apache-2.0
// The virtual machine control block and the instructions on it. APM 2 Appendix B "Layout of VMCB";
// chapter 15 "Secure Virtual Machine"; the names are the manual's.
#pragma once

#include "include/abi.h"
#include "lib/types.h"

// Intercepts, by the word that they stand in: APM 2 Table B-1 "VMCB Layout, Control Area".
#define INTERCEPT_CR_READ(n)  BIT(n) // intercept_cr
#define INTERCEPT_CR_WRITE(n) BIT((n) + 16)

#define INTERCEPT_INTR          BIT(0) // intercept_1
#define INTERCEPT_NMI           BIT(1)
#define INTERCEPT_INIT          BIT(3)
#define INTERCEPT_VINTR         BIT(4)
#define INTERCEPT_CR0_SEL_WRITE BIT(5)
#define INTERCEPT_RDPMC         BIT(15)
#define INTERCEPT_CPUID         BIT(18)
#define INTERCEPT_RSM           BIT(19)
#define INTERCEPT_IRET          BIT(20)
#define INTERCEPT_INVD          BIT(22)
#define INTERCEPT_PAUSE         BIT(23)
#define INTERCEPT_HLT           BIT(24)
#define INTERCEPT_INVLPGA       BIT(26)
#define INTERCEPT_IOIO          BIT(27)
#define INTERCEPT_MSR           BIT(28)
#define INTERCEPT_TASK_SWITCH   BIT(29)
#define INTERCEPT_SHUTDOWN      BIT(31)

#define INTERCEPT_VMRUN           BIT(0) // intercept_2
#define INTERCEPT_VMMCALL         BIT(1)
#define INTERCEPT_VMLOAD          BIT(2)
#define INTERCEPT_VMSAVE          BIT(3)
#define INTERCEPT_STGI            BIT(4)
#define INTERCEPT_CLGI            BIT(5)
#define INTERCEPT_SKINIT          BIT(6)
#define INTERCEPT_RDTSCP          BIT(7)
#define INTERCEPT_WBINVD          BIT(9)
#define INTERCEPT_MONITOR         BIT(10)
#define INTERCEPT_MWAIT           BIT(11)
#define INTERCEPT_MWAIT_CONDITION BIT(12)
#define INTERCEPT_XSETBV          BIT(13)
#define INTERCEPT_RDPRU           BIT(14)

#define INTERCEPT_INVPCID BIT(2)

#define TLB_FLUSH_ALL 1u // tlb_control: APM 2 15.16.1 "TLB Flush"

// interrupt: APM 2 15.21 "Interrupt and Local APIC Support".
#define VINTR_TPR      0xfULL
#define VINTR_IRQ      BIT(8)
#define VINTR_PRIORITY (0xfULL << 16)
#define VINTR_NO_TPR   BIT(20)
#define VINTR_MASKING  BIT(24)

#define SHADOW_STI_MOV_SS BIT(0)

#define SEGMENT_LONG BIT(9) // attributes of CS, in the VMCB's place
#define SEGMENT_DB   BIT(10)

// What of it the processor may believe to be as at the last exit: APM 2 15.15.3 "VMCB Clean Field".
#define CLEAN_INTERCEPTS BIT(0) // and the TSC's offset
#define CLEAN_ASID       BIT(2)
#define CLEAN_INTERRUPT  BIT(3)
#define CLEAN_CONTROL    BIT(5) // CR0, CR3, CR4, EFER
#define CLEAN_DEBUG      BIT(6) // DR6, DR7
#define CLEAN_CR2        BIT(9)
#define CLEAN_ALL        UINT32_MAX

#define EXIT_INFO_MOV BIT(63) // EXITINFO1 of CR accesses, by decode assists
#define EXIT_INFO_GPR 0xfULL
// EXITINFO1 of NPF: APM 2 15.25.6 "Nested versus Guest Page Faults, Fault Ordering".
#define NESTED_WRITE           BIT(1)
#define NESTED_FETCH           BIT(4)
#define NESTED_IN_GUEST_TABLES BIT(33)

struct vmcb {
    uint32_t intercept_cr, intercept_dr, intercept_exception;
    uint32_t intercept_1, intercept_2, intercept_3;
    uint8_t reserved_018[0x3c - 0x18];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm, msrpm, tsc_offset;
    uint32_t asid, tlb_control;
    uint64_t interrupt, shadow, exit_code, exit_info_1, exit_info_2, exit_int_info, np_enable;
    uint64_t avic_bar, ghcb, event, n_cr3, lbr_enable;
    uint32_t clean, reserved_0c4;
    uint64_t next_rip;
    uint8_t reserved_0d0[0x400 - 0xd0];
    // APM 2 Table B-2 "VMCB Layout, State Save Area".
    struct vcpu_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0x4cb - 0x4a0];
    uint8_t cpl;
    uint32_t reserved_4cc;
    uint64_t efer;
    uint8_t reserved_4d8[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_580[0x5d8 - 0x580];
    uint64_t rsp, s_cet, ssp, isst, rax;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t reserved_648[0x668 - 0x648];
    uint64_t g_pat, debugctl;
    uint8_t reserved_678[0x6e0 - 0x678];
    uint64_t spec_ctrl;
    uint8_t reserved_6e8[0x1000 - 0x6e8];
};
_Static_assert(offsetof(struct vmcb, iopm) == 0x40 && offsetof(struct vmcb, interrupt) == 0x60 &&
                   offsetof(struct vmcb, exit_code) == 0x70 &&
                   offsetof(struct vmcb, event) == 0xa8 && offsetof(struct vmcb, clean) == 0xc0 &&
                   offsetof(struct vmcb, next_rip) == 0xc8,
               "Table B-1");
_Static_assert(offsetof(struct vmcb, tr) == 0x490 && offsetof(struct vmcb, cpl) == 0x4cb &&
                   offsetof(struct vmcb, efer) == 0x4d0 && offsetof(struct vmcb, cr4) == 0x548 &&
                   offsetof(struct vmcb, rip) == 0x578 && offsetof(struct vmcb, rsp) == 0x5d8 &&
                   offsetof(struct vmcb, cr2) == 0x640 && offsetof(struct vmcb, g_pat) == 0x668 &&
                   offsetof(struct vmcb, spec_ctrl) == 0x6e0 && sizeof(struct vmcb) == 0x1000,
               "Table B-2");

#if __STDC_HOSTED__
// Unit tests bring a processor of their own.
void svm_clgi(void);
void svm_stgi(void);
void svm_vmload(hpa_t vmcb);
void svm_vmsave(hpa_t vmcb);
#else
static inline void svm_clgi(void) {
    __asm__ volatile("clgi" ::: "memory");
}
static inline void svm_stgi(void) {
    __asm__ volatile("stgi" ::: "memory");
}
// FS, GS, TR, LDTR, the MSRs of system calls. APM 2 15.5.2 "VMSAVE and VMLOAD Instructions".
static inline void svm_vmload(hpa_t vmcb) {
    __asm__ volatile("vmload %%rax" ::"a"(vmcb.v) : "memory");
}
static inline void svm_vmsave(hpa_t vmcb) {
    __asm__ volatile("vmsave %%rax" ::"a"(vmcb.v) : "memory");
}
#endif
