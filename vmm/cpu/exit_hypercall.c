// SPDX-License-Identifier: Apache-2.0
// Hypercalls in the form of KVM's, since CPUID says that this is KVM: the number in RAX, arguments
// in RBX and RCX, the answer in RAX; outside 64-bit code the lower halves. None of the features
// that CPUID names (cpuid_bits.h) needs one. Served are those that KVM serves without a feature's
// bit. Linux, Documentation/virt/kvm/x86/hypercalls.rst.
#include "lib/string.h"
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/emulate/emulate.h"

#define NS_PER_SECOND 1000000000ULL
#define CODE_64BIT    8u

enum hypercall {
    VAPIC_POLL_IRQ = 1, // leaves the guest, so that interrupts get in
    CLOCK_PAIRING = 9,
};

enum hypercall_error {
    ERROR_PERMISSION = 1,
    ERROR_FAULT = 14,
    ERROR_UNSUPPORTED = 95,
    ERROR_UNKNOWN = 1000,
};

// The date, and the guest's TSC at that moment.
struct clock_pair {
    int64_t seconds;
    int64_t nanoseconds;
    uint64_t tsc;
    uint32_t flags;
    uint32_t padding[9];
};
_Static_assert(sizeof(struct clock_pair) == 64, "as KVM has it");
#define CLOCK_WALL 0u // the only kind of clock there is

static int64_t pair_clocks(const struct vcpu *vcpu, uint64_t gpa, uint64_t kind) {
    const struct vmm *vmm = vcpu->vmm;
    struct vcpu_registers registers;
    void *to = memory_writable(&vmm->machine.memory, gpa, sizeof(struct clock_pair));
    if (kind != CLOCK_WALL ||
        sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) != 0)
        return -ERROR_UNSUPPORTED;
    if (to == NULL)
        return -ERROR_FAULT;
    uint64_t ns = run_date_ns(vmm, &registers);
    const struct clock_pair pair = {
        .seconds = (int64_t)(ns / NS_PER_SECOND),
        .nanoseconds = (int64_t)(ns % NS_PER_SECOND),
        .tsc = registers.tsc,
    };
    memcpy(to, &pair, sizeof(pair));
    return 0;
}

enum exit_action exit_hypercall(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    bool is_wide = page->walk.code_size == CODE_64BIT;
    uint64_t mask = is_wide ? UINT64_MAX : UINT32_MAX;
    uint64_t number = page->gpr[INSN_RAX] & mask;
    int64_t answer = -ERROR_UNKNOWN;
    if (page->walk.cpl != 0)
        answer = -ERROR_PERMISSION;
    else if (number == VAPIC_POLL_IRQ)
        answer = 0;
    else if (number == CLOCK_PAIRING)
        answer = pair_clocks(vcpu, page->gpr[INSN_RBX] & mask, page->gpr[INSN_RCX] & mask);
    page->gpr[INSN_RAX] = (uint64_t)answer & mask;
    return EXIT_ADVANCE;
}
