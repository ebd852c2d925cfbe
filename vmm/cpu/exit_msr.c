// SPDX-License-Identifier: Apache-2.0
// RDMSR and WRMSR of what the kernel does not know: those that are parts of the vCPU's state (EFER,
// IA32_DEBUGCTL, on AMD PAT, where steal time is told), writes of the TSC, the paravirtual clocks,
// and the policy of msr.c.
#include "lib/syscall.h"
#include "vmm/cpu/pvclock.h"
#include "vmm/cpu/run.h"
#include "vmm/emulate/emulate.h"

#define NS_PER_SECOND  1000000000ULL
#define MSR_TSC        0x10u
#define MSR_TSC_ADJUST 0x3bu

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

// A write to either of TSC and TSC_ADJUST moves both (SDM 3B 18.17.3 "Time-Stamp Counter
// Adjustment"), and the clock goes by both.
static bool move_tsc(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return false;
    uint64_t by = value - (msr == MSR_TSC ? r.tsc : r.tsc_adjust);
    r.tsc += by;
    r.tsc_adjust += by;
    if (!run_write_context(vcpu, &r))
        return false;
    machine_tell_clock(&vcpu->vmm->machine, vcpu->index, r.tsc_adjust);
    return true;
}

// Writes the structure that the guest registers by MSR `msr`.
static bool write_clock(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    const struct machine *machine = &vcpu->vmm->machine;
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return false;
    if (msr == MSR_KVM_WALL_CLOCK_NEW)
        return pvclock_write_wall(&machine->memory, value, boot_ns(vcpu->vmm, &r));
    return pvclock_write_clock(&machine->memory, &machine->rate, value, r.tsc_adjust);
}

static bool is_state(uint32_t msr) {
    return msr == MSR_EFER || msr == MSR_DEBUGCTL || msr == MSR_PAT || msr == MSR_KVM_STEAL_TIME;
}

static uint64_t *find_state(struct vcpu_registers *r, uint32_t msr) {
    switch (msr) {
    case MSR_EFER:
        return &r->efer;
    case MSR_PAT:
        return &r->pat;
    case MSR_DEBUGCTL:
        return &r->debugctl;
    default:
        return &r->pvtime_steal;
    }
}

// What can be taken at once: steal time has begun then.
static bool accept(const struct vcpu *vcpu, const struct vcpu_registers *r, uint32_t msr,
                   uint64_t value) {
    switch (msr) {
    case MSR_EFER:
        return control_efer_is_valid(&vcpu->vmm->control, r, value);
    case MSR_PAT:
        return control_pat_is_valid(value);
    case MSR_DEBUGCTL:
        return control_debugctl_is_valid(value);
    default:
        return pvclock_begin_steal(&vcpu->vmm->machine.memory, value);
    }
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
    if (!run_read_context(vcpu, &r) || !accept(vcpu, &r, msr, value))
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
    if (msr == MSR_TSC || msr == MSR_TSC_ADJUST)
        return move_tsc(vcpu, msr, value);
    bool is_clock = msr == MSR_KVM_WALL_CLOCK_NEW || msr == MSR_KVM_SYSTEM_TIME_NEW;
    if (is_clock && !write_clock(vcpu, msr, value))
        return false;
    return msr_write(&vcpu->vmm->machine.msrs[vcpu->index], msr, value) ||
           (vcpu->vmm->is_amd && msr_amd_write(msr, value));
}

enum exit_action exit_msr_write(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    uint64_t value = (uint32_t)page->gpr[INSN_RAX] | page->gpr[INSN_RDX] << 32;
    return write_msr(vcpu, page->msr, value) ? EXIT_ADVANCE : run_inject(vcpu, EMULATE_GP, 0, 0);
}
