// SPDX-License-Identifier: Apache-2.0
// See kernel/vcpu.h: the run loop. How a vCPU begins and ends: kernel/vcpu_create.c; state as a
// whole: kernel/vcpu_state.c.
#include "kernel/vcpu.h"

#include "arch/lapic.h"
#include "arch/mitigation.h"
#include "kernel/scheduler.h"
#include "kernel/smp.h"
#include "kernel/thread.h"
#include "kernel/vm.h"
#include "lib/string.h"

uint64_t vcpu_first_entry_tsc;

static void unload_here(void *opaque) {
    struct vcpu *vcpu = opaque;
    struct cpu *cpu = cpu_current();
    if (cpu->loaded_vcpu != vcpu)
        return;
    vcpu_backend->unload(vcpu);
    cpu->loaded_vcpu = NULL;
    vcpu->loaded_on = NULL;
}

void vcpu_unload(struct vcpu *vcpu) {
    struct cpu *cpu = vcpu->loaded_on;
    if (cpu != NULL)
        smp_call(cpu, unload_here, vcpu);
}

static __attribute__((noinline)) void load(struct vcpu *vcpu, struct cpu *cpu) {
    vcpu_unload(vcpu);
    if (cpu->loaded_vcpu != NULL)
        unload_here(cpu->loaded_vcpu);
    cpu->has_forgotten = false;
    vcpu_backend->load(vcpu);
    cpu->loaded_vcpu = vcpu;
    vcpu->loaded_on = cpu;
    timer_follow(&vcpu->vlapic.timer);
    if (vcpu->space_cpu_seen != cpu) {
        vcpu->space_cpu_seen = cpu;
        vcpu_backend->flush_space(vcpu);
    }
}

void vcpu_evict(void) {
    struct cpu *cpu = cpu_current();
    if (cpu->loaded_vcpu != NULL)
        unload_here(cpu->loaded_vcpu);
    if (vcpu_backend != NULL && !cpu->has_forgotten)
        vcpu_backend->forget(); // another CPU may have had it unloaded before
    cpu->has_forgotten = true;
    if (!mitigation.is_off)
        x86_write_cr2(0); // of page faults of ring 3, too
}

void vcpu_post(struct vcpu *vcpu, uint32_t bits) {
    __atomic_fetch_or(&vcpu->pending, bits, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&vcpu->is_running, __ATOMIC_SEQ_CST) != 0) {
        const struct cpu *cpu = __atomic_load_n(&vcpu->cpu, __ATOMIC_ACQUIRE);
        if (cpu != cpu_current())
            lapic_send(cpu->apic_id, VECTOR_WAKE);
        return;
    }
    lock_take(&vcpu->lock);
    if (vcpu->owner != NULL)
        thread_wake(vcpu->owner);
    lock_drop(&vcpu->lock);
}

void vcpu_post_nmi(struct vcpu *vcpu) {
    __atomic_fetch_add(&vcpu->nmi_count, 1, __ATOMIC_RELAXED);
    vcpu_post(vcpu, VCPU_PENDING_NMI);
}

// The mark, then the look at is_running; the vCPU's thread says that it runs, then looks at the
// mark (start_running), or that it does not, then looks at the mark (give_way). So in each order
// either this CPU sees that it does not run, and wakes it, or the thread sees the mark. When it
// runs, VECTOR_POSTED finds it in the guest, where the processor takes the requests; or outside,
// where interrupts are off and it waits for the entry; or in one of the windows that are open to
// interrupts (vcpu_notified).
void vcpu_notify(struct vcpu *vcpu) {
    const struct cpu *cpu = __atomic_load_n(&vcpu->cpu, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&vcpu->is_running, __ATOMIC_SEQ_CST) != 0 && cpu != cpu_current())
        lapic_send(cpu->apic_id, VECTOR_POSTED);
    else
        vcpu_post(vcpu, VCPU_PENDING_INTERRUPT);
}

void vcpu_notified(void) {
    struct vcpu *vcpu = cpu_current()->loaded_vcpu;
    if (vcpu != NULL)
        vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
}

bool vcpu_claim(struct vcpu *vcpu) {
    return __atomic_exchange_n(&vcpu->is_claimed, 1, __ATOMIC_ACQUIRE) == 0;
}

void vcpu_unclaim(struct vcpu *vcpu) {
    __atomic_store_n(&vcpu->is_claimed, 0, __ATOMIC_RELEASE);
}

// Puts in what the VMM ordered. An interrupt that cannot be taken now was not asked for: it is
// lost, as on an INTA cycle that nobody answers.
static void take_injection(struct vcpu *vcpu) {
    struct vcpu_inject inject;
    memcpy(&inject, &vcpu->page->inject, sizeof(inject));
    __asm__ volatile("" : "+m"(inject)); // one look: the page is shared
    if (inject.type == VCPU_INJECT_EXTINT) {
        if (vcpu_backend->can_take_interrupt(vcpu)) {
            vcpu_backend->inject_interrupt(vcpu, inject.vector);
            vcpu->activity = VCPU_ACTIVE;
        }
        vcpu_post_to_self(vcpu, VCPU_PENDING_EXTINT);
    } else if (inject.type == VCPU_INJECT_EXCEPTION && inject.vector < 32) {
        if (inject.vector == EXC_PF)
            vcpu->cr2 = inject.cr2;
        vcpu_backend->inject_exception(vcpu, inject.vector, inject.has_error ? inject.error : 0);
    }
}

// False: a step was asked for, which this processor cannot do.
static bool take_changes(struct vcpu *vcpu, uint32_t dirty) {
    const uint32_t registers =
        VCPU_DIRTY_RIP | VCPU_DIRTY_RSP | VCPU_DIRTY_RFLAGS | VCPU_DIRTY_CONTROL;
    vcpu->page->dirty = 0;
    if ((dirty & registers) != 0)
        vcpu_backend->sync_registers(vcpu, dirty & registers);
    if ((dirty & VCPU_DIRTY_INJECT) != 0)
        take_injection(vcpu);
    if ((dirty & VCPU_DIRTY_STEP) == 0)
        return true;
    vcpu->is_stepping = vcpu_backend->step(vcpu);
    return vcpu->is_stepping;
}

static bool leave_with(struct vcpu *vcpu, enum vcpu_exit exit) {
    vcpu->page->exit = (uint32_t)exit;
    return true;
}

// An interrupt goes in when there is one and the guest can take it; where the processor does that
// by itself, it only ends a HLT. True: the VMM has to ask its 8259 for the vector.
static bool deliver_interrupt(struct vcpu *vcpu) {
    bool delivers = (vcpu->vlapic.abilities & VLAPIC_DELIVERS) != 0;
    vlapic_take_requests(vcpu);
    bool is_extint =
        __atomic_load_n(&vcpu->is_extint_high, __ATOMIC_RELAXED) != 0 && vlapic_takes_extint(vcpu);
    bool is_asked = !delivers || vcpu->activity == VCPU_HALTED;
    int vector = is_asked ? vlapic_pending(vcpu) : -1;
    bool is_taken = (vector >= 0 || is_extint) && vcpu_backend->can_take_interrupt(vcpu);
    if (is_taken && !is_extint) {
        if (!delivers) {
            vlapic_acknowledge(vcpu, (uint8_t)vector);
            vcpu_backend->inject_interrupt(vcpu, (uint8_t)vector);
        }
        vcpu->activity = VCPU_ACTIVE;
    }
    vcpu_backend->sync_apic(vcpu);
    return is_taken && is_extint && leave_with(vcpu, VCPU_EXIT_EXTINT);
}

// What INIT and SIPI are to the APIC, to NMIs and to who waits; the registers are the VMM's. An
// INIT that finds the APIC off came too late: waiting for a SIPI, which it would not take, the vCPU
// were lost. A SIPI that comes behind it is kept. True: back to the VMM; *bits are those that are
// left.
static bool start_up(struct vcpu *vcpu, uint32_t *bits) {
    if ((vcpu->vlapic.base_msr & APIC_BASE_ENABLE) == 0)
        *bits &= ~(uint32_t)VCPU_PENDING_INIT;
    if ((*bits & VCPU_PENDING_INIT) != 0) {
        vlapic_reset(vcpu);
        vcpu->activity = vcpu->index == 0 ? VCPU_ACTIVE : VCPU_WAIT_SIPI;
        vcpu->page->exit = VCPU_EXIT_INIT;
        *bits &= ~(uint32_t)VCPU_PENDING_INIT;
    } else if ((*bits & VCPU_PENDING_SIPI) != 0 && vcpu->activity == VCPU_WAIT_SIPI) {
        vcpu->activity = VCPU_ACTIVE;
        vcpu->page->exit = VCPU_EXIT_SIPI;
        vcpu->page->vector = (uint8_t)__atomic_load_n(&vcpu->sipi_vector, __ATOMIC_RELAXED);
        *bits &= ~(uint32_t)VCPU_PENDING_SIPI;
    } else {
        *bits &= ~(uint32_t)VCPU_PENDING_SIPI;
        return false;
    }
    __atomic_store_n(&vcpu->nmi_count, 0, __ATOMIC_RELAXED);
    *bits |= VCPU_PENDING_LOOKS; // what nobody looked at in the state before
    return true;
}

// One in service, one behind it: SDM 3A 6.7.1 "Handling Multiple NMIs". So of two that came while
// none was in service neither is lost.
static void deliver_nmi(struct vcpu *vcpu) {
    uint32_t count = __atomic_load_n(&vcpu->nmi_count, __ATOMIC_RELAXED);
    if (count == 0)
        return;
    enum nmi_gate gate = vcpu_backend->can_take_nmi(vcpu);
    uint32_t left = MIN(count, gate == NMI_IN_SERVICE ? 1u : 2u);
    if (gate == NMI_OPEN) {
        vcpu_backend->inject_nmi(vcpu);
        vcpu->activity = VCPU_ACTIVE;
        if (--left != 0)
            vcpu_backend->can_take_nmi(vcpu);
    }
    __atomic_fetch_sub(&vcpu->nmi_count, count - left, __ATOMIC_RELAXED);
}

// Only here are the pending bits taken. True: back to the VMM, page->exit is filled.
static bool take_pending(struct vcpu *vcpu) {
    uint32_t bits = __atomic_exchange_n(&vcpu->pending, 0, __ATOMIC_ACQUIRE);
    uint64_t generation = __atomic_load_n(&vcpu->vm->space.generation, __ATOMIC_ACQUIRE);
    if (vcpu->space_generation_seen != generation) {
        vcpu_backend->flush_space(vcpu);
        __atomic_store_n(&vcpu->space_generation_seen, generation, __ATOMIC_RELEASE);
    }
    // One exit at a time: what is left is seen at the next run.
    if ((bits & (VCPU_PENDING_INIT | VCPU_PENDING_SIPI)) != 0 && start_up(vcpu, &bits)) {
        const uint32_t sipi = bits & VCPU_PENDING_SIPI;
        uint32_t now = __atomic_or_fetch(&vcpu->pending, bits & ~sipi, __ATOMIC_RELAXED);
        // An INIT that came meanwhile voids the SIPI that came before it.
        while ((now & VCPU_PENDING_INIT) == 0 &&
               !__atomic_compare_exchange_n(&vcpu->pending, &now, now | sipi, false,
                                            __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
        return true;
    }
    if ((bits & (VCPU_PENDING_EOI | VCPU_PENDING_KICK | VCPU_PENDING_SHUTDOWN)) != 0) {
        bool is_eoi = (bits & VCPU_PENDING_EOI) != 0, is_kick = (bits & VCPU_PENDING_KICK) != 0;
        uint32_t other = is_kick ? VCPU_PENDING_KICK : VCPU_PENDING_SHUTDOWN;
        vcpu_post_to_self(vcpu, bits & ~(is_eoi ? (uint32_t)VCPU_PENDING_EOI : other));
        vcpu->page->vector = vcpu->vlapic.eoi_vector;
        enum vcpu_exit exit = is_kick ? VCPU_EXIT_KICKED : VCPU_EXIT_SHUTDOWN;
        return leave_with(vcpu, is_eoi ? VCPU_EXIT_EOI : exit);
    }
    if (vcpu->activity == VCPU_WAIT_SIPI) {
        vlapic_take_requests(vcpu); // or their mark would keep it awake
        return false;
    }
    if ((bits & VCPU_PENDING_NMI) != 0)
        deliver_nmi(vcpu);
    if ((bits & (VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT)) != 0)
        return deliver_interrupt(vcpu);
    return false;
}

// From here on other CPUs count on this thread to look at what is pending, by itself or by an
// interrupt.
static void start_running(struct vcpu *vcpu) {
    struct cpu *cpu = cpu_current();
    __atomic_store_n(&vcpu->cpu, cpu, __ATOMIC_RELEASE);
    __atomic_store_n(&vcpu->is_running, 1, __ATOMIC_SEQ_CST);
    if (vlapic_is_notified(&vcpu->vlapic))
        vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
    if (cpu->loaded_vcpu != vcpu)
        load(vcpu, cpu);
    vlapic_timer_wake(vcpu);
    if ((vcpu->pvtime.steal & PVTIME_ENABLE) != 0) // no call where it would do nothing
        pvtime_resume(vcpu);
}

static bool has_anything(const struct vcpu *vcpu) {
    return __atomic_load_n(&vcpu->pending, __ATOMIC_SEQ_CST) != 0 ||
           vlapic_is_notified(&vcpu->vlapic);
}

enum give_way { GIVE_WAY_TURN, GIVE_WAY_YIELD, GIVE_WAY_WAIT };

// A vCPU that spins may be waiting for one of its VM that waits for this very CPU.
static void yield(struct vcpu *vcpu) {
    bool is_given = false;
    for (uint32_t n = 1; n < VM_VCPUS_MAX && !is_given; n++) {
        uint32_t i = (vcpu->index + n) % VM_VCPUS_MAX;
        struct vcpu *other = __atomic_load_n(&vcpu->vm->vcpus[i], __ATOMIC_ACQUIRE);
        // A look without locks: all CPUs may be here, and a miss harms nobody.
        if (other == NULL || __atomic_load_n(&other->is_running, __ATOMIC_RELAXED) != 0 ||
            __atomic_load_n(&other->cpu, __ATOMIC_RELAXED) != cpu_current())
            continue;
        lock_take(&other->lock);
        is_given = other->owner != NULL && thread_yield_to(other->owner);
        lock_drop(&other->lock);
    }
    thread_yield();
}

// Lets other threads of this CPU run: because it is their turn, out of courtesy, or until something
// is pending. Meanwhile nobody waits for this vCPU to look at what is pending.
static void give_way(struct vcpu *vcpu, enum give_way why) {
    if (why != GIVE_WAY_WAIT)
        pvtime_preempt(vcpu);
    vcpu_backend->leave(vcpu);
    __atomic_store_n(&vcpu->is_running, 0, __ATOMIC_SEQ_CST);
    if (why == GIVE_WAY_TURN)
        thread_yield();
    else if (why == GIVE_WAY_YIELD)
        yield(vcpu);
    else if (!has_anything(vcpu))
        thread_block();
    start_running(vcpu);
}

// What is to be done before the guest may go on. True: back to the VMM.
static bool prepare(struct vcpu *vcpu) {
    for (;;) {
        if (scheduler_is_wanted())
            give_way(vcpu, GIVE_WAY_TURN);
        if (thread_is_doomed(thread_current()))
            return leave_with(vcpu, VCPU_EXIT_KICKED);
        if (__atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED) != 0 && take_pending(vcpu))
            return true;
        if (vcpu->activity == VCPU_ACTIVE)
            return false;
        if (vcpu->is_stepping) { // the VMM may have made something of the VM's its own for so long
            vcpu->is_stepping = false;
            return leave_with(vcpu, VCPU_EXIT_STEPPED);
        }
        give_way(vcpu, GIVE_WAY_WAIT);
    }
}

// Runs until the VMM has something to do; page->exit says what.
static void run_loop(struct vcpu *vcpu) {
    for (;;) {
        const struct cpu *cpu = vcpu->cpu;
        uint32_t work = __atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED) |
                        __atomic_load_n(&cpu->is_wanted, __ATOMIC_RELAXED) | vcpu->activity;
        if (__builtin_expect(work != 0, 0) && prepare(vcpu))
            return;
        enum exit_action action = vcpu_backend->enter(vcpu);
        if (action == EXIT_RETRY)
            continue;
        if (action == EXIT_VMM)
            return;
        if (action == EXIT_FAIL) {
            vcpu->page->exit = VCPU_EXIT_FAILED;
            return;
        }
        if (action == EXIT_BLOCK) {
            vcpu->activity = VCPU_HALTED;
            // Whatever is deliverable already ends the HLT at once.
            vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
        } else {
            give_way(vcpu, GIVE_WAY_YIELD);
        }
    }
}

static void set_owner(struct vcpu *vcpu, struct thread *owner) {
    lock_take(&vcpu->lock);
    vcpu->owner = owner;
    lock_drop(&vcpu->lock);
}

static int claim_for_thread(struct vcpu *vcpu) {
    struct thread *self = thread_current();
    if (vcpu->owner == self)
        return vcpu_claim(vcpu) ? ABI_OK : ABI_ERROR_AGAIN;
    if (self->vcpu != NULL || !vcpu_claim(vcpu))
        return ABI_ERROR_AGAIN;
    if (vcpu->owner != NULL) {
        vcpu_unclaim(vcpu);
        return ABI_ERROR_AGAIN;
    }
    object_ref(&vcpu->object);
    thread_set_vcpu(self, vcpu);
    set_owner(vcpu, self);
    return ABI_OK;
}

int vcpu_run(struct vcpu *vcpu) {
    int error = claim_for_thread(vcpu);
    if (error != ABI_OK)
        return error;
    start_running(vcpu);
    uint32_t dirty = __atomic_load_n(&vcpu->page->dirty, __ATOMIC_RELAXED);
    if (__builtin_expect(vcpu_first_entry_tsc == 0, 0))
        vcpu_first_entry_tsc = x86_rdtsc();
    if (dirty == 0 || take_changes(vcpu, dirty))
        run_loop(vcpu);
    else
        error = ABI_ERROR_UNSUPPORTED;
    vcpu_backend->leave(vcpu);
    __atomic_store_n(&vcpu->is_running, 0, __ATOMIC_RELEASE);
    vcpu_unclaim(vcpu);
    return error;
}

void vcpu_add_usage(const struct vcpu *vcpu, struct abi_usage *usage) {
    usage->own_timer_exits += vcpu->own_timer_exits;
    for (uint32_t i = 0; i < ABI_EXIT_REASONS; i++) {
        usage->exit[i] += vcpu->exits[i];
        usage->exits += vcpu->exits[i];
    }
}

void vcpu_move_usage(struct vcpu *vcpu, struct abi_usage *usage) {
    vcpu_add_usage(vcpu, usage);
    vcpu->own_timer_exits = 0;
    memset(vcpu->exits, 0, sizeof(vcpu->exits));
}

void vcpu_release(struct vcpu *vcpu) {
    vcpu_unload(vcpu);
    vcpu->pvtime.waited = UINT64_MAX; // the next owner has waited for others
    set_owner(vcpu, NULL);
    object_unref(&vcpu->object);
}

int vcpu_signal(struct vcpu *vcpu, uint64_t signal, uint64_t value) {
    switch (signal) {
    case VCPU_SIGNAL_KICK:
        vcpu_post(vcpu, VCPU_PENDING_KICK);
        return ABI_OK;
    case VCPU_SIGNAL_EXTINT:
        __atomic_store_n(&vcpu->is_extint_high, value != 0, __ATOMIC_RELEASE);
        if (value != 0)
            vcpu_post(vcpu, VCPU_PENDING_EXTINT);
        return ABI_OK;
    case VCPU_SIGNAL_NMI:
        vcpu_post_nmi(vcpu);
        return ABI_OK;
    default:
        return ABI_ERROR_ARGUMENT;
    }
}
