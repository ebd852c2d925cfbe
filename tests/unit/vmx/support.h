// SPDX-License-Identifier: Apache-2.0
// The processor of paper under unit-vmx: its registers, MSRs and VMCS, and in which order they were
// used.
#pragma once

#include "tests/unit/vmx/host.h"

#include "kernel/vm.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/registers.h"
#include "vmx/vmx.h"

#include <setjmp.h>

// What was done to the processor, in order.
enum paper_step {
    STEP_VMCLEAR = 1,
    STEP_VMPTRLD,
    STEP_XSAVE,
    STEP_XRSTOR,
    STEP_INVVPID,
    STEP_INVEPT,
    STEP_CLTS,
    STEP_NMI,
    STEP_ENTRY,
    STEP_VERW,
    STEP_HISTORY,
};
#define PAPER_STEPS 64u

struct paper {
    uint64_t vmcs[0x8000];
    bool (*has_field)(uint32_t field); // of the VMCS; NULL: all
    uint64_t reg[PAPER_REGISTERS];
    uint64_t msr[64];       // by paper_msr
    unsigned msr_writes;    // WRMSR
    unsigned vmcs_accesses; // VMREAD, VMWRITE
    uint64_t xcr0;
    uint64_t current_vmcs;
    uint8_t fpu[ABI_XSAVE_SIZE]; // what XRSTOR brought
    uint64_t fpu_mask;           // of the last XSAVE or XRSTOR
    uint64_t fpu_xcr0;           // XCR0 at that time
    uint64_t invalidated_type;
    struct vmx_invalidation invalidated;
    bool fails_to_invalidate;
    enum paper_step steps[PAPER_STEPS];
    unsigned step_count;
    unsigned entries;
    uint32_t reasons[4]; // of the exits, in turn
    void (*on_entry)(void);
    uint64_t tsc;
    // What the backend asked the kernel for.
    struct {
        unsigned vector;
        bool has_vector;
        enum vcpu_failure failure;
        uint64_t detail;
        unsigned interrupt;
        unsigned interrupts;
        uint32_t machine_checks; // that were handled
        uint32_t ended;          // vector that ended the thread's process; 0: none
    } seen;
    bool uses_broken_memory; // what a machine check tells of the guest
    jmp_buf *on_panic;
    unsigned panics;
};
extern struct paper paper;
extern struct cpu paper_cpus[2];
extern unsigned paper_cpu; // which of them this code runs on
extern struct vm paper_vm;
extern struct vcpu paper_vcpu;
extern struct vcpu_page paper_page;

uint64_t *paper_msr(uint32_t msr);
// A vCPU that vmx_vcpu_create made, on a processor with everything.
void paper_set_up(void);
// Has the backend fill two pages of zeroes: the vCPU's own, or those of any other.
void paper_make(struct vcpu *vcpu);
// The same, loaded.
void paper_set_up_loaded(void);
struct vmx_vcpu *paper_x(void);
// Whether the step was done, and behind which number of steps.
bool paper_did(enum paper_step step, unsigned *when);

// Whether `run` ended in a panic.
#define PANICS(run)                                                                                \
    ({                                                                                             \
        jmp_buf buffer;                                                                            \
        paper.on_panic = &buffer;                                                                  \
        unsigned before = paper.panics;                                                            \
        if (setjmp(buffer) == 0)                                                                   \
            (void)(run);                                                                           \
        paper.on_panic = NULL;                                                                     \
        paper.panics != before;                                                                    \
    })
