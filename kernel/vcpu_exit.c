// SPDX-License-Identifier: Apache-2.0
// Exits that are the same whoever the processor is from: rows of the backends' tables name these.
#include "kernel/vcpu.h"

#include "arch/traps.h"
#include "kernel/machine_check.h"

enum exit_action vcpu_exit_hlt(struct vcpu *vcpu) {
    (void)vcpu;
    return EXIT_BLOCK;
}

enum exit_action vcpu_exit_pause(struct vcpu *vcpu) {
    (void)vcpu;
    return EXIT_YIELD;
}

enum exit_action vcpu_exit_ignored(struct vcpu *vcpu) {
    (void)vcpu;
    return EXIT_ADVANCE;
}

enum exit_action vcpu_exit_undefined(struct vcpu *vcpu) {
    vcpu_backend->inject_exception(vcpu, EXC_UD, 0);
    return EXIT_RETRY;
}

__attribute__((noinline, cold)) enum exit_action vcpu_exit_protected(struct vcpu *vcpu) {
    vcpu_backend->inject_exception(vcpu, EXC_GP, 0);
    return EXIT_RETRY;
}

enum exit_action vcpu_exit_shutdown(struct vcpu *vcpu) {
    vcpu->page->exit = VCPU_EXIT_SHUTDOWN;
    return EXIT_VMM;
}

enum exit_action vcpu_exit_machine_check(struct vcpu *vcpu) {
    (void)vcpu;
    if (!machine_check_handle(false))
        return EXIT_RETRY;
    machine_check_end();
    return EXIT_FAIL;
}

enum exit_action vcpu_exit_msr(struct vcpu *vcpu, bool is_write, vcpu_msr_access *access) {
    uint32_t msr = (uint32_t)vcpu_gpr(vcpu, GPR_RCX);
    uint64_t value =
        is_write ? vcpu_gpr(vcpu, GPR_RDX) << 32 | (uint32_t)vcpu_gpr(vcpu, GPR_RAX) : 0;
    enum msr_result result =
        is_write ? vcpu_write_msr(vcpu, msr, value) : vcpu_read_msr(vcpu, msr, &value);
    if (result == MSR_UNKNOWN && access != NULL)
        result = access(vcpu, msr, is_write, &value);
    vcpu->page->msr = msr;
    if (result == MSR_UNKNOWN)
        return EXIT_VMM;
    if (result == MSR_FAULT)
        return vcpu_exit_protected(vcpu);
    if (!is_write) {
        vcpu->page->gpr[GPR_RAX] = (uint32_t)value;
        vcpu->page->gpr[GPR_RDX] = value >> 32;
    }
    return EXIT_ADVANCE;
}
