// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR of what the kernel does not know: EFER, IA32_DEBUGCTL and, on AMD, PAT, which are
// parts of the vCPU's state, the policy of msr.c, and the paravirtual wall clock.
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/emulate/emulate.h"

#define NS_PER_SECOND 1000000000ULL

// Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_WALL_CLOCK_NEW: the date when the guest's
// paravirtual clock (kernel/pvtime.h) showed 0.
struct wall_clock {
    uint32_t version; // odd while it is being written
    uint32_t seconds;
    uint32_t nanoseconds;
};

// Both parts of a vCPU's pair are of one moment: the guest's TSC, and the VM's clock, which has
// counted since the host's TSC was 0.
uint64_t run_date_ns(const struct vmm *vmm, const struct vcpu_registers *registers) {
    const struct vmm_start *start = vmm->start;
    return start->utc_seconds * NS_PER_SECOND + clock_ticks_ns(registers->tsc_clock, vmm->tsc_hz) -
           clock_ticks_ns(start->utc_tsc, start->tsc_hz);
}

// The date (ns since 1970) at which the guest's paravirtual clock showed 0.
static uint64_t boot_ns(const struct vmm *vmm, const struct vcpu_registers *registers) {
    uint64_t now = run_date_ns(vmm, registers);
    uint64_t since = clock_ticks_ns(registers->tsc - registers->tsc_adjust, vmm->tsc_hz);
    return since < now ? now - since : 0;
}

// False: the address is not aligned, or not RAM.
static bool write_wall_clock(const struct vcpu *vcpu, uint64_t gpa) {
    const struct vmm *vmm = vcpu->vmm;
    volatile struct wall_clock *to =
        memory_writable(&vmm->machine.memory, gpa, sizeof(struct wall_clock));
    struct vcpu_registers registers;
    if (to == NULL || gpa % sizeof(uint32_t) != 0 ||
        sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) != 0)
        return false;
    uint64_t ns = boot_ns(vmm, &registers);
    uint32_t version = to->version | 1;
    to->version = version;
    to->seconds = (uint32_t)(ns / NS_PER_SECOND);
    to->nanoseconds = (uint32_t)(ns % NS_PER_SECOND);
    to->version = version + 1;
    return true;
}

static bool is_state(uint32_t msr) {
    return msr == MSR_EFER || msr == MSR_DEBUGCTL || msr == MSR_PAT;
}

static uint64_t *find_state(struct vcpu_registers *r, uint32_t msr) {
    if (msr == MSR_EFER)
        return &r->efer;
    return msr == MSR_PAT ? &r->pat : &r->debugctl;
}

static bool is_valid(const struct vcpu *vcpu, const struct vcpu_registers *r, uint32_t msr,
                     uint64_t value) {
    if (msr == MSR_EFER)
        return control_efer_is_valid(&vcpu->vmm->control, r, value);
    return msr == MSR_PAT ? control_pat_is_valid(value) : control_debugctl_is_valid(value);
}

static bool read_state(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return false;
    *value = *find_state(&r, msr);
    return true;
}

// LMA follows from LME and paging, and cannot be written.
static bool write_state(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r) || !is_valid(vcpu, &r, msr, value))
        return false;
    if (msr == MSR_EFER)
        value = (value & ~EFER_LMA) | (r.efer & EFER_LMA);
    *find_state(&r, msr) = value;
    return run_write_context(vcpu, &r);
}

static bool read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    if (is_state(msr))
        return read_state(vcpu, msr, value);
    return msr_read(&vcpu->vmm->machine.msrs[vcpu->index], msr, value) ||
           (vcpu->vmm->is_amd && msr_amd_read(msr, value));
}

enum exit_action exit_msr_read(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    uint32_t msr = page->msr;
    uint64_t value;
    if (!read_msr(vcpu, msr, &value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    page->gpr[INSN_RAX] = (uint32_t)value;
    page->gpr[INSN_RDX] = value >> 32;
    return EXIT_ADVANCE;
}

static bool write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    if (is_state(msr))
        return write_state(vcpu, msr, value);
    if (msr == MSR_KVM_WALL_CLOCK_NEW && !write_wall_clock(vcpu, value))
        return false;
    return msr_write(&vcpu->vmm->machine.msrs[vcpu->index], msr, value) ||
           (vcpu->vmm->is_amd && msr_amd_write(msr, value));
}

enum exit_action exit_msr_write(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    uint64_t value = (uint32_t)page->gpr[INSN_RAX] | page->gpr[INSN_RDX] << 32;
    return write_msr(vcpu, page->msr, value) ? EXIT_ADVANCE : run_inject(vcpu, EMULATE_GP, 0, 0);
}
