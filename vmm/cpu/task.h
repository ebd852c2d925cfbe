// SPDX-License-Identifier: Apache-2.0
// A hardware task switch, as the processor would have done it: SDM 3A chapter 8 "Task Management".
// VT-x and AMD-V end the guest's run instead, having checked privileges (SDM 3C 26.4.2 "Treatment
// of Task Switches"); all else is checked here, since the guest's other vCPUs may have changed its
// tables meanwhile.
//
// Up to the commit point nothing has changed, neither in memory nor in the registers, and
// exceptions belong to the old task; from there on to the new one (SDM 3A 8.3 "Task Switching").
// Where TSSs and tables lie on what is no memory, they read all ones and take no writes.
//
// What comes out is a state that VM entry accepts, whatever the guest has in its tables.
#pragma once

#include "include/abi.h"
#include "vmm/cpu/walk.h"

struct task_request {
    uint16_t selector; // as in vcpu_exit_task
    enum vcpu_task_source source;
    bool has_event;
    struct vcpu_inject event;
    uint8_t instruction_length; // where there is no event, of what asked for it
    struct walk_ctx
        memory; // physical_bits, has_1g_pages, guest_ptr, opaque; the rest is task_switch's
};

struct task_fault {
    uint8_t vector;
    uint32_t error; // for vectors that have one
    uint64_t cr2;   // for #PF
};

enum task_result {
    TASK_DONE, // *registers are the new task's, the event is delivered
    // *fault is to be raised in *registers; a pending event there has not been delivered.
    TASK_FAULT,
};

// `registers` are the vCPU's, read after the exit.
enum task_result task_switch(const struct task_request *request, struct vcpu_registers *registers,
                             struct task_fault *fault);
