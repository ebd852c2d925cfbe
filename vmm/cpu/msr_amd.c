// SPDX-License-Identifier: Apache-2.0
// The registers that guests on AMD's processors have beside those of msr_rules: most of them are
// read, and some bits set, by kernels that find this vendor. None stores anything, and none has an
// effect. APM 2 Appendix A "MSR Cross-Reference"; for what no manual of the architecture has,
// Linux, arch/x86/include/asm/msr-index.h.
//
// Not there, so #GP: IORRs, SMM's registers, OSVW, the APIC's and the counters' extensions,
// TSC_RATIO, VM_HSAVE_PA, P-states, and LS_CFG, whose bit Linux would believe to disable store
// bypass.
#include "vmm/cpu/msr.h"

#define PERF_EVENT_SELECT0 0xc0010000u
#define PERF_COUNTER3      0xc0010007u
#define SYSCFG             0xc0010010u
#define HWCR               0xc0010015u
#define TOP_MEM            0xc001001au
#define TOP_MEM2           0xc001001du
#define NB_CFG             0xc001001fu
#define PATCH_LOADER       0xc0010020u
#define INTERRUPT_PENDING  0xc0010055u
#define MMIO_CONFIG_BASE   0xc0010058u
#define VM_CR              0xc0010114u
#define IC_CFG             0xc0011021u
#define BU_CFG             0xc0011023u
#define DE_CFG             0xc0011029u
#define BU_CFG2            0xc001102au

// The TSC counts at the P0 frequency; what else may be written is FFDIS, IGNNE_EM, McStatusWrEn and
// IRPerfEn, as under KVM.
#define HWCR_TSC_FREQ_SEL (1ULL << 24)
#define HWCR_IGNORED      (1ULL << 3 | 1ULL << 6 | 1ULL << 8 | 1ULL << 18 | 1ULL << 30)
// APM 2 15.30.1 "VM_CR MSR (C001_0114h)": locked, and SVM disabled.
#define VM_CR_SVMDIS_LOCK 0x18u
#define VM_CR_DEFINED     0x1fu
// LFENCE waits for what went before it.
#define DE_CFG_LFENCE 0x2u

// A write may differ from what is read in the bits that are `ignored`; else it is #GP.
static const struct {
    uint32_t first, last;
    uint64_t value;
    uint64_t ignored;
} rules[] = {
    {PERF_EVENT_SELECT0, PERF_COUNTER3, 0, UINT64_MAX},
    {SYSCFG, SYSCFG, 0, UINT64_MAX},
    {HWCR, HWCR, HWCR_TSC_FREQ_SEL, HWCR_IGNORED},
    {TOP_MEM, TOP_MEM, 0, UINT64_MAX},
    {TOP_MEM2, TOP_MEM2, 0, UINT64_MAX},
    {NB_CFG, NB_CFG, 0, UINT64_MAX},
    {PATCH_LOADER, PATCH_LOADER, 0, UINT64_MAX},
    {INTERRUPT_PENDING, INTERRUPT_PENDING, 0, UINT64_MAX},
    {MMIO_CONFIG_BASE, MMIO_CONFIG_BASE, 0, 0},
    {VM_CR, VM_CR, VM_CR_SVMDIS_LOCK, VM_CR_DEFINED},
    {IC_CFG, BU_CFG, 0, UINT64_MAX}, // and DC_CFG
    {DE_CFG, DE_CFG, DE_CFG_LFENCE, UINT64_MAX},
    {BU_CFG2, BU_CFG2, 0, UINT64_MAX},
};
#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))

bool msr_amd_read(uint32_t msr, uint64_t *value) {
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (msr >= rules[i].first && msr <= rules[i].last) {
            *value = rules[i].value;
            return true;
        }
    return false;
}

bool msr_amd_write(uint32_t msr, uint64_t value) {
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (msr >= rules[i].first && msr <= rules[i].last)
            return ((value ^ rules[i].value) & ~rules[i].ignored) == 0;
    return false;
}
