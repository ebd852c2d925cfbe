// SPDX-License-Identifier: Apache-2.0
// What the kernel makes of interrupts, and of exceptions in ring 3 (arch/traps.h).
#include "arch/lapic.h"
#include "arch/traps.h"
#include "kernel/device.h"
#include "kernel/log.h"
#include "kernel/smp.h"
#include "kernel/thread.h"
#include "kernel/timer.h"
#include "kernel/vcpu.h"

// EOI before the handler: none of them relies on the vector staying blocked, and interrupts are
// off.
void interrupt_dispatch(uint8_t vector) {
    if (vector == VECTOR_SPURIOUS)
        return;
    if (vector >= VECTOR_DEVICE && vector < VECTOR_DEVICE + DEVICE_INTERRUPTS_MAX) {
        device_interrupt(vector - VECTOR_DEVICE); // masks its source before the EOI lets it again
        lapic_eoi();
        return;
    }
    lapic_eoi();
    if (vector == VECTOR_TIMER)
        timer_interrupt();
    else if (vector == VECTOR_WAKE)
        smp_interrupt();
    else if (vector == VECTOR_POSTED)
        vcpu_notified();
    else
        log_line("CPU %u: interrupt 0x%x that nobody asked for", cpu_current()->index, vector);
}

static uint64_t fault_right(uint64_t error) {
    if ((error & PF_WRITE) != 0)
        return ABI_RIGHT_WRITE;
    return (error & PF_FETCH) != 0 ? ABI_RIGHT_EXECUTE : ABI_RIGHT_READ;
}

// No region lies in the kernel's half, so a fault there, whatever its error code, ends the process.
void trap_user_exception(struct trap_frame *frame) {
    struct process *process = thread_current()->process;
    uint64_t address = frame->vector == EXC_PF ? x86_read_cr2() : 0;
    bool is_absent = frame->vector == EXC_PF && (frame->error & PF_PRESENT) == 0;
    if (is_absent &&
        space_fault(&process->space, address, fault_right(frame->error)) == SPACE_FAULT_RETRY)
        return;
    struct abi_process_status status = {
        .state = ABI_PROCESS_FAULTED,
        .vector = (uint32_t)frame->vector,
        .error = (uint32_t)frame->error,
        .rip = frame->rip,
        .address = address,
    };
    process_end(process, &status);
}

bool trap_user_page(uint64_t address, bool is_write) {
    return space_fault(&thread_current()->process->space, address,
                       is_write ? ABI_RIGHT_WRITE : ABI_RIGHT_READ) == SPACE_FAULT_RETRY;
}
