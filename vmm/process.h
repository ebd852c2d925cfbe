// SPDX-License-Identifier: Apache-2.0
// The VMM as a process: one VM, the handles it is made of, and the threads that share it. One
// thread a vCPU runs the guest (run.h); the first thread becomes the I/O thread (io.c).
//
// Ownership: [l] fields are protected by machine.lock, [v] belong to the vCPU's thread, [c] are
// constant once the threads run.
#pragma once

#include <stdatomic.h>

#include "include/vmm.h"
#include "vmm/console.h"
#include "vmm/cpu/control.h"
#include "vmm/cpu/step.h"
#include "vmm/device/clock.h"
#include "vmm/emulate/emulate.h"
#include "vmm/load/load.h"
#include "vmm/machine.h"

// Our own bit of start->wakeup: the I/O thread has an earlier deadline.
#define PROCESS_WAKEUP_DEADLINE (1ULL << 16)

// Where things lie in the VMM's own address space.
#define PROCESS_MEMORY_BASE  0x010000000000ULL // the guest's RAM
#define PROCESS_KERNEL_BASE  0x200000000000ULL // the guest's kernel's image, while it is loaded
#define PROCESS_INITRD_BASE  0x300000000000ULL
#define PROCESS_CONSOLE_BASE 0x700000000000ULL
#define PROCESS_REPORTS_BASE 0x708000000000ULL
#define PROCESS_PAGES_BASE   0x710000000000ULL // the vCPUs' pages, with gaps
#define PROCESS_ONES_BASE    0x718000000000ULL // what a step finds where nothing is
#define PROCESS_STACKS_BASE  0x720000000000ULL // the vCPUs' stacks, with gaps
#define PROCESS_STACK_SIZE   0x4000ULL
#define PROCESS_GAP          0x10000ULL // from one page or stack to the next

// The last exits, for the crash dump.
#define PROCESS_TRACE 8u // a power of two
struct process_trace {
    uint64_t rip;
    uint64_t detail; // port, guest-physical address or MSR
    uint32_t exit;   // enum vcpu_exit
};

struct vcpu {
    struct vcpu_page *page;                       // [c]; the fields are [v]
    struct vmm *vmm;                              // [c]
    uint32_t index;                               // [c]
    uint32_t handle;                              // [c]
    uint32_t room_event;                          // signalled when the console has room again [c]
    uint32_t trace_count;                         // exits ever seen [v]
    struct process_trace trace[PROCESS_TRACE];    // [v]
    struct emulate_recent recent[EMULATE_RECENT]; // [v]
    char reason[128];                             // why the handler gave up, for EXIT_CRASH [v]
};

struct vmm {
    const struct vmm_start *start;       // [c]
    uint64_t tsc_hz;                     // of the guest's TSCs [c]
    uint32_t vm;                         // handle [c]
    uint32_t vcpu_count;                 // [c]
    bool has_1g_pages;                   // as CPUID tells the guest [c]
    bool has_tzcnt, has_lzcnt;           // likewise [c]
    bool is_amd;                         // likewise [c]
    atomic_uint has_ended;               // the first to set it reports the end
    struct clock clock;                  // [c]
    uint64_t io_deadline;                // ns at which the I/O thread will look again [l]
    uint64_t tell_deadline;              // ns by which the supervisor is to be told [l]
    uint64_t room_waiters;               // vCPUs that wait for room in the console, as bits [l]
    struct console console;              // [l]
    struct ring_writer reports;          // to the supervisor [l]
    struct machine machine;              // see there
    struct vcpu vcpu[MACHINE_VCPUS_MAX]; // see there
    struct step step;                    // see there
    uint32_t ones;                       // handle of its pages [c]
    struct control control;              // what control registers may have [c]
    struct load_entry entry;             // where the guest starts [c]
};

// Makes the machine of start, RAM mapped at PROCESS_MEMORY_BASE, with the callbacks below it.
void process_init_machine(struct vmm *vmm);

// Does what machine_unlock returned. `vcpu` is the caller's, or NULL on the I/O thread. Does not
// return when the VM has ended.
void process_do_after(struct vmm *vmm, struct vcpu *vcpu, uint32_t after);

// Feeds typed bytes to COM1. With the lock held.
void process_feed_input(struct vmm *vmm);
