// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR of what the kernel does not know: the policy of msr.c.
#include "emulate.h"
#include "run.h"

enum exit_action exit_msr_read(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    uint64_t value;
    if (!msr_read(&vcpu->vmm->machine.msrs[vcpu->index], page->msr, &value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    page->gpr[INSN_RAX] = (uint32_t)value;
    page->gpr[INSN_RDX] = value >> 32;
    return EXIT_ADVANCE;
}

enum exit_action exit_msr_write(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    uint64_t value = (uint32_t)page->gpr[INSN_RAX] | page->gpr[INSN_RDX] << 32;
    if (!msr_write(&vcpu->vmm->machine.msrs[vcpu->index], page->msr, value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    return EXIT_ADVANCE;
}
