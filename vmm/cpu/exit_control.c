// SPDX-License-Identifier: Apache-2.0
// What changes a vCPU's state as a whole: accesses to control registers that the guest does not do
// by itself, EFER, XCR0, INIT and SIPI. Joins control.h to the vCPU.
#include "lib/syscall.h"
#include "vmm/cpu/pvclock.h"
#include "vmm/cpu/run.h"
#include "vmm/emulate/operand.h"

#define ATTRIBUTES_LONG 0x2000u
#define CODE_64BIT      8u
#define PDPTES          4u
#define PDPTES_SIZE     (PDPTES * sizeof(uint64_t))

#define CR0_TS   BIT(3)
#define CR0_LMSW 0xfULL // PE MP EM TS
// PE MP EM TS ET NE WP AM NW CD PG: writes of the others are lost.
#define CR0_DEFINED 0xe005003fULL
#define CR4_UMIP    BIT(11)
#define CR8_MAX     15u
#define APIC_TPR    0x80u
#define TPR_SHIFT   4 // CR8 is the task-priority class

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
// and the processor's own is its own affair: the processor faults then. AMD-V, where the guest does
// not repeat the move, loads none of them here (APM 2 15.25.10 "Legacy PAE Mode").
static bool are_pdptes_valid(struct vcpu *vcpu, const struct vcpu_registers *r, uint64_t cr0,
                             uint64_t cr4) {
    if (!vcpu->page->control.is_repeated || !control_loads_pdptes(r, cr0, cr4))
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
    if (number == 8)
        return value <= CR8_MAX;
    if (number == 0)
        return control_cr0_is_valid(r, value) && are_pdptes_valid(vcpu, r, value, r->cr4);
    return control_cr4_is_valid(&vcpu->vmm->control, r, value) &&
           are_pdptes_valid(vcpu, r, r->cr0, value);
}

// A write by a guest whose state is *r. Where it is not repeated, the kernel takes the value as it
// is: CR0 gets what a processor would make of it.
static enum exit_action write_control(struct vcpu *vcpu, const struct vcpu_registers *r,
                                      uint32_t number, uint64_t value) {
    struct vcpu_exit_control *control = &vcpu->page->control;
    if (!is_valid(vcpu, r, number, value))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    if (number == 0 && is_mode_missing(vcpu, value))
        return crash_mode(vcpu, value);
    if (number == 0 && !control->is_repeated)
        value = (value & CR0_DEFINED) | CR0_ET;
    control->number = number;
    control->value = value;
    vcpu->page->dirty |= VCPU_DIRTY_CONTROL;
    return control->is_repeated ? EXIT_RESUME : EXIT_ADVANCE;
}

// ---- what is decoded here -----------------------------------------------------------------------

// The guest's state, as far as the rules ask for it.
static struct vcpu_registers registers_of(const struct vcpu_walk *walk) {
    struct vcpu_registers r = {
        .cr0 = walk->cr0, .cr3 = walk->cr3, .cr4 = walk->cr4, .efer = walk->efer};
    r.cs.attributes = walk->code_size == CODE_64BIT ? ATTRIBUTES_LONG : 0;
    return r;
}

static bool read_control(struct vcpu *vcpu, uint32_t number, uint64_t *value) {
    const struct vcpu_walk *walk = &vcpu->page->walk;
    struct vcpu_registers r;
    int64_t tpr;
    switch (number) {
    case 0:
        *value = walk->cr0;
        return true;
    case 2:
        if (!run_read_context(vcpu, &r))
            return false;
        *value = r.cr2;
        return true;
    case 3:
        *value = walk->cr3;
        return true;
    case 4:
        *value = walk->cr4;
        return true;
    default:
        tpr = sys_vcpu_apic_read(vcpu->handle, APIC_TPR);
        *value = tpr < 0 ? 0 : (uint64_t)tpr >> TPR_SHIFT & CR8_MAX;
        return true;
    }
}

// The operand of LMSW and SMSW in memory, of 16 bits. *value is read, or written.
static enum emulate_result move_word(struct vcpu *vcpu, struct emulate_ctx *ctx,
                                     const struct insn *insn, bool is_write, uint64_t *value) {
    struct machine *machine = &vcpu->vmm->machine;
    struct operand operand;
    enum emulate_result result =
        operand_resolve(ctx, insn->segment, operand_offset(ctx, insn), insn->memory_size,
                        is_write ? WALK_WRITE : WALK_READ, &operand);
    if (result != EMULATE_DONE)
        return result;
    machine_lock(machine);
    if (is_write)
        operand_store(ctx, &operand, *value);
    else
        *value = operand_load(ctx, &operand);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    return EMULATE_DONE;
}

static enum exit_action inject_fault(struct vcpu *vcpu, const struct emulate_ctx *ctx) {
    return run_inject(vcpu, ctx->fault.vector, ctx->fault.error_code, ctx->fault.cr2);
}

// LMSW cannot clear PE. APM 3 "LMSW".
static enum exit_action load_status(struct vcpu *vcpu, struct emulate_ctx *ctx,
                                    const struct insn *insn) {
    const struct vcpu_registers r = registers_of(&vcpu->page->walk);
    uint64_t word = insn->other == INSN_OTHER_REGISTER ? ctx->gpr[insn->reg] : 0;
    if (insn->other != INSN_OTHER_REGISTER &&
        move_word(vcpu, ctx, insn, false, &word) != EMULATE_DONE)
        return inject_fault(vcpu, ctx);
    return write_control(vcpu, &r, 0, (r.cr0 & (~CR0_LMSW | CR0_PE)) | (word & CR0_LMSW));
}

static enum exit_action store_status(struct vcpu *vcpu, struct emulate_ctx *ctx,
                                     const struct insn *insn) {
    uint64_t value = vcpu->page->walk.cr0;
    if (insn->other == INSN_OTHER_REGISTER)
        register_write(ctx, insn, value);
    else if (move_word(vcpu, ctx, insn, true, &value) != EMULATE_DONE)
        return inject_fault(vcpu, ctx);
    return EXIT_ADVANCE;
}

static bool is_allowed(const struct vcpu_walk *walk, enum system_op op) {
    return walk->cpl == 0 || (op == SYSTEM_SMSW && !(walk->cr4 & CR4_UMIP));
}

static enum exit_action carry_out(struct vcpu *vcpu, struct emulate_ctx *ctx,
                                  const struct system_insn *system) {
    const struct vcpu_registers r = registers_of(&vcpu->page->walk);
    const struct insn *insn = &system->insn;
    uint64_t value;
    switch (system->op) {
    case SYSTEM_MOV_TO_CONTROL:
        return write_control(vcpu, &r, system->control,
                             insn->operand_size == sizeof(uint64_t)
                                 ? ctx->gpr[insn->reg]
                                 : (uint32_t)ctx->gpr[insn->reg]);
    case SYSTEM_MOV_FROM_CONTROL:
        if (!read_control(vcpu, system->control, &value))
            return crash(vcpu);
        register_write(ctx, insn, value);
        return EXIT_ADVANCE;
    case SYSTEM_CLTS:
        return write_control(vcpu, &r, 0, r.cr0 & ~CR0_TS);
    case SYSTEM_LMSW:
        return load_status(vcpu, ctx, insn);
    default:
        return store_status(vcpu, ctx, insn);
    }
}

// Whether such an instruction leaves the guest. What does not is there since another vCPU changed
// the code. (QEMU 10 takes reads of CR2 and CR3 for reads of CR0.)
static bool is_control(const struct system_insn *insn) {
    const uint32_t number = insn->control;
    if (insn->op == SYSTEM_MOV_FROM_CONTROL && (number == 2 || number == 3))
        return true;
    if (insn->op == SYSTEM_MOV_TO_CONTROL || insn->op == SYSTEM_MOV_FROM_CONTROL)
        return number == 0 || number == 4 || number == 8;
    return insn->op == SYSTEM_CLTS || insn->op == SYSTEM_LMSW || insn->op == SYSTEM_SMSW;
}

// The walk is filled. What is no access to a control register runs when the guest is entered again.
static enum exit_action exit_control_unknown(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    struct walk_ctx walk;
    struct emulate_ctx ctx;
    struct system_insn insn;
    run_emulate_init(vcpu, &walk, &ctx);
    enum emulate_result result = emulate_decode_system(&ctx, &insn);
    if (result == EMULATE_FAULT)
        return inject_fault(vcpu, &ctx);
    if (result != EMULATE_DONE || !is_control(&insn))
        return EXIT_RESUME;
    if (!is_allowed(&page->walk, (enum system_op)insn.op))
        return run_inject(vcpu, EMULATE_GP, 0, 0);
    page->control.is_repeated = 0;
    page->instruction_length = insn.insn.length;
    return carry_out(vcpu, &ctx, &insn);
}

enum exit_action exit_control(struct vcpu *vcpu) {
    struct vcpu_page *page = vcpu->page;
    struct vcpu_exit_control *control = &page->control;
    struct vcpu_registers r;
    if (!control->is_known)
        return exit_control_unknown(vcpu);
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    if (!control->is_repeated && page->instruction_length == 0) {
        run_walk_of(&r, &page->walk);
        return exit_control_unknown(vcpu);
    }
    if (!(r.efer & EFER_LMA) || !(r.cs.attributes & ATTRIBUTES_LONG))
        control->value = (uint32_t)control->value;
    return write_control(vcpu, &r, control->number, control->value);
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
    r.pvtime_steal = 0; // nothing is told any more to who does not know of it
    (void)msr_write(&vcpu->vmm->machine.msrs[vcpu->index], MSR_KVM_SYSTEM_TIME_NEW, 0);
    return run_write_context(vcpu, &r) ? EXIT_RESUME : crash(vcpu);
}

enum exit_action exit_sipi(struct vcpu *vcpu) {
    struct vcpu_registers r;
    if (!run_read_context(vcpu, &r))
        return crash(vcpu);
    control_sipi(&r, (uint8_t)vcpu->page->vector);
    return run_write_context(vcpu, &r) ? EXIT_RESUME : crash(vcpu);
}
