// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: joins task.h to the vCPU.
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/cpu/task.h"

// Types of struct vcpu_inject: INT n, INT1, and INT3 and INTO.
#define SOFTWARE_FIRST 4u
#define SOFTWARE_LAST  6u

// Where an instruction asked for the switch, itself or by an interrupt of software, its length in
// *request; else NULL.
static uint8_t *length_of(struct task_request *request) {
    if (!request->has_event)
        return &request->instruction_length;
    bool is_software =
        request->event.type >= SOFTWARE_FIRST && request->event.type <= SOFTWARE_LAST;
    return is_software ? &request->event.length : NULL;
}

// AMD-V without next-RIP tells no length. EMULATE_UNHANDLED: another vCPU has put something else
// there, which the guest will run.
static enum emulate_result find_length(struct vcpu *vcpu, const struct vcpu_registers *registers,
                                       struct emulate_ctx *ctx, struct task_request *request) {
    static const enum system_op ops[] = {
        [VCPU_TASK_CALL] = SYSTEM_FAR_CALL,
        [VCPU_TASK_IRET] = SYSTEM_IRET,
        [VCPU_TASK_JUMP] = SYSTEM_FAR_JUMP,
        [VCPU_TASK_GATE] = SYSTEM_INTERRUPT,
    };
    uint8_t *length = length_of(request);
    struct walk_ctx walk;
    struct system_insn insn;
    if (length == NULL || *length != 0)
        return EMULATE_DONE;
    run_walk_of(registers, &vcpu->page->walk);
    run_emulate_init(vcpu, &walk, ctx);
    enum emulate_result result = emulate_decode_system(ctx, &insn);
    if (result == EMULATE_DONE && insn.op != ops[request->source])
        return EMULATE_UNHANDLED;
    *length = insn.insn.length;
    return result;
}

enum exit_action exit_task_switch(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    struct vcpu_registers registers;
    struct task_fault fault;
    struct emulate_ctx ctx;
    struct task_request request = {
        .selector = page->task.selector,
        .source = (enum vcpu_task_source)page->task.source,
        .has_event = page->task.has_event != 0,
        .event = page->task.event,
        .instruction_length = (uint8_t)page->instruction_length,
        .memory = {.physical_bits = (uint8_t)vcpu->vmm->start->physical_bits,
                   .has_1g_pages = vcpu->vmm->has_1g_pages,
                   .guest_ptr = run_guest_pointer,
                   .opaque = vcpu},
    };
    if (sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) != 0)
        return run_crash(vcpu, "a task switch, and the registers cannot be read");
    enum emulate_result found = find_length(vcpu, &registers, &ctx, &request);
    if (found == EMULATE_FAULT)
        return run_inject(vcpu, ctx.fault.vector, ctx.fault.error_code, ctx.fault.cr2);
    if (found != EMULATE_DONE)
        return EXIT_RESUME;
    enum task_result result = task_switch(&request, &registers, &fault);
    if (sys_vcpu_write(vcpu->handle, VCPU_STATE_CONTEXT, &registers, sizeof(registers)) != 0)
        return run_crash(vcpu, "a task switch to a state that no processor has");
    if (result == TASK_FAULT)
        return run_inject(vcpu, fault.vector, fault.error, fault.cr2);
    return EXIT_RESUME;
}
