// SPDX-License-Identifier: Apache-2.0
// The processor of paper under unit-svm. It has VMRUN's rules: what it is given is checked at each
// entry, in all tests.
//
//   - GIF is 0, and VMLOAD brought this VMCB's hidden state
//   - the state is one that APM 2 15.5.1 lets in, and none of the host's bits is the guest's
//   - what the clean bits call unchanged is unchanged: APM 2 15.15.3 "VMCB Clean Field"
//   - no translation that another vCPU, or this one before a flush, has left can be used
//
// And at STGI the host's hidden state is back.
#pragma once

#include "tests/unit/svm/host.h"

#include "arch/paging.h"
#include "kernel/vm.h"
#include "svm/exit.h"
#include "svm/svm.h"

// Exit codes, by their numbers in the manual.
enum paper_code {
    CODE_READ_CR0 = 0x000,
    CODE_WRITE_CR0 = 0x010,
    CODE_DB = 0x041,
    CODE_BP = 0x043,
    CODE_UD = 0x046,
    CODE_GP = 0x04d,
    CODE_PF = 0x04e,
    CODE_AC = 0x051,
    CODE_MC = 0x052,
    CODE_INTR = 0x060,
    CODE_NMI = 0x061,
    CODE_VINTR = 0x064,
    CODE_CR0_SEL_WRITE = 0x065,
    CODE_CPUID = 0x072,
    CODE_IRET = 0x074,
    CODE_PAUSE = 0x077,
    CODE_HLT = 0x078,
    CODE_IOIO = 0x07b,
    CODE_MSR = 0x07c,
    CODE_TASK_SWITCH = 0x07d,
    CODE_SHUTDOWN = 0x07f,
    CODE_VMMCALL = 0x081,
    CODE_XSETBV = 0x08d,
    CODE_NPF = 0x400,
};

// An exit that is to come. `length` of the instruction: NRIP, and IOIO's EXITINFO2, are made of it.
struct paper_exit {
    uint64_t code, info_1, info_2, int_info;
    uint32_t length;
    void (*guest)(void); // what the guest does before
};

// What was done to the processor, in order.
enum paper_step {
    STEP_CLGI = 1,
    STEP_STGI,
    STEP_VMLOAD_GUEST,
    STEP_VMLOAD_HOST,
    STEP_VMSAVE,
    STEP_ENTRY,
    STEP_OPEN, // interrupts of the host
    STEP_VERW,
    STEP_XSAVE,
    STEP_XRSTOR,
};
#define PAPER_STEPS 512u
#define PAPER_ASIDS 256u

struct paper {
    uint64_t reg[PAPER_REGISTERS];
    uint64_t msr[64];    // by paper_msr
    unsigned msr_writes; // WRMSR
    uint64_t xcr0;
    uint8_t fpu[ABI_XSAVE_SIZE];
    bool is_gif;
    hpa_t hidden_of;    // whose FS, GS, TR, LDTR and MSRs of system calls are loaded
    struct vmcb hidden; // these members of it
    enum paper_step steps[PAPER_STEPS];
    unsigned step_count;
    struct paper_exit exits[8]; // in turn
    unsigned entries;
    struct vmcb entered;   // as it stood at the last entry
    struct vmcb cached[2]; // by CPU: what it knows of cached_of
    const struct vmcb *cached_of[2];
    const void *translations[2][PAPER_ASIDS]; // by CPU and ASID: whose
    unsigned flushes;                         // of all, by an entry
    bool checks_nothing;                      // the state is not to be entered
    uint64_t tsc;
    // What the kernel of paper answers.
    uint8_t cr8;
    uint32_t held_class;
    enum space_fault fault;
    bool has_doorbell;
    enum msr_result msr_result;
    uint64_t msr_value;
    uint32_t cpuid_rdtscp, cpuid_invpcid; // the VM's
    // What the backend asked it for.
    struct {
        bool has_vector;
        unsigned vector;
        enum vcpu_failure failure;
        uint64_t detail;
        uint32_t access;
        uint64_t gpa;
        uint32_t msr;
        uint64_t written;
        unsigned pages, opened, wakes;
        uint32_t machine_checks; // that were handled
        uint32_t ended;          // vector that ended the thread's process; 0: none
    } seen;
    bool uses_broken_memory; // what a machine check tells of the guest
};
extern struct paper paper;
extern struct cpu paper_cpus[2];
extern unsigned paper_cpu; // which of them this code runs on
extern struct vm paper_vm;
extern struct vcpu paper_vcpu;
extern struct vcpu_page paper_page;

uint64_t *paper_msr(uint32_t msr);
// A processor with everything, both CPUs initialized, and a vCPU of 64-bit code at 0x1000, loaded.
void paper_set_up(void);
// Has the backend fill two fresh pages of zeroes, which stay until the next set-up.
void paper_make(struct vcpu *vcpu);
struct vcpu_registers paper_registers(void); // its registers
struct svm_vcpu *paper_x(void);
struct vmcb *paper_vmcb(void);
// Enters, and demands that the host's state is back.
enum exit_action paper_enter(void);
// Enters for this exit alone.
enum exit_action paper_run(struct paper_exit exit);
// Whether the step was done, and behind which number of steps.
bool paper_did(enum paper_step step, unsigned *when);
// The vCPU, to another CPU.
void paper_move(unsigned cpu);
