// SPDX-License-Identifier: Apache-2.0
// See arch/mitigation.h.
#include "arch/mitigation.h"

#include "arch/split.h"

#define PRED_CMD_IBPB BIT(0)
#define FLUSH_CMD_L1D BIT(0)
#define DE_CFG_LFENCE BIT(1)

struct mitigation mitigation;

void mitigation_init_cpu(void) {
    if (mitigation.spec_ctrl != 0)
        x86_wrmsr(MSR_SPEC_CTRL, mitigation.spec_ctrl);
    if (mitigation.has_auto_ibrs)
        x86_wrmsr(MSR_EFER, x86_rdmsr(MSR_EFER) | EFER_AIBRSE);
    if (mitigation.needs_lfence_bit)
        x86_wrmsr(MSR_DE_CFG, x86_rdmsr(MSR_DE_CFG) | DE_CFG_LFENCE);
}

void mitigation_clear_buffers(void) {
    static const uint16_t selector = SELECTOR_KERNEL_DATA;
    // The form with a memory operand is the one that empties them.
    if (mitigation.has_verw)
        __asm__ volatile("verw %0" ::"m"(selector) : "cc", "memory");
}

// More taken branches than the history holds, always the same ones. Processors whose history is
// longer have BHI_DIS_S (Intel, "Branch History Injection and Intra-mode Branch Target Injection").
// LFENCE, since the loop's end may be mispredicted.
void mitigation_clear_bhb(void) {
    uint32_t rounds = 32;
    __asm__ volatile("1: jmp 2f\n\t"
                     "int3\n"
                     "2: jmp 3f\n\t"
                     "int3\n"
                     "3: dec %0\n\t"
                     "jnz 1b\n\t"
                     "lfence"
                     : "+r"(rounds)::"cc", "memory");
}

void mitigation_switch(struct cpu *cpu, uint64_t domain) {
    const struct mitigation *m = &mitigation;
    cpu->domain = domain;
    cpu->barriers++;
    if (m->splits_tables)
        split_clear(cpu);
    if (m->has_ibpb)
        x86_wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
    if (m->needs_l1d_flush && m->has_l1d_flush)
        x86_wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
    mitigation_clear_buffers();
    mitigation_stuff_rsb();
}
