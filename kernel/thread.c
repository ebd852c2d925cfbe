// SPDX-License-Identifier: Apache-2.0
// See kernel/thread.h.
#include "kernel/thread.h"

#include "arch/lapic.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "include/abi.h"
#include "kernel/frame.h"
#include "kernel/log.h"
#include "kernel/quota.h"
#include "kernel/space.h"
#include "kernel/vcpu.h"
#include "lib/string.h"

#define SLICES_A_SECOND 200u // a slice is 5 ms, when somebody else waits
#define WAKE_CREDIT     2u   // slices that a sleeper may be behind the others

struct queue {
    struct spinlock lock;
    struct thread *head; // by runtime, least first [lock]
    struct thread *dead; // left the CPU for good: its stack is free after the next switch
    uint64_t floor;      // least runtime of whom ran last [lock]
    uint64_t started;    // TSC when the current thread came on
    struct timer slice;
    struct thread idle;
};

// Allocated with each CPU.
static struct queue *queues[CPU_COUNT_MAX];
static struct queue boot_queue;

static struct queue *queue_of(const struct cpu *cpu) {
    return queues[cpu->index];
}

static void request(struct cpu *cpu) {
    __atomic_fetch_or(&cpu->pending, CPU_PENDING_RESCHEDULE, __ATOMIC_RELEASE);
    if (cpu != cpu_current())
        lapic_send_vector(cpu->apic_id, VECTOR_WAKE);
}

static void slice_end(struct timer *timer) {
    (void)timer;
    request(cpu_current());
}

void scheduler_init_cpu(struct cpu *cpu) {
    struct queue *queue = cpu->index == 0 ? &boot_queue : kernel_page_alloc();
    if (queue == NULL)
        panic("no memory for the run queue of CPU %u", cpu->index);
    _Static_assert(sizeof(struct queue) <= PAGE_SIZE, "one page");
    lock_init(&queue->lock, LOCK_SCHEDULER);
    queue->slice.run = slice_end;
    queue->idle.cpu = cpu;
    queue->idle.state = THREAD_RUNNING;
    queues[cpu->index] = queue;
    cpu->current = &queue->idle;
}

static bool is_idle(const struct thread *thread) {
    return thread->process == NULL;
}

static void enqueue(struct queue *queue, struct thread *thread) {
    struct thread **link = &queue->head;
    while (*link != NULL && (*link)->runtime <= thread->runtime)
        link = &(*link)->next;
    thread->next = *link;
    *link = thread;
}

// A thread that ended cannot free the stack it stood on; who comes after it does.
static void bury(struct queue *queue) {
    struct thread *dead = queue->dead;
    if (dead == NULL)
        return;
    queue->dead = NULL;
    struct process *process = dead->process;
    struct quota *quota = process->quota;
    object_ref(&quota->object);
    object_unref(&process->object);
    space_stack_free(quota, dead->stack_top);
    object_unref(&quota->object);
}

// The timer runs only while somebody waits: a CPU with one thread is never interrupted by us.
static void arm_slice(struct queue *queue, bool has_waiter) {
    if (has_waiter)
        timer_arm(&queue->slice, x86_rdtsc() + tsc_hz / SLICES_A_SECOND);
    else
        timer_cancel(&queue->slice);
}

static void load_root(struct cpu *cpu, hpa_t root) {
    __atomic_store_n(&cpu->root, root.v, __ATOMIC_SEQ_CST);
    paging_load_root(root);
}

static void switch_to(struct cpu *cpu, struct thread *from, struct thread *to) {
    cpu->current = to;
    hpa_t root = is_idle(to) ? space_kernel_root() : to->process->pt.root;
    load_root(cpu, root);
    if (!is_idle(to)) {
        cpu->tss->rsp[0] = (uint64_t)to;
        x86_wrmsr(MSR_FS_BASE, ABI_STUB_ADDRESS);
    }
    switch_stack(&from->rsp, to->rsp);
    bury(queue_of(cpu_current()));
}

// Gives the CPU to the thread that had least of it, the current one included when it is runnable.
static void schedule(void) {
    struct cpu *cpu = cpu_current();
    struct queue *queue = queue_of(cpu);
    struct thread *self = cpu->current;
    __atomic_fetch_and(&cpu->pending, ~(uint32_t)CPU_PENDING_RESCHEDULE, __ATOMIC_ACQUIRE);
    lock_take(&queue->lock);
    uint64_t now = x86_rdtsc();
    self->runtime += now - queue->started;
    queue->started = now;
    if (self->state == THREAD_RUNNING && !is_idle(self)) {
        self->state = THREAD_RUNNABLE;
        self->since = now;
        enqueue(queue, self);
    }
    struct thread *next = queue->head != NULL ? queue->head : &queue->idle;
    if (queue->head != NULL) {
        queue->head = next->next;
        queue->floor = MAX(queue->floor, next->runtime);
        next->wait += now > next->since ? now - next->since : 0;
    }
    next->state = THREAD_RUNNING;
    bool has_waiter = queue->head != NULL;
    lock_drop(&queue->lock);
    arm_slice(queue, has_waiter);
    if (next != self)
        switch_to(cpu, self, next);
}

void scheduler_check(void) {
    uint32_t pending = __atomic_load_n(&cpu_current()->pending, __ATOMIC_RELAXED);
    if ((pending & CPU_PENDING_RESCHEDULE) != 0)
        schedule();
}

_Noreturn void scheduler_run(void) {
    for (;;) {
        schedule();
        // An interrupt between this look and HLT is taken after HLT has begun, and ends it.
        if (__atomic_load_n(&cpu_current()->pending, __ATOMIC_ACQUIRE) == 0)
            x86_sti_hlt_cli();
    }
}

void thread_block(void) {
    struct thread *self = thread_current();
    struct queue *queue = queue_of(self->cpu);
    lock_take(&queue->lock);
    bool is_woken = self->has_wake;
    self->has_wake = false;
    if (!is_woken)
        self->state = THREAD_BLOCKED;
    lock_drop(&queue->lock);
    if (is_woken)
        return;
    schedule();
    self->has_wake = false;
}

// Who slept long must not starve the others by the time it did not use.
static void wake_locked(struct queue *queue, struct thread *thread) {
    uint64_t credit = WAKE_CREDIT * (tsc_hz / SLICES_A_SECOND);
    uint64_t floor = queue->floor > credit ? queue->floor - credit : 0;
    thread->runtime = MAX(thread->runtime, floor);
    thread->state = THREAD_RUNNABLE;
    thread->since = x86_rdtsc();
    enqueue(queue, thread);
}

void thread_wake(struct thread *thread) {
    struct queue *queue = queue_of(thread->cpu);
    bool is_woken = false;
    lock_take(&queue->lock);
    if (thread->state == THREAD_BLOCKED) {
        wake_locked(queue, thread);
        is_woken = true;
    } else {
        thread->has_wake = true;
    }
    lock_drop(&queue->lock);
    if (is_woken)
        request(thread->cpu);
}

void thread_set_vcpu(struct thread *thread, struct vcpu *vcpu) {
    lock_take(&thread->process->lock);
    thread->vcpu = vcpu;
    lock_drop(&thread->process->lock);
}

void thread_interrupt(struct thread *thread) {
    __atomic_store_n(&thread->is_interrupted, 1, __ATOMIC_RELEASE);
    __atomic_fetch_or(&thread->cpu->pending, CPU_PENDING_RESCHEDULE, __ATOMIC_RELEASE);
    if (thread->vcpu != NULL)
        vcpu_post(thread->vcpu, VCPU_PENDING_KICK);
    thread_wake(thread);
    if (thread->cpu != cpu_current())
        lapic_send_vector(thread->cpu->apic_id, VECTOR_WAKE);
}

bool thread_is_doomed(const struct thread *thread) {
    return thread->process != NULL &&
           __atomic_load_n(&thread->process->is_ending, __ATOMIC_ACQUIRE) != 0;
}

void thread_yield(void) {
    struct cpu *cpu = cpu_current();
    struct queue *queue = queue_of(cpu);
    lock_take(&queue->lock);
    // Behind whoever waits now.
    if (queue->head != NULL)
        cpu->current->runtime = MAX(cpu->current->runtime, queue->head->runtime);
    lock_drop(&queue->lock);
    schedule();
}

static void timeout_run(struct timer *timer) {
    thread_wake(CONTAINER_OF(timer, struct thread, timeout));
}

void thread_set_timeout(struct thread *thread, uint64_t deadline) {
    if (deadline != ABI_FOREVER)
        timer_arm(&thread->timeout, deadline);
}

void thread_clear_timeout(struct thread *thread) {
    timer_cancel(&thread->timeout);
}

// The least loaded would be better; it needs the accounting of a later issue. Round robin spreads.
static struct cpu *choose_cpu(uint32_t wanted) {
    static uint32_t next;
    if (wanted != ABI_CPU_ANY)
        return cpu_table[wanted];
    return cpu_table[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % cpu_count];
}

// The stack of a new thread: its struct at the top, below it the registers it starts with, below
// them what switch_stack pops.
static struct thread *thread_lay_out(uint64_t top, struct cpu *cpu, uint64_t entry, uint64_t stack,
                                     uint64_t argument) {
    *(struct cpu **)(top - 8) = cpu;
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
    thread->cpu = cpu;
    thread->timeout.run = timeout_run;
    thread->state = THREAD_BLOCKED;
    return thread;
}

int thread_create(struct process *process, uint64_t entry, uint64_t stack, uint64_t argument,
                  uint32_t cpu) {
    if (cpu != ABI_CPU_ANY && cpu >= cpu_count)
        return ABI_ERROR_ARGUMENT;
    if (entry >= ABI_USER_END || stack > ABI_USER_END)
        return ABI_ERROR_ARGUMENT;
    uint64_t top = space_stack_alloc(process->quota);
    if (top == 0)
        return ABI_ERROR_MEMORY;
    struct thread *thread = thread_lay_out(top, choose_cpu(cpu), entry, stack, argument);
    thread->process = process;
    object_ref(&process->object);
    if (!process_join(process, thread)) {
        object_unref(&process->object);
        space_stack_free(process->quota, top);
        return ABI_ERROR_CLOSED;
    }
    return ABI_OK;
}

_Noreturn void thread_exit(void) {
    struct thread *self = thread_current();
    struct queue *queue = queue_of(self->cpu);
    timer_cancel(&self->timeout);
    struct vcpu *vcpu = self->vcpu;
    if (vcpu != NULL) {
        thread_set_vcpu(self, NULL); // from here on nobody posts to it through this thread
        vcpu_release(vcpu);
    }
    load_root(self->cpu, space_kernel_root());
    process_leave(self->process, self);
    lock_take(&queue->lock);
    self->state = THREAD_DEAD;
    lock_drop(&queue->lock);
    assert(queue->dead == NULL);
    queue->dead = self;
    schedule();
    panic("a dead thread ran");
}

void trap_before_user(void) {
    // Doom first: an exception of ring 3 that has a stack of its own (#DB) always dooms, and on that
    // stack nothing may be left behind to come back to.
    if (thread_is_doomed(thread_current()))
        thread_exit();
    scheduler_check();
    if (thread_is_doomed(thread_current()))
        thread_exit();
}

void thread_first_run(void) {
    bury(queue_of(cpu_current()));
    trap_before_user();
}
