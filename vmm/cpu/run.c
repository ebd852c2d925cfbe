// SPDX-License-Identifier: Apache-2.0
// The vCPU's loop; the interface is told in run.h.
#include "vmm/cpu/run.h"

#include "lib/fmt.h"
#include "lib/syscall.h"
#include "vmm/cpu/dump.h"
#include "vmm/emulate/emulate.h"
#include "vmm/report.h"

// ---- small exits --------------------------------------------------------------------------------

static enum exit_action exit_nothing(struct vcpu *vcpu) {
    (void)vcpu;
    return EXIT_RESUME;
}

static enum exit_action exit_shutdown(struct vcpu *vcpu) {
    return run_crash(vcpu, "triple fault");
}

// The guest takes interrupts now: the 8259's acknowledge cycle.
static enum exit_action exit_extint(struct vcpu *vcpu) {
    struct machine *machine = &vcpu->vmm->machine;
    machine_lock(machine);
    uint8_t vector = pic_acknowledge(&machine->board.pic);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    vcpu->page->inject = (struct vcpu_inject){.vector = vector, .type = VCPU_INJECT_EXTINT};
    vcpu->page->dirty |= VCPU_DIRTY_INJECT;
    return EXIT_RESUME;
}

static enum exit_action exit_eoi(struct vcpu *vcpu) {
    struct machine *machine = &vcpu->vmm->machine;
    machine_lock(machine);
    ioapic_eoi(&machine->board.ioapic, (uint8_t)vcpu->page->vector);
    uint32_t after = machine_unlock(machine);
    if (after != 0)
        process_do_after(vcpu->vmm, vcpu, after);
    return EXIT_RESUME;
}

static const char *find_wrong(struct vcpu *vcpu) {
    struct vcpu_registers r;
    const struct vmm *vmm = vcpu->vmm;
    if (!run_read_context(vcpu, &r))
        return "?";
    return control_find_wrong(&vmm->control, &r, vmm->start->physical_bits);
}

static enum exit_action exit_failed(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    switch (page->failure) {
    case VCPU_FAILURE_UNHANDLED_EXIT:
        return run_crash(vcpu, "the processor left the guest for reason %lu, which nobody handles",
                         page->failure_detail);
    case VCPU_FAILURE_ENTRY:
        return run_crash(vcpu, "the processor refused the guest's state (detail 0x%lx): %s",
                         page->failure_detail, find_wrong(vcpu));
    case VCPU_FAILURE_MEMORY:
        return exit_shortage(vcpu);
    default:
        return run_crash(vcpu, "the kernel cannot go on (failure %u, detail 0x%lx)", page->failure,
                         page->failure_detail);
    }
}

const struct run_exit run_exits[RUN_EXIT_COUNT] = {
    [VCPU_EXIT_NONE] = {"none", exit_nothing},
    [VCPU_EXIT_IO] = {"io", exit_io},
    [VCPU_EXIT_MEMORY] = {"memory", exit_memory},
    [VCPU_EXIT_MSR_READ] = {"rdmsr", exit_msr_read},
    [VCPU_EXIT_MSR_WRITE] = {"wrmsr", exit_msr_write},
    [VCPU_EXIT_SHUTDOWN] = {"shutdown", exit_shutdown},
    [VCPU_EXIT_EXTINT] = {"extint", exit_extint},
    [VCPU_EXIT_EOI] = {"eoi", exit_eoi},
    [VCPU_EXIT_KICKED] = {"kicked", exit_nothing},
    [VCPU_EXIT_FAILED] = {"failed", exit_failed},
    [VCPU_EXIT_INIT] = {"init", exit_init},
    [VCPU_EXIT_STEPPED] = {"stepped", exit_nothing},
    [VCPU_EXIT_HYPERCALL] = {"hypercall", exit_hypercall},
    [VCPU_EXIT_TASK_SWITCH] = {"task switch", exit_task_switch},
    [VCPU_EXIT_SIPI] = {"sipi", exit_sipi},
    [VCPU_EXIT_CONTROL] = {"control", exit_control},
    [VCPU_EXIT_XSETBV] = {"xsetbv", exit_xsetbv},
};

_Static_assert(VCPU_EXIT_XSETBV + 1 == RUN_EXIT_COUNT, "a row for each exit");

// ---- helpers of the handlers --------------------------------------------------------------------

enum exit_action run_crash(struct vcpu *vcpu, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fmt_format_va(vcpu->reason, sizeof(vcpu->reason), format, arguments);
    va_end(arguments);
    return EXIT_CRASH;
}

enum exit_action run_inject(struct vcpu *vcpu, uint8_t vector, uint32_t error, uint64_t cr2) {
    vcpu->page->inject = (struct vcpu_inject){
        .vector = vector,
        .type = VCPU_INJECT_EXCEPTION,
        .has_error = vector != EMULATE_DE && vector != EMULATE_UD && vector != EMULATE_NM,
        .error = error,
        .cr2 = cr2,
    };
    vcpu->page->dirty |= VCPU_DIRTY_INJECT;
    return EXIT_RESUME;
}

// ---- the loop -----------------------------------------------------------------------------------

static void trace(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    struct process_trace *slot = &vcpu->trace[vcpu->trace_count++ % PROCESS_TRACE];
    slot->rip = page->rip;
    slot->exit = page->exit;
    if (page->exit == VCPU_EXIT_IO)
        slot->detail = page->io.port;
    else if (page->exit == VCPU_EXIT_MEMORY)
        slot->detail = page->memory.gpa;
    else
        slot->detail = page->msr;
}

static enum exit_action handle(struct vcpu *vcpu) {
    uint32_t exit = vcpu->page->exit;
    trace(vcpu);
    if (exit >= RUN_EXIT_COUNT)
        return run_crash(vcpu, "the kernel reports exit %u, which this VMM does not know", exit);
    // A memory exit may be the step's next page; every other one ends it.
    if (step_is_own(&vcpu->vmm->step, vcpu->index) && exit != VCPU_EXIT_MEMORY) {
        (void)step_end(&vcpu->vmm->step, vcpu->index);
        if (exit == VCPU_EXIT_FAILED && vcpu->page->failure == VCPU_FAILURE_MEMORY)
            return exit_refused(vcpu);
    }
    return run_exits[exit].handle(vcpu);
}

static enum exit_action handle_error(struct vcpu *vcpu, uint64_t error) {
    if (error == ABI_ERROR_UNSUPPORTED && step_end(&vcpu->vmm->step, vcpu->index))
        return exit_refused(vcpu);
    return run_crash(vcpu, "vcpu_run failed with error %lu", error);
}

_Noreturn void run_loop(struct vcpu *vcpu) {
    for (;;) {
        int64_t result = sys_vcpu_run(vcpu->handle);
        enum exit_action action =
            result == 0 ? handle(vcpu) : handle_error(vcpu, (uint64_t)-result);
        if (action == EXIT_ADVANCE) {
            vcpu->page->rip += vcpu->page->instruction_length;
            vcpu->page->dirty |= VCPU_DIRTY_RIP;
        } else if (action == EXIT_CRASH) {
            dump_vcpu(vcpu);
            report_end(vcpu->vmm, VMM_END_CRASHED, 0, "%s", vcpu->reason);
        }
    }
}
