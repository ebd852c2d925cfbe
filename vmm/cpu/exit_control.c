// SPDX-License-Identifier: Apache-2.0
// What changes a vCPU's state as a whole: writes of control registers that the guest does not do by
// itself, EFER, XCR0, INIT and SIPI. Joins control.h to the vCPU.
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/emulate/emulate.h"

#define ATTRIBUTES_LONG 0x2000u
#define PDPTES          4u
#define PDPTES_SIZE     (PDPTES * sizeof(uint64_t))

bool run_read_context(struct vcpu *vcpu, struct vcpu_registers *r) {
    return sys_vcpu_read(vcpu->handle, VCPU_STATE_CONTEXT, r, sizeof(*r)) == 0;
}

bool run_write_context(struct vcpu *vcpu, const struct vcpu_registers *r) {
    return sys_vcpu_write(vcpu->handle, VCPU_STATE_CONTEXT, r, sizeof(*r)) == 0;
}

static enum exit_action crash(struct vcpu *vcpu) {
    return run_crash(vcpu, "the registers cannot be read, or not be written");
}

static bool is_mode_missing(const struct vcpu *vcpu, uint64_t cr0) {
    const uint64_t mode = CR0_PE | CR0_PG;
    return !vcpu->vmm->control.has_modes && (cr0 & mode) != mode;
}

static enum exit_action crash_mode(struct vcpu *vcpu, uint64_t cr0) {
    return run_crash(
        vcpu, "the guest entered a mode that this processor cannot virtualize (CR0 0x%lx)", cr0);
}

// Bad entries fault before the register changes. Whether the guest changes them between this look
// and the processor's own is its own affair: the processor faults then.
static bool are_pdptes_valid(struct vcpu *vcpu, const struct vcpu_registers *r, uint64_t cr0,
                             uint64_t cr4) {
    if (!control_loads_pdptes(r, cr0, cr4))
        return true;
    uint64_t gpa = (uint32_t)r->cr3 & ~(PDPTES_SIZE - 1);
    const volatile uint64_t *pdptes = run_guest_pointer(vcpu, gpa, PDPTES_SIZE, false);
    bool is_valid = true;
    for (unsigned i = 0; i < PDPTES && pdptes != NULL; i++)
        is_valid &= control_pdpte_is_valid(pdptes[i], vcpu->vmm->start->physical_bits);
    return is_valid;
}

static bool is_valid(struct vcpu *vcpu, const struct vcpu_registers *r, uint32_t number,
                     uint64_t value) {
    if (number == 0)
        return control_cr0_is_valid(r, value) && are_pdptes_valid(vcpu, r, value, r->cr4);
    return control_cr4_is_valid(&vcpu->vmm->control, r, value) &&
           are_pdptes_valid(vcpu, r, r->cr0, value);
}

enum exit_action exit_control(struct vcpu *vcpu) {
    struct vcpu_exit_control *control = &vcpu->page->control;
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    if (!(r.efer & EFER_LMA) || !(r.cs.attributes & ATTRIBUTES_LONG))
        control->value = (uint32_t)control->value;
    if (!is_valid(vcpu, &r, control->number, control->value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    if (control->number == 0 && is_mode_missing(vcpu, control->value))
        return crash_mode(vcpu, control->value);
    vcpu->page->dirty |= VCPU_DIRTY_CONTROL;
    return EXIT_RESUME;
}

enum exit_action exit_xsetbv(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    uint64_t value = (uint32_t)page->gpr[INSN_RAX] | page->gpr[INSN_RDX] << 32;
    struct vcpu_registers r;
    if ((uint32_t)page->gpr[INSN_RCX] != 0 || !control_xcr0_is_valid(&vcpu->vmm->control, value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    r.xcr0 = value;
    return run_write_context(vcpu, &r) ? EXIT_ADVANCE : crash(vcpu);
}

enum exit_action exit_init(struct vcpu *vcpu) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    control_init(&vcpu->vmm->control, &r);
    if (is_mode_missing(vcpu, r.cr0))
        return crash_mode(vcpu, r.cr0);
    return run_write_context(vcpu, &r) ? EXIT_RESUME : crash(vcpu);
}

enum exit_action exit_sipi(struct vcpu *vcpu) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    control_sipi(&r, (uint8_t)vcpu->page->vector);
    return run_write_context(vcpu, &r) ? EXIT_RESUME : crash(vcpu);
}
