// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: joins task.h to the vCPU.
#include "lib/syscall.h"
#include "vmm/cpu/run.h"
#include "vmm/cpu/task.h"

enum exit_action exit_task_switch(struct vcpu *vcpu) {
    const struct vcpu_page *page = vcpu->page;
    struct vcpu_registers registers;
    struct task_fault fault;
    const struct task_request request = {
        .selector = page->task.selector,
        .source = (enum vcpu_task_source)page->task.source,
        .has_event = page->task.has_event != 0,
        .event = page->task.event,
        .instruction_length = page->instruction_length,
        .memory = {.physical_bits = (uint8_t)vcpu->vmm->start->physical_bits,
                   .has_1g_pages = vcpu->vmm->has_1g_pages,
                   .guest_ptr = run_guest_pointer,
                   .opaque = vcpu},
    };
    if (sys_vcpu_read(vcpu->handle, VCPU_STATE_REGISTERS, &registers, sizeof(registers)) != 0)
        return run_crash(vcpu, "a task switch, and the registers cannot be read");
    enum task_result result = task_switch(&request, &registers, &fault);
    if (sys_vcpu_write(vcpu->handle, VCPU_STATE_CONTEXT, &registers, sizeof(registers)) != 0)
        return run_crash(vcpu, "a task switch to a state that no processor has");
    if (result == TASK_FAULT)
        return run_inject(vcpu, fault.vector, fault.error, fault.cr2);
    return EXIT_RESUME;
}
