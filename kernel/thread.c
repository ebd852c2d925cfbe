// SPDX-License-Identifier: Apache-2.0
// See kernel/thread.h: how threads begin and end. The rest is kernel/scheduler.c's.
#include "kernel/thread.h"

#include "arch/lapic.h"
#include "arch/traps.h"
#include "include/abi.h"
#include "kernel/group.h"
#include "kernel/kspace.h"
#include "kernel/scheduler.h"
#include "kernel/vcpu.h"
#include "lib/index.h"
#include "lib/string.h"

void thread_set_vcpu(struct thread *thread, struct vcpu *vcpu) {
    lock_take(&thread->process->lock);
    if (thread->vcpu != NULL)
        vcpu_move_usage(thread->vcpu, &thread->process->usage);
    thread->vcpu = vcpu;
    lock_drop(&thread->process->lock);
}

void thread_interrupt(struct thread *thread) {
    __atomic_store_n(&thread->cpu->is_wanted, 1, __ATOMIC_RELEASE);
    if (thread->vcpu != NULL)
        vcpu_post(thread->vcpu, VCPU_PENDING_KICK);
    thread_wake(thread);
    if (thread->cpu != cpu_current())
        lapic_send(thread->cpu->apic_id, VECTOR_WAKE);
}

bool thread_is_doomed(const struct thread *thread) {
    return thread->process != NULL &&
           __atomic_load_n(&thread->process->is_ending, __ATOMIC_ACQUIRE) != 0;
}

static void timeout_run(struct timer *timer) {
    thread_wake(CONTAINER_OF(timer, struct thread, timeout));
}

// The stack of a new thread: its struct at the top, below it the registers it starts with, below
// them what switch_stack pops.
static struct thread *thread_lay_out(uint64_t top, uint64_t entry, uint64_t stack,
                                     uint64_t argument) {
    struct thread *thread = (struct thread *)align_down(top - 8 - sizeof(*thread), 16);
    memset(thread, 0, sizeof(*thread));
    struct trap_frame *frame = (struct trap_frame *)thread - 1;
    memset(frame, 0, sizeof(*frame));
    frame->rip = entry;
    frame->cs = SELECTOR_USER_CODE | 3;
    frame->rflags = RFLAGS_ONE | RFLAGS_IF;
    frame->rsp = stack;
    frame->ss = SELECTOR_USER_DATA2 | 3;
    frame->rdi = argument;
    uint64_t *words = (uint64_t *)frame;
    *--words = (uint64_t)thread_first_return;
    words -= 6; // RBX RBP R12..R15, whatever they hold
    memset(words, 0, 6 * sizeof(*words));
    thread->rsp = (uint64_t)words;
    thread->stack_top = top;
    thread->timeout.run = timeout_run;
    thread->state = THREAD_BLOCKED;
    return thread;
}

// A thread that names a CPU is what its group reserved that for.
static int take_class(struct thread *thread, struct group *group, uint32_t cpu) {
    thread->class = THREAD_SHARED;
    thread->budget = &group->cap;
    if (cpu == ABI_CPU_ANY)
        return ABI_OK;
    int error = group_pin(group, cpu);
    if (error != ABI_OK)
        return error;
    thread->class = group->budget != 0 ? THREAD_REALTIME : THREAD_DEDICATED;
    thread->cpu = cpu_table[index_mask(cpu, CPU_COUNT_MAX)];
    // Its first budget comes a period later: who ends and begins anew gains nothing.
    thread->budget = &thread->own;
    budget_init(&thread->own, group->budget, group->period, x86_rdtsc() + group->period);
    return ABI_OK;
}

int thread_create(struct process *process, uint64_t entry, uint64_t stack, uint64_t argument,
                  uint32_t cpu) {
    if ((cpu != ABI_CPU_ANY && cpu >= cpu_count) || entry >= ABI_USER_END || stack > ABI_USER_END)
        return ABI_ERROR_ARGUMENT;
    uint64_t top = kspace_stack_alloc(process->object.quota);
    if (top == 0)
        return ABI_ERROR_MEMORY;
    struct thread *thread = thread_lay_out(top, entry, stack, argument);
    thread->process = process;
    thread->group = process->group;
    int error = take_class(thread, process->group, cpu);
    if (error == ABI_OK) {
        object_ref(&process->object);
        scheduler_start(thread);
        if (process_join(process, thread))
            return ABI_OK;
        object_unref(&process->object);
        error = ABI_ERROR_CLOSED;
        if (cpu != ABI_CPU_ANY)
            group_unpin(process->group, cpu);
    }
    kspace_stack_make_room();
    kspace_stack_free(process->object.quota, top);
    return error;
}

static _Noreturn void leave(void) {
    struct thread *self = thread_current();
    timer_cancel(&self->timeout);
    struct vcpu *vcpu = self->vcpu;
    if (vcpu != NULL) {
        thread_set_vcpu(self, NULL); // from here on nobody posts to it through this thread
        vcpu_release(vcpu);
    }
    object_finish();
    scheduler_leave_space();
    process_leave(self->process, self);
    kspace_stack_make_room(); // on our account; the next thread frees ours
    scheduler_exit();
}

// An exception with a stack of its own may have brought us here, and that must be free when others
// run meanwhile.
_Noreturn void thread_exit(void) {
    x86_leave_stack((uint64_t)thread_current(), leave);
}

void thread_add_usage(const struct thread *thread, struct abi_usage *usage) {
    usage->run += thread->run;
    usage->wait += thread->wait;
    usage->throttled += thread->throttled;
    usage->switches += thread->switches;
    usage->migrations += thread->migrations;
    usage->deadline_misses += thread->deadline_misses;
    if (thread->vcpu != NULL)
        vcpu_add_usage(thread->vcpu, usage);
}

void trap_after_call(void) {
    const struct thread *self = thread_current();
    if (self->dying != NULL)
        object_finish();
    if (scheduler_is_wanted())
        thread_yield();
    if (thread_is_doomed(self))
        thread_exit();
}

void trap_before_user(void) {
    // Doom first: an exception of ring 3 that has a stack of its own (#DB) always dooms, and on
    // that stack nothing may be left behind to come back to.
    if (thread_is_doomed(thread_current()))
        thread_exit();
    trap_after_call();
}

void thread_first_run(void) {
    scheduler_end_switch();
    trap_before_user();
}
