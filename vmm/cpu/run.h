// SPDX-License-Identifier: Apache-2.0
// The life of a vCPU: run the guest until the kernel hands something over, handle it, go on. These
// are the exits that the kernel's own handlers (vmx/exit_*.c) have left to the VMM. One row of
// run_exits an exit; the handlers stand in exit_io.c, exit_memory.c, exit_msr.c, exit_control.c,
// exit_hypercall.c, exit_task.c and, the small ones, run.c.
#pragma once

#include "vmm/process.h"

// What a handler wants next; only run_loop acts on it.
enum exit_action {
    EXIT_RESUME,  // enter the guest again, as the page says
    EXIT_ADVANCE, // the instruction is done: step over it first
    EXIT_CRASH,   // vcpu->reason says why the VM can not go on
};

struct run_exit {
    const char *name;
    enum exit_action (*handle)(struct vcpu *vcpu);
};

// Indexed by enum vcpu_exit.
#define RUN_EXIT_COUNT 17u
extern const struct run_exit run_exits[RUN_EXIT_COUNT];

// The whole life of a vCPU's thread.
_Noreturn void run_loop(struct vcpu *vcpu);

// Sets the reason, printf-like, and returns EXIT_CRASH.
enum exit_action run_crash(struct vcpu *vcpu, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Has an exception delivered to the guest at its present RIP, and returns EXIT_RESUME. `error` is
// ignored for vectors without an error code.
enum exit_action run_inject(struct vcpu *vcpu, uint8_t vector, uint32_t error, uint64_t cr2);

// The handlers.
enum exit_action exit_io(struct vcpu *vcpu);
enum exit_action exit_memory(struct vcpu *vcpu);
enum exit_action exit_refused(struct vcpu *vcpu); // #GP(0), for what cannot be done here
// VCPU_FAILURE_MEMORY, but for a step of this vCPU's own.
enum exit_action exit_shortage(struct vcpu *vcpu);
enum exit_action exit_msr_read(struct vcpu *vcpu);
enum exit_action exit_msr_write(struct vcpu *vcpu);
enum exit_action exit_hypercall(struct vcpu *vcpu);
enum exit_action exit_task_switch(struct vcpu *vcpu);
enum exit_action exit_control(struct vcpu *vcpu);
enum exit_action exit_xsetbv(struct vcpu *vcpu);
enum exit_action exit_init(struct vcpu *vcpu);
enum exit_action exit_sipi(struct vcpu *vcpu);

// The vCPU's registers but for time, events and APIC. False: the kernel refused.
bool run_read_context(struct vcpu *vcpu, struct vcpu_registers *r);
bool run_write_context(struct vcpu *vcpu, const struct vcpu_registers *r);

// The date (ns since 1970) at the moment of a vCPU's pair of clocks.
uint64_t run_date_ns(const struct vmm *vmm, const struct vcpu_registers *registers);

// What walking and emulating need of a vCPU whose page->walk is valid. `walk` and `emulate` are
// filled; they point into the page and to each other.
struct walk_ctx;
struct emulate_ctx;
// For struct walk_ctx's guest_ptr; `opaque` is the vCPU.
void *run_guest_pointer(void *opaque, uint64_t gpa, uint64_t length, bool is_write);
// Fills page->walk where the exit did not.
void run_walk_of(const struct vcpu_registers *r, struct vcpu_walk *walk);
void run_emulate_init(struct vcpu *vcpu, struct walk_ctx *walk, struct emulate_ctx *emulate);
