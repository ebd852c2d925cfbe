// SPDX-License-Identifier: Apache-2.0
// What the processor remembers of translations, and how it forgets. They are tagged by ASID, of
// which a processor has few: each CPU gives its own to the vCPUs that come, one after the other,
// and when none is left it forgets all and begins anew. So to forget what one vCPU has used, it
// takes the next ASID. APM 2 15.16 "TLB Control".
#include "arch/cpu.h"
#include "svm/svm.h"

static struct {
    uint64_t generation;
    uint32_t next;      // from 1 on, since 0 is the host's
} asids[CPU_COUNT_MAX]; // by CPU, each its own

bool svm_has_asid(const struct svm_vcpu *x, const struct cpu *cpu) {
    return x->last_cpu == cpu && x->asid_generation == asids[cpu->index].generation;
}

// The first time on a CPU, what others left there goes, too.
void svm_take_asid(struct svm_vcpu *x, struct cpu *cpu) {
    if (asids[cpu->index].next == 0 || asids[cpu->index].next >= svm_caps.asid_count) {
        asids[cpu->index].generation++;
        asids[cpu->index].next = 1;
        x->vmcb->tlb_control = TLB_FLUSH_ALL;
    }
    x->vmcb->asid = asids[cpu->index].next++;
    x->asid_generation = asids[cpu->index].generation;
    x->last_cpu = cpu;
    svm_touch(x, CLEAN_ASID);
}

void svm_forget_asids(const struct cpu *cpu) {
    asids[cpu->index].next = 0;
}

void svm_flush_space(struct vcpu *vcpu) {
    ((struct svm_vcpu *)vcpu->backend)->last_cpu = NULL;
}
