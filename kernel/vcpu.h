// SPDX-License-Identifier: Apache-2.0
// A virtual CPU. The life of one is vcpu_run (kernel/vcpu.c): take what the VMM changed, then a
// loop: take the pending bits, and enter the guest. Entering is a function that returns, with what
// happens next. The backend's own loop inside it handles the exits, and enters again while nothing
// is pending.
//
// One way in: whoever wants something of a vCPU sets a bit in `pending` and kicks it. Only vcpu_run
// takes the bits, last thing before entry.
//
// Ownership: [o] fields belong to the owner thread (the one that calls vcpu_run), [a] are atomic,
// [c] constant after creation.
#pragma once

#include "arch/cpu.h"
#include "include/abi.h"
#include "kernel/lock.h"
#include "kernel/object.h"
#include "kernel/pvtime.h"
#include "kernel/timer.h"
#include "kernel/vlapic.h"

enum vcpu_pending {
    VCPU_PENDING_KICK = 1u << 0,      // leave to the VMM
    VCPU_PENDING_INTERRUPT = 1u << 1, // look at the local APIC again
    VCPU_PENDING_EXTINT = 1u << 2,    // the 8259's line may have changed
    VCPU_PENDING_NMI = 1u << 3,       // look at vcpu->nmi_count
    VCPU_PENDING_INIT = 1u << 4,
    VCPU_PENDING_SIPI = 1u << 5,     // vector in vcpu->sipi_vector
    VCPU_PENDING_EOI = 1u << 6,      // tell the VMM of vcpu->vlapic.eoi_vector
    VCPU_PENDING_SHUTDOWN = 1u << 7, // an exception that was to go in made a triple fault
    VCPU_PENDING_LOOKS = VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT | VCPU_PENDING_NMI,
};

// Indices into vcpu_page.gpr.
enum gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI };

// What happens after an exit was handled. EXIT_ADVANCE is between the backend's handlers and the
// one place in the backend that moves RIP: vcpu_run never sees it.
enum exit_action {
    EXIT_RETRY,   // enter again
    EXIT_ADVANCE, // the instruction is done: step over it, enter again
    EXIT_VMM,     // page->exit is filled: return to the VMM
    EXIT_BLOCK,   // HLT is done and stepped over: wait until something is pending
    EXIT_YIELD,   // let another thread of this CPU run, then enter again
    EXIT_FAIL,    // page->failure is filled: the VM cannot go on
};

enum nmi_gate {
    NMI_OPEN,
    NMI_SHUT,       // by something else than the next:
    NMI_IN_SERVICE, // one is injected, or not yet at its IRET
};

struct vcpu {
    struct object object;
    struct vm *vm;          // referenced [c]
    struct vcpu_page *page; // kernel address [c]; all in it is the guest's or the VMM's to garble
    uint32_t index;         // = initial APIC ID [c]
    uint32_t activity;      // enum vcpu_activity [o]
    uint32_t pending;       // enum vcpu_pending [a]
    uint32_t is_claimed;    // somebody is inside vcpu_run, vcpu_read or vcpu_write [a]
    uint32_t is_running;    // owner thread looks at `pending` by itself, or by an interrupt [a]
    bool is_stepping;       // VCPU_DIRTY_STEP is not done yet [o]
    struct spinlock lock;   // rank LOCK_VCPU: keeps `owner` alive while it is woken
    struct thread *owner;   // first caller of vcpu_run, written with the lock [a]
    struct cpu *cpu;        // where it runs or last ran [a]: who to kick
    uint32_t sipi_vector;
    uint32_t nmi_count;      // arrived and not injected [a]
    uint32_t is_extint_high; // level of the 8259's INTR line [a]
    struct vlapic vlapic;
    struct pvtime pvtime; // [o]
    // Guest state that the processor holds while the vCPU is loaded on a CPU, and these while not
    // [o]. AMD-V has DR6 and STAR to KERNEL_GS_BASE in the VMCB all the time.
    uint64_t cr2, dr[4], dr6;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    uint64_t xcr0;
    uint64_t tsc_offset; // guest TSC = the VM's clock (kernel/vmtime.h) + offset [o]
    uint64_t tsc_adjust;
    uint64_t space_generation_seen;   // of vm->space.generation [o]
    struct cpu *space_cpu_seen;       // on which CPU [o]
    void *xsave;                      // one page, standard format [c]
    void *backend;                    // one page of vmx/'s or svm/'s own [c]
    void *control;                    // one page that the processor reads: VMCS or VMCB [c]
    struct cpu *loaded_on;            // NULL: nowhere [o]
    uint64_t own_timer_exits;         // exits by a timer of the kernel's own [o]
    uint64_t exits[ABI_EXIT_REASONS]; // by reason [o]
};

// What vmx/ and svm/ provide. All run with interrupts off, and on the CPU where the vCPU is loaded
// (vcpu->loaded_on), unless said otherwise.
struct vcpu_backend {
    const char *name;
    enum abi_virtualization kind;
    const struct pt_format *space_format;

    // Boot. Once on the boot CPU, where the boot application refused nothing.
    void (*init)(void);
    // On every CPU: VMXON. NULL, or why this CPU cannot run guests.
    const char *(*cpu_init)(struct cpu *cpu);

    // Any thread, after vm->cpuid. Fills vcpu->backend and control, two pages of zeroes, with a
    // state of zeroes, which no processor enters. Nothing of it needs an end of its own.
    void (*vcpu_create)(struct vcpu *vcpu);

    // Makes the VMCS current, loads what vCPUs share with nothing else (FPU, debug registers,
    // system-call MSRs), and takes from the CPU and the calling thread what an exit restores: so
    // on the owner thread, with its address space active. unload is the reverse, on any thread of
    // that CPU; it leaves all state in memory. Neither touches vcpu->loaded_on or cpu->loaded_vcpu.
    void (*load)(struct vcpu *vcpu);
    void (*unload)(struct vcpu *vcpu);
    // With no vCPU loaded, after each load once: nothing of the last one stays in the processor
    // that ring 3 of another domain can read: its TSC_AUX, by RDTSCP and RDPID; its FPU, by
    // speculation, although CR0.TS is set (CVE-2018-3665).
    void (*forget)(void);

    // Owner thread. Enters the guest, handles the exit and says what happens next; may enter again
    // by itself as long as nothing is pending for the vCPU or for this CPU, so that EXIT_RETRY
    // means to look at both. The caller has taken all pending bits. Afterwards page->gpr holds the
    // guest's general registers but for RSP; RIP, RSP, RFLAGS and CR2 are still in the processor
    // until `leave`, which lets a hot exit go without them.
    enum exit_action (*enter)(struct vcpu *vcpu);
    // Owner thread. Fills page->rip, gpr[4] (RSP), rflags and vcpu->cr2. Before the thread lets
    // another one run or returns to its VMM, so after each `enter` that is not followed by the next
    // one at once. Calling it again changes nothing.
    void (*leave)(struct vcpu *vcpu);
    // Takes page->rip, rsp, rflags and control over, as `dirty` (enum vcpu_dirty) says.
    void (*sync_registers)(struct vcpu *vcpu, uint32_t dirty);
    // Has VCPU_EXIT_STEPPED follow the next instruction or event; its exit clears
    // vcpu->is_stepping. False: this processor cannot.
    bool (*step)(struct vcpu *vcpu);
    // True (NMI_OPEN) when an external interrupt (NMI) could be delivered now; when not, asks for
    // an exit as soon as it can, whose handler sets VCPU_PENDING_INTERRUPT, EXTINT or NMI in
    // vcpu->pending.
    bool (*can_take_interrupt)(struct vcpu *vcpu);
    enum nmi_gate (*can_take_nmi)(struct vcpu *vcpu);
    void (*inject_interrupt)(struct vcpu *vcpu, uint8_t vector);
    void (*inject_nmi)(struct vcpu *vcpu);
    // Tells the processor how vcpu->vlapic stands, where it does a part of its work
    // (vlapic->abilities).
    void (*sync_apic)(struct vcpu *vcpu);
    // #UD, #GP, #PF, ... for the instruction that exited or by order of the VMM. Whether it has an
    // error code is taken from the vector, as hardware would; `error` is 0 where nobody gave one.
    // For #PF set vcpu->cr2 first, after `leave`. A triple fault is VCPU_PENDING_SHUTDOWN.
    void (*inject_exception)(struct vcpu *vcpu, uint8_t vector, uint32_t error);
    // The VM's mappings shrank, or the vCPU came to a CPU that may remember older ones (the first
    // time a vCPU comes to a CPU included). Flushes this CPU.
    void (*flush_space)(struct vcpu *vcpu);
    uint64_t (*get_cr4)(const struct vcpu *vcpu); // as the guest sees it

    // Whole state, of a vCPU that is loaded nowhere: the members that the backend holds, which are
    // those that are not in struct vcpu. write takes vcpu->tsc_offset, too, and whatever there is:
    // a state that no processor has fails at the next entry.
    void (*read_registers)(struct vcpu *vcpu, struct vcpu_registers *registers);
    void (*write_registers)(struct vcpu *vcpu, const struct vcpu_registers *registers);
};

extern const struct vcpu_backend *vcpu_backend; // NULL: this machine has none; set once at boot
extern const struct vcpu_backend vmx_backend, svm_backend;

// For the backend's loop: one of them is to be looked at before the guest runs on.
static inline bool vcpu_has_work(const struct vcpu *vcpu, const struct cpu *cpu) {
    return (__atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED) |
            __atomic_load_n(&cpu->is_wanted, __ATOMIC_RELAXED)) != 0;
}

// Sets pending bits for the owner itself, which looks at them before the next entry: no kick.
static inline void vcpu_post_to_self(struct vcpu *vcpu, uint32_t bits) {
    __atomic_fetch_or(&vcpu->pending, bits, __ATOMIC_RELAXED);
}

// A general register of the guest, read once: a VMM may change its page at any time, and what was
// checked must be what is used. Not RSP, which the backend has.
static inline uint64_t vcpu_gpr(const struct vcpu *vcpu, unsigned gpr) {
    return *(const volatile uint64_t *)&vcpu->page->gpr[gpr];
}

// System calls. All return 0 or an enum abi_error, but for create, which returns NULL for one in
// *error.
struct vcpu *vcpu_create(struct vm *vm, uint32_t index, int *error);
extern const struct object_kind vcpu_kind; // its memory stays until vcpu_free, by vm_destroy
void vcpu_free(struct vcpu *vcpu);
int vcpu_run(struct vcpu *vcpu);
int vcpu_signal(struct vcpu *vcpu, uint64_t signal, uint64_t value);
int vcpu_read_state(struct vcpu *vcpu, uint64_t group, void *page);
int vcpu_write_state(struct vcpu *vcpu, uint64_t group, const void *page);
// Who changes a vCPU's state has it for itself meanwhile. False: somebody else has it.
bool vcpu_claim(struct vcpu *vcpu);
void vcpu_unclaim(struct vcpu *vcpu);
// How many bytes a group has; 0: no such group.
size_t vcpu_state_size(uint64_t group);
// Wherever its state is, brings it into memory. The vCPU must be claimed, or nobody's.
void vcpu_unload(struct vcpu *vcpu);
// The owner thread ends: its vCPU leaves this CPU. Drops the thread's reference.
void vcpu_release(struct vcpu *vcpu);
// Takes the state of the vCPU that is loaded on this CPU, if there is one, out of the processor.
void vcpu_evict(void);
// TSC of the host when the first guest instruction was about to run; 0: not yet.
extern uint64_t vcpu_first_entry_tsc;

// Adds the counts of its exits; move also clears them. With the lock of the process whose thread
// runs it.
void vcpu_add_usage(const struct vcpu *vcpu, struct abi_usage *usage);
void vcpu_move_usage(struct vcpu *vcpu, struct abi_usage *usage);

// vcpu_exit.c: what exits of both backends do.
enum exit_action vcpu_exit_hlt(struct vcpu *vcpu);
enum exit_action vcpu_exit_pause(struct vcpu *vcpu);
// INVD and WBINVD: guest memory is write-back and coherent, so there is nothing to write back, and
// another VM must not lose its cache.
enum exit_action vcpu_exit_ignored(struct vcpu *vcpu);
// #UD: instructions of features that the guest does not have.
enum exit_action vcpu_exit_undefined(struct vcpu *vcpu);
// #GP(0): RDPMC, as no counter exists; what is not for this CPL, or has reserved bits.
enum exit_action vcpu_exit_protected(struct vcpu *vcpu);
enum exit_action vcpu_exit_shutdown(struct vcpu *vcpu); // a triple fault
// A machine check. EXIT_FAIL: the guest used memory that is broken, and its VMM's process is ended,
// so that it can do so no more.
enum exit_action vcpu_exit_machine_check(struct vcpu *vcpu);

// Called by exits.
// The exit is VCPU_EXIT_FAILED: fills page->failure, returns EXIT_FAIL. The VMM ends the VM.
enum exit_action vcpu_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail);
// Leaves whose answer depends on the vCPU or its present state.
bool vcpu_is_cpuid_dynamic(uint32_t leaf);
// CPUID for the guest: reads EAX and ECX of page->gpr, fills the four registers, EXIT_ADVANCE.
enum exit_action vcpu_emulate_cpuid(struct vcpu *vcpu);
// The MSRs that neutral code answers: TSC and its kin, the local APIC. What was read is in *value.
enum msr_result { MSR_DONE, MSR_FAULT /* #GP */, MSR_UNKNOWN };
enum msr_result vcpu_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value);
// RDMSR or WRMSR of the MSR in page->gpr: neutral code first, then the backend's `access` (those
// that the VMCS keeps; NULL: none). page->msr is filled; EXIT_VMM: nobody here knows it.
typedef enum msr_result vcpu_msr_access(struct vcpu *vcpu, uint32_t msr, bool is_write,
                                        uint64_t *value);
enum exit_action vcpu_exit_msr(struct vcpu *vcpu, bool is_write, vcpu_msr_access *access);

// Any CPU, any context without locks above LOCK_VCPU: sets the bits and makes the vCPU look at
// them, wherever it is.
void vcpu_post(struct vcpu *vcpu, uint32_t bits);
void vcpu_post_nmi(struct vcpu *vcpu);
// Likewise, after vlapic->posted was given a request and marked: what runs elsewhere gets
// VECTOR_POSTED and takes it without an exit, or looks at the mark before its next entry.
void vcpu_notify(struct vcpu *vcpu);
// VECTOR_POSTED outside the guest.
void vcpu_notified(void);
