// SPDX-License-Identifier: Apache-2.0
// The system calls: everything that ring 3 can ask of the kernel.
//
// How to call. The kernel maps one page of code, read-only, at ABI_CALL_PAGE into every process.
// `call ABI_CALL_PAGE` with
//     RAX = enum abi_call, arguments in RDI, RSI, R8, R9, R10, R12 in this order
// returns in RAX: a value >= 0 (what the call documents), or the negated enum abi_error. RCX, RDX
// and R11 are lost, everything else is kept. (Which instruction enters the kernel is the
// business of that page: SYSENTER on VT-x, where the VMCS carries its registers, SYSCALL on AMD-V.)
// C programs use lib/syscall.h.
//
// FS's base is ABI_CALL_PAGE whenever a thread starts or goes on: the word at offset 0x28 there
// is a random one of each boot, which is where compilers look for a stack canary. Threads have no
// FPU: its registers hold a guest's, and must not be touched.
//
// Handles. A process names objects by small numbers >= 1 in its own handle table; each handle
// carries rights, and a copy can only have fewer. A handle of an event carries the bits that may be
// signalled by it, too. A call whose handle does not exist or has another type fails with
// ABI_ERROR_HANDLE, one that lacks a right, or a bit of a mask to be signalled, with
// ABI_ERROR_RIGHTS; this is not repeated below. An object lives as long as a handle, a mapping or a
// thread inside the kernel refers to it.
//
// Memory. Whatever the kernel allocates for an object is charged to the quota named at its creation
// (ABI_ERROR_MEMORY when it is used up; nothing was changed then). Sizes and offsets are in bytes
// and multiples of ABI_PAGE. Pointers are addresses of the caller, ABI_ERROR_ADDRESS when not
// readable or writable. Every argument is checked before anything is changed.
//
// Words: "must" that is not met gives ABI_ERROR_ARGUMENT unless another error is named.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION         1u
#define ABI_CONSOLE_MAX     512u // bytes
#define ABI_PORTS_SEND_MAX  16u  // bytes
#define ABI_PAGE            4096u
#define ABI_CALL_PAGE       0x1000u // the page of code that enters the kernel
#define ABI_START_ADDRESS   0x2000u // a start page, read-only: include/start.h has the supervisor's
#define ABI_START_PAGES     3u
#define ABI_USER_BASE       0x10000u          // mappings of processes lie from here
#define ABI_USER_END        0x7fffffff0000ULL // to here
#define ABI_SMALL_PAGES_MAX 0x4000000u        // the largest mapping by small pages: ABI_PROCESS_MAP
#define ABI_FOREVER         UINT64_MAX        // a deadline that never comes
#define ABI_CPU_ANY         UINT32_MAX        // the kernel chooses
#define ABI_CPUS_MAX        1024u

enum abi_error {
    ABI_OK = 0,
    ABI_ERROR_HANDLE = 1,       // no such handle, or one of another type
    ABI_ERROR_RIGHTS = 2,       // the handle lacks a right
    ABI_ERROR_ARGUMENT = 3,     // a value that is never valid here
    ABI_ERROR_MEMORY = 4,       // the quota or the machine has not enough memory
    ABI_ERROR_ADDRESS = 5,      // a pointer that the caller may not use so
    ABI_ERROR_EXISTS = 6,       // the range or number is taken
    ABI_ERROR_AGAIN = 7,        // not now: full, empty, busy
    ABI_ERROR_TIMEOUT = 8,      // the deadline came first
    ABI_ERROR_CLOSED = 9,       // the other side is gone
    ABI_ERROR_UNSUPPORTED = 10, // this machine lacks the feature
    ABI_ERROR_CALL = 11,        // no such call
};

enum abi_rights {
    ABI_RIGHT_READ = 1u << 0,    // memory: map readable; ports: read; others: query state
    ABI_RIGHT_WRITE = 1u << 1,   // memory: map writable; ports: write; others: change state
    ABI_RIGHT_EXECUTE = 1u << 2, // memory: map executable
    ABI_RIGHT_SIGNAL = 1u << 3,  // event: signal
    ABI_RIGHT_WAIT = 1u << 4,    // event: wait
    ABI_RIGHT_CREATE = 1u << 5,  // quota: charge to it; process: threads; vm: vcpus
    ABI_RIGHT_MANAGE = 1u << 6,  // process: map, give handles, kill; vm: map, configure
    ABI_RIGHT_RUN = 1u << 7,     // vcpu: run it
    ABI_RIGHT_COPY = 1u << 8,    // any: make copies of the handle
    ABI_RIGHTS_ALL = 0x1ff,
};

// What each call does, needs and returns stands in include/calls.h.
enum abi_call {
#define CALL(number, NAME, name, ...)     ABI_##NAME = (number),
#define HOT_CALL(number, NAME, name, ...) ABI_##NAME = (number),
#include "include/calls.h"
    ABI_CALL_COUNT
};

#define ABI_CPUID_MAX     80u
#define ABI_HOME_MAX      32u // with the end
#define ABI_DOORBELLS_MAX 64u

// Of an interrupt's line, as I/O APICs have it; else by edges, active high.
enum abi_trigger {
    ABI_TRIGGER_LOW = 1u << 13, // active low
    ABI_TRIGGER_LEVEL = 1u << 15,
};

enum abi_power { ABI_POWER_OFF = 0, ABI_POWER_RESET = 1 };

// Physical addresses [base, base+size).
struct abi_range {
    uint64_t base, size;
};

// Where memory is taken from: the first range that has it. The list ends with {0, 0}, all memory.
struct abi_home {
    struct abi_range range[ABI_HOME_MAX];
};

struct abi_quota_info {
    uint64_t limit; // bytes
    uint64_t used;  // bytes, with what was given to quotas made from it
};

enum abi_process_state {
    ABI_PROCESS_RUNNING = 0,
    ABI_PROCESS_EXITED = 1,  // status: as given to ABI_PROCESS_KILL
    ABI_PROCESS_FAULTED = 2, // vector, error, rip, address: the exception that ended it
};

struct abi_process_status {
    uint32_t state; // enum abi_process_state
    uint32_t status;
    uint32_t vector;
    uint32_t error;
    uint64_t rip;
    uint64_t address;
};

enum abi_virtualization { ABI_VIRTUALIZATION_NONE, ABI_VIRTUALIZATION_VTX, ABI_VIRTUALIZATION_SVM };

struct abi_system_info {
    uint32_t version; // ABI_VERSION
    uint32_t cpu_count;
    uint64_t memory_total;  // bytes of RAM the kernel found
    uint64_t memory_free;   // bytes nobody owns
    uint64_t memory_kernel; // bytes the kernel itself holds: image, tables, objects
    uint64_t kernel_entry_tsc;
    uint64_t first_entry_tsc; // when the first guest instruction was about to run; 0: not yet
    uint32_t virtualization;  // enum abi_virtualization
    uint32_t is_tsc_stable;   // one clock on all CPUs, at a rate that never changes
    uint64_t vm_exits;        // of all VMs since boot
};

// The handles with which the supervisor starts, with all rights: include/start.h.
enum abi_start_handle {
    ABI_START_PROCESS = 1, // itself
    ABI_START_QUOTA = 2,   // that holds all free memory
    ABI_START_SYSTEM = 3,  // the machine
    ABI_START_GROUP = 4,   // its own
    ABI_START_MODULE = 5,  // memory of the first boot module; the others' follow
};

// ---- scheduling ---------------------------------------------------------------------------------

#define ABI_WEIGHT_DEFAULT 100u
#define ABI_WEIGHT_MAX     10000u
#define ABI_CAP_MAX        102400u // percent: 1,024 CPUs
#define ABI_EXIT_REASONS   80u

// How the threads of a group are scheduled. Three classes: a *dedicated* thread stays on its CPU,
// from which whoever makes groups keeps the others; a *real-time* one runs for `budget` ticks in
// each `period`, before all others, earliest deadline first; the rest are *shared*: among them CPU
// time is divided by the weight of their groups. What fits beside what, the kernel does not ask.
struct abi_group {
    uint32_t weight; // 1 to ABI_WEIGHT_MAX, of all its shared threads together
    uint32_t cap;    // percent of one CPU that its shared threads may use together;
                     // 0: no cap; at most ABI_CAP_MAX
    // Bit mask: where its shared threads may run; at least one that this machine has.
    uint64_t cpus[ABI_CPUS_MAX / 64];
    uint64_t reserved[ABI_CPUS_MAX / 64]; // bit mask: CPUs for its pinned threads, one on each
    uint64_t budget;                      // TSC ticks; 0: its pinned threads are dedicated
    uint64_t period;     // TSC ticks; with budget: its pinned threads are real-time
    uint32_t domain;     // groups of different domains never run on hardware threads of
                         // one core at the same time, and the predictors are
                         // flushed between them. 0: a domain of its own
    uint32_t cache_mask; // ways of the last-level cache that its class of service may fill from
                         // now on (SDM 3B 18.19.4 "Cache Allocation Technology"); 0: of class 0,
                         // which may fill all
    uint32_t cache_class;
    uint32_t zero;
};

// TSC ticks and counts since the process began.
struct abi_usage {
    uint64_t run;       // that its threads ran
    uint64_t wait;      // that they were runnable and another one ran ("steal")
    uint64_t throttled; // of `wait`: because of the cap or a used-up budget
    uint64_t switches;  // how often one of them got a CPU
    uint64_t migrations;
    uint64_t exits;           // VM exits of its vCPUs
    uint64_t own_timer_exits; // of them: by a timer of the kernel's own, not of the guest's
    uint64_t deadline_misses; // real-time: periods whose budget could not be given in time
    // VM exits by reason: SDM 3D Appendix C "VMX Basic Exit Reasons"; of AMD-V, enum svm_exit
    uint64_t exit[ABI_EXIT_REASONS];
};

struct abi_cpu_info {
    uint32_t apic_id;
    uint32_t core;     // number of its physical core: equal for hardware threads of one
    uint32_t runnable; // threads that wait for it or run on it now
    uint64_t idle;     // TSC ticks
    uint64_t run;      // TSC ticks of threads
    uint64_t switches; // from one thread to another
    uint64_t timers;   // interrupts of its timer
    uint64_t mwaits;   // how often it waited by MWAIT
};

// One error that the hardware found in itself, as a bank of a CPU has it.
struct abi_machine_check {
    uint64_t status;  // MCi_STATUS; 0: there is none
    uint64_t address; // MCi_ADDR and MCi_MISC, 0 where the status says that they are not valid
    uint64_t misc;
    uint64_t bank;
};

// ---- the auditor --------------------------------------------------------------------------------

enum abi_audit_error {
    ABI_AUDIT_NONE = 0,
    ABI_AUDIT_TWICE = 1,  // a frame is mapped by somebody beside its owner
    ABI_AUDIT_FREE = 2,   // a frame that is free is still mapped
    ABI_AUDIT_RIGHTS = 3, // a mapping has a right that its owner was not given
    ABI_AUDIT_KERNEL = 4, // a frame of the kernel's, or a table, is mapped outside it
    ABI_AUDIT_TABLE = 5,  // a table is no table's child, or two tables' child
    ABI_AUDIT_QUOTA = 6,  // the sums of a quota and of what is charged to it do not agree
    ABI_AUDIT_LOST = 7,   // frames are neither free nor anybody's
    ABI_AUDIT_DIRTY = 8,  // memory is mapped that was not cleared of its last owner's
};

enum abi_audit_space {    // in whose tables
    ABI_AUDIT_NOBODY = 0, // found by adding up, not in a table
    ABI_AUDIT_VM = 1,
    ABI_AUDIT_PROCESS = 2,
    ABI_AUDIT_HOST = 3, // the kernel's own
};

struct abi_audit {
    uint64_t frames;   // of the machine that have an owner, or are free
    uint64_t mappings; // leaves of tables that were judged
    uint64_t tables;
    uint64_t errors;  // found; the first one is told:
    uint32_t error;   // enum abi_audit_error
    uint32_t space;   // enum abi_audit_space
    uint64_t frame;   // host-physical address; 0: of none in particular
    uint64_t address; // that is mapped to it
};

// ---- CPUID --------------------------------------------------------------------------------------

#define ABI_CPUID_ANY_SUBLEAF UINT32_MAX

struct abi_cpuid {
    uint32_t leaf;
    uint32_t subleaf; // ABI_CPUID_ANY_SUBLEAF: the leaf ignores ECX
    uint32_t eax, ebx, ecx, edx;
};

// ---- vCPUs --------------------------------------------------------------------------------------

enum vcpu_signal {
    VCPU_SIGNAL_KICK = 0,   // leave the guest soon: VCPU_EXIT_KICKED
    VCPU_SIGNAL_EXTINT = 1, // value 1/0: the 8259's INTR line, wired to LINT0
    VCPU_SIGNAL_NMI = 2,
};

enum vcpu_exit {
    VCPU_EXIT_NONE = 0,
    VCPU_EXIT_IO = 1,       // IN, OUT, INS, OUTS: vcpu_page.io
    VCPU_EXIT_MEMORY = 2,   // access to guest-physical memory that is not mapped so: .memory, .walk
    VCPU_EXIT_MSR_READ = 3, // RDMSR of what the kernel does not know: .msr
    VCPU_EXIT_MSR_WRITE = 4, // WRMSR likewise
    VCPU_EXIT_SHUTDOWN = 5,  // triple fault
    VCPU_EXIT_EXTINT = 6,    // the guest can take an ExtINT now: put the 8259's vector into .inject
    VCPU_EXIT_EOI = 7,       // EOI of a level-triggered vector: .vector, for the IOAPIC
    VCPU_EXIT_KICKED = 8,    // VCPU_SIGNAL_KICK
    VCPU_EXIT_FAILED = 9,    // the VM cannot go on: .failure; end it with a dump
    VCPU_EXIT_INIT =
        10, // INIT: its APIC is reset, and but for vCPU 0 it waits for a SIPI; the other
            // registers are the VMM's to reset, as VCPU_STATE_CONTEXT
    VCPU_EXIT_STEPPED = 11,   // what VCPU_DIRTY_STEP asked for
    VCPU_EXIT_HYPERCALL = 12, // VMCALL in any ring and mode: .walk has cpl and code_size
    VCPU_EXIT_TASK_SWITCH =
        13, // a hardware task switch, which the processor checked and did not begin: .task
    VCPU_EXIT_SIPI = 14,    // a SIPI ended the wait: the VMM sets where it starts, the page .vector
    VCPU_EXIT_CONTROL = 15, // an access to CR0, CR4 or CR8 that is not the guest's to do alone:
                            // .control; VCPU_DIRTY_CONTROL lets it be done
    VCPU_EXIT_XSETBV = 16,  // XSETBV in ring 0: the operands are in RCX and RDX:RAX
};

enum vcpu_failure {
    VCPU_FAILURE_UNHANDLED_EXIT = 1, // detail: the exit reason
    VCPU_FAILURE_ENTRY = 2,          // the processor refused the guest's state; detail: why
    VCPU_FAILURE_MEMORY = 5, // the VM's quota has no memory for the tables; detail: the address
};

// vcpu_page.failure_words: what the processor tells of an exit that nobody handles and of an entry
// that it refused, for the VMM's dump. 0 is what its vendor does not know.
enum vcpu_failure_word {
    VCPU_WORD_INFO,    // exit qualification; EXITINFO1
    VCPU_WORD_ADDRESS, // guest-physical address; EXITINFO2
    VCPU_WORD_LINEAR,
    VCPU_WORD_EXIT_EVENT,
    VCPU_WORD_EXIT_ERROR, // as of the entry, on AMD-V in the event's upper half
    VCPU_WORD_VECTORING,
    VCPU_WORD_ENTRY_EVENT,
    VCPU_WORD_ENTRY_ERROR,
    VCPU_WORD_INTERRUPTIBILITY,
    VCPU_WORD_ACTIVITY,
    VCPU_WORD_PIN, // controls; on AMD-V the virtual interrupt's
    VCPU_WORD_PRIMARY,
    VCPU_WORD_SECONDARY,
    VCPU_WORD_ENTRY,
    VCPU_WORD_PENDING, // what the kernel had for the guest
    VCPU_WORD_COUNT
};

// vcpu_page.dirty: what the VMM changed since the exit and the kernel has to take.
enum vcpu_dirty {
    VCPU_DIRTY_RIP = 1u << 0, // also ends blocking by STI and MOV SS: the instruction is done
    VCPU_DIRTY_RSP = 1u << 1,
    VCPU_DIRTY_RFLAGS = 1u << 2,
    VCPU_DIRTY_INJECT = 1u << 3,
    // Leave the guest behind its next instruction, an event that is delivered in its place, or when
    // it has to wait. Other exits may come first; the request holds until VCPU_EXIT_STEPPED, of
    // which one more may come. ABI_VCPU_RUN returns UNSUPPORTED, and the guest did not run, where
    // the processor cannot.
    VCPU_DIRTY_STEP = 1u << 4,
    // The write of vcpu_page.control is good. is_repeated: the guest does it again, and then reads
    // back that value; of bits that are not its own it is all that changes. Else it is done now.
    VCPU_DIRTY_CONTROL = 1u << 5,
};

enum vcpu_inject_type {
    VCPU_INJECT_EXTINT = 0, // an external interrupt: .vector
    VCPU_INJECT_EXCEPTION = 3,
};

struct vcpu_inject {
    uint8_t vector;
    uint8_t type; // enum vcpu_inject_type; in vcpu_registers also 2 (NMI), 4, 5, 6 (software)
    uint8_t has_error;
    uint8_t length; // types 4, 5, 6: of the instruction
    uint32_t error;
    uint64_t cr2; // for #PF
};

enum vcpu_task_source {
    VCPU_TASK_CALL = 0,
    VCPU_TASK_IRET = 1,
    VCPU_TASK_JUMP = 2,
    VCPU_TASK_GATE = 3, // a task gate in the IDT
};

struct vcpu_exit_task {
    uint16_t selector; // of the new task's TSS
    uint8_t source;    // enum vcpu_task_source
    uint8_t has_event; // by the gate: what was being delivered, and is queued again, stands in
    struct vcpu_inject event; // .event, with its error code
};

// VT-x names the value and repeats the instruction (is_known, is_repeated). AMD-V does not repeat
// it: the VMM steps over it when it gives VCPU_DIRTY_CONTROL; and where the processor has no decode
// assists, all is_known tells is the register: the VMM decodes at RIP what is done with it.
struct vcpu_exit_control {
    uint64_t value;      // what shall stand in the register
    uint32_t number;     // 0: CR0, 4: CR4, 8: CR8
    uint8_t is_known;    // a MOV to it, of `value`; else .walk is filled
    uint8_t is_repeated; // by the guest, once VCPU_DIRTY_CONTROL is given
    uint8_t reserved[2];
};

struct vcpu_exit_io {
    uint16_t port;
    uint8_t size;        // 1, 2, 4
    uint8_t is_in;       // 1: IN or INS
    uint8_t is_string;   // 1: INS or OUTS: more of it stands at RIP, and .walk is filled
    uint8_t is_repeated; // REP prefix
};

enum vcpu_access {
    VCPU_ACCESS_READ = 1u << 0,
    VCPU_ACCESS_WRITE = 1u << 1,
    VCPU_ACCESS_FETCH = 1u << 2,
};

struct vcpu_exit_memory {
    uint64_t gpa;
    uint64_t gva;    // valid when has_gva
    uint32_t access; // enum vcpu_access
    uint8_t has_gva;
    uint8_t is_walk; // the access was to the guest's own page tables
    // No instruction made it: an interrupt or exception was on its way in, and is again.
    uint8_t is_delivery;
    uint8_t reserved;
};

struct vcpu_segment {
    uint16_t selector;
    uint16_t attributes; // SDM 3C 25.4.1 "Guest Register State", low 16 bits of the access rights
    uint32_t limit;
    uint64_t base;
    // and VCPU_SEGMENT_UNUSABLE, which stands in a bit that is reserved there
};

#define VCPU_SEGMENT_UNUSABLE 0x0100u // the VMCS's bit 16

// What a walk of the guest's page tables and the decoding of its instruction need. Valid after
// VCPU_EXIT_MEMORY, string VCPU_EXIT_IO and VCPU_EXIT_HYPERCALL.
struct vcpu_walk {
    uint64_t cr0, cr3, cr4, efer;
    struct vcpu_segment segment[6]; // ES CS SS DS FS GS; if code_size is 8, only FS's and GS's base
    uint8_t cpl;
    uint8_t code_size; // 2, 4, 8: default operand and address size
    uint8_t reserved[6];
};

// One page shared by the kernel and the VMM. The guest's general registers always live here; RIP,
// RSP and RFLAGS are valid after every exit and taken when their dirty bit is set. The VMM may
// write whatever it likes: the kernel treats all of it as the guest's.
struct vcpu_page {
    uint64_t gpr[16]; // RAX RCX RDX RBX RSP RBP RSI RDI R8..R15
    uint64_t rip;
    uint64_t rflags;
    uint32_t dirty;              // enum vcpu_dirty; the kernel clears it
    uint32_t exit;               // enum vcpu_exit
    uint32_t instruction_length; // of what exited, where an instruction did; 0 after MEMORY
    uint32_t vector;             // EOI, SIPI
    struct vcpu_inject inject;
    struct vcpu_exit_io io;
    struct vcpu_exit_memory memory;
    struct vcpu_walk walk;
    uint32_t msr;     // MSR_READ, MSR_WRITE: the index; the value is in RDX:RAX
    uint32_t failure; // enum vcpu_failure
    uint64_t failure_detail;
    uint64_t failure_words[VCPU_WORD_COUNT];
    struct vcpu_exit_task task;
    struct vcpu_exit_control control;
};

_Static_assert(offsetof(struct vcpu_page, rip) == 128, "assembly relies on it");
_Static_assert(sizeof(struct vcpu_page) <= ABI_PAGE, "one page");

enum vcpu_state_group {
    VCPU_STATE_REGISTERS = 0, // struct vcpu_registers
    VCPU_STATE_APIC = 1,      // struct vcpu_apic
    VCPU_STATE_FPU = 2,       // the XSAVE area (standard format), ABI_XSAVE_SIZE bytes
    VCPU_STATE_CONTEXT =
        3, // as REGISTERS; but events, activity and APIC are not written, since they may
           // have gone on after they were read
};

#define ABI_XSAVE_SIZE 4096u

// What has arrived and the guest (or its VMM, of EOI) has not seen yet.
enum vcpu_event {
    VCPU_EVENT_NMI = 1u << 0,
    VCPU_EVENT_INIT = 1u << 1,
    VCPU_EVENT_SIPI = 1u << 2,
    VCPU_EVENT_EOI = 1u << 3,
    VCPU_EVENT_NMI_AGAIN = 1u << 4, // a second one behind VCPU_EVENT_NMI
};

enum vcpu_activity { VCPU_ACTIVE = 0, VCPU_HALTED = 1, VCPU_WAIT_SIPI = 3 };

struct vcpu_registers {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t dr[4], dr6, dr7;
    struct vcpu_segment es, cs, ss, ds, fs, gs, ldtr, tr;
    struct vcpu_segment gdtr, idtr; // base and limit only
    uint64_t efer, pat;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t debugctl;      // IA32_DEBUGCTL
    uint64_t pending_debug; // SDM 3C 25.4.2 "Guest Non-Register State", pending debug exceptions
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pdpte[4]; // what the processor loaded from CR3; PAE paging outside long mode only
    uint64_t xcr0;
    uint64_t spec_ctrl; // IA32_SPEC_CTRL
    // Bits that the guest changes by itself; changes of others leave to the VMM. The kernel takes
    // those away that no guest may have.
    uint64_t cr0_own, cr4_own;
    uint64_t spec_ctrl_own; // bits of IA32_SPEC_CTRL that it may set; 0: it has no such register
    uint64_t tsc,
        tsc_clock; // the guest's TSC, when the VM's clock (the host's TSC at its rate) was this
    uint64_t tsc_adjust, tsc_deadline;
    uint64_t apic_base;
    uint64_t pvtime_steal;      // where steal time is told, bit 0: it is (MSR_KVM_STEAL_TIME)
    uint32_t activity;          // enum vcpu_activity
    uint32_t interruptibility;  // SDM 3C 25.4.2 "Guest Non-Register State"
    struct vcpu_inject pending; // an event that was on its way in
    uint32_t has_pending;
    uint32_t is_extint_high;
    uint32_t events;     // enum vcpu_event
    uint8_t sipi_vector; // with VCPU_EVENT_SIPI
    uint8_t eoi_vector;  // with VCPU_EVENT_EOI
    uint8_t reserved[2];
};

// The local APIC as a register page (offset / 16 -> 32 bits), with the timer's remaining ticks.
struct vcpu_apic {
    uint32_t version;     // 1
    uint32_t esr_pending; // errors since the guest last wrote ESR
    uint32_t reg[64];
    uint64_t timer_remaining; // APIC timer ticks until it fires, 0: stopped
};
