// SPDX-License-Identifier: Apache-2.0
// A virtual CPU. The life of one is the loop in vcpu_run (kernel/vcpu.c): take over what the VMM
// changed; consume the pending bits; enter the guest, which is a function that returns; handle the
// exit, which says what happens next.
//
// One way in: whoever wants something of a vCPU sets a bit in `pending` and kicks it. Only vcpu_run
// consumes the bits, last thing before entry.
//
// Ownership: [o] fields belong to the owner thread (the one that calls vcpu_run), [a] are atomic, [c]
// constant after creation.
#pragma once

#include "arch/cpu.h"
#include "include/abi.h"
#include "kernel/object.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"

struct quota;
struct thread;
struct vm;

enum vcpu_pending {
    VCPU_PENDING_KICK = 1u << 0,      // leave to the VMM
    VCPU_PENDING_INTERRUPT = 1u << 1, // look at the local APIC again
    VCPU_PENDING_EXTINT = 1u << 2,    // the 8259's line may have changed
    VCPU_PENDING_NMI = 1u << 3,
    VCPU_PENDING_INIT = 1u << 4,
    VCPU_PENDING_SIPI = 1u << 5, // vector in vcpu->sipi_vector
    VCPU_PENDING_EOI = 1u << 6,  // tell the VMM of vcpu->page->eoi_vector
};

// What happens after an exit was handled. Only vcpu_run acts on it.
enum exit_action {
    EXIT_RETRY,   // enter again at the same instruction
    EXIT_ADVANCE, // the instruction is done: step over it, enter again
    EXIT_VMM,     // page->exit is filled: return to the VMM
    EXIT_BLOCK,   // HLT is done: step over it, wait until something is pending
    EXIT_YIELD,   // let another thread of this CPU run, then enter again
    EXIT_KILL,    // page->failure is filled: the VM cannot go on
};

struct vcpu {
    struct object object;
    struct vm *vm;          // referenced [c]
    struct vcpu_page *page; // kernel address [c]; all in it is the guest's or the VMM's to garble
    uint32_t index;         // = initial APIC ID [c]
    uint32_t activity;      // enum vcpu_activity [o]
    uint32_t pending;       // enum vcpu_pending [a]
    uint32_t is_running;    // owner thread is inside vcpu_run [a]
    struct thread *owner;   // first caller of vcpu_run [a]
    struct cpu *cpu;        // where it runs or last ran [a]: who to kick
    uint32_t is_in_guest;   // between the last look at `pending` and the exit [a]
    uint32_t sipi_vector;
    uint32_t is_extint_high; // level of the 8259's INTR line [a]
    struct vlapic vlapic;
    // Guest state that the processor holds while the vCPU is loaded on a CPU, and these while not [o]
    uint64_t cr2, dr[4], dr6;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t xcr0;
    uint64_t tsc_offset; // guest TSC = host TSC + offset [o]
    uint64_t tsc_adjust;
    uint64_t npt_generation_seen; // of vm->npt_generation [o]
    struct cpu *npt_cpu_seen;     // on which CPU [o]
    void *xsave;                  // one page, standard format [c]
    void *backend;                // vmx/ or svm/: its own page(s) [c]
    struct cpu *loaded_on;        // NULL: nowhere [o]
};

// What vmx/ and svm/ provide. All run on the vCPU's owner thread with interrupts off, and on the CPU
// where the vCPU is loaded, unless said otherwise.
struct vcpu_backend {
    const char *name;
    const struct pt_format *npt_format;

    // Boot. Once on the boot CPU: false and one line said when this machine cannot (the reason is
    // named, with what to change in the firmware).
    bool (*probe)(void);
    // On every CPU: VMXON. False: named, and this CPU cannot run guests.
    bool (*cpu_init)(struct cpu *cpu);

    // Any thread: backend memory from the VM's quota. 0 or an enum abi_error.
    int (*vm_create)(struct vm *vm);
    void (*vm_destroy)(struct vm *vm);
    int (*vcpu_create)(struct vcpu *vcpu); // leaves it in reset state (SDM 3A 10.1.1)
    void (*vcpu_destroy)(struct vcpu *vcpu);

    // Makes the VMCS current and loads what vCPUs share with nothing else; and the reverse, which
    // leaves all state in memory.
    void (*load)(struct vcpu *vcpu);
    void (*unload)(struct vcpu *vcpu);

    // Enters the guest and returns after the exit, with page->gpr, rip, rsp (gpr[4]) and rflags
    // filled. The caller has consumed all pending bits.
    void (*enter)(struct vcpu *vcpu);
    enum exit_action (*handle_exit)(struct vcpu *vcpu);

    void (*advance)(struct vcpu *vcpu); // step over the instruction that exited
    // Takes page->rip, rsp, rflags over, as `dirty` (enum vcpu_dirty) says.
    void (*sync_registers)(struct vcpu *vcpu, uint32_t dirty);
    // True when an external interrupt (NMI) could be delivered now; when not, asks for an exit as
    // soon as it can.
    bool (*can_take_interrupt)(struct vcpu *vcpu);
    bool (*can_take_nmi)(struct vcpu *vcpu);
    void (*inject_interrupt)(struct vcpu *vcpu, uint8_t vector);
    void (*inject_nmi)(struct vcpu *vcpu);
    // #UD, #GP, #PF, ... for the instruction that exited or by order of the VMM.
    void (*inject_exception)(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);
    // The VM's mappings shrank, or the vCPU came to a CPU that may remember older ones.
    void (*flush_npt)(struct vcpu *vcpu);
    void (*set_tsc_offset)(struct vcpu *vcpu);
    void (*init_reset)(struct vcpu *vcpu); // INIT: reset state but for what INIT keeps
    void (*start_up)(struct vcpu *vcpu, uint8_t sipi_vector);

    // Whole state, for vcpu_read and vcpu_write: the fields that the backend holds. write returns 0
    // or ABI_ERROR_ARGUMENT, then nothing changed.
    void (*read_registers)(struct vcpu *vcpu, struct vcpu_registers *registers);
    int (*write_registers)(struct vcpu *vcpu, const struct vcpu_registers *registers);
};

extern const struct vcpu_backend *vcpu_backend; // NULL: this machine has none; set once at boot
extern const struct vcpu_backend vmx_backend;

// Called by exits.
// Ends the VM from the kernel's side: fills page->failure and returns EXIT_KILL.
enum exit_action vcpu_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail);
// Queues an exception for the guest and returns EXIT_RETRY.
enum exit_action vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error,
                                       uint32_t error);
// CPUID for the guest: reads EAX and ECX of page->gpr, fills the four registers, EXIT_ADVANCE.
enum exit_action vcpu_emulate_cpuid(struct vcpu *vcpu, uint64_t guest_cr4);
// The MSRs that neutral code answers: TSC and its kin, the local APIC. True: done (the value read is
// in *value); false: not known here.
enum msr_result { MSR_DONE, MSR_FAULT /* #GP */, MSR_UNKNOWN };
enum msr_result vcpu_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);

// Any CPU, any context without locks above LOCK_VCPU: sets the bits and makes the vCPU look at them,
// wherever it is.
void vcpu_post(struct vcpu *vcpu, uint32_t bits);
