// SPDX-License-Identifier: Apache-2.0
// See kernel/scheduler.h.
#include "kernel/scheduler.h"

#include "arch/cache.h"
#include "arch/lapic.h"
#include "arch/mitigation.h"
#include "arch/split.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/core.h"
#include "kernel/frame.h"
#include "kernel/group.h"
#include "kernel/kspace.h"
#include "kernel/log.h"
#include "kernel/process.h"
#include "kernel/quota.h"
#include "kernel/scheduler_internal.h"
#include "kernel/thread.h"
#include "kernel/vcpu.h"

#define SLICES_A_SECOND 200u // a slice is 5 ms, when somebody else waits

// Allocated with each CPU.
struct scheduler *schedulers[CPU_COUNT_MAX];

void scheduler_request(struct cpu *cpu) {
    __atomic_store_n(&cpu->is_wanted, 1, __ATOMIC_RELEASE);
    if (cpu != cpu_current())
        lapic_send(cpu->apic_id, VECTOR_WAKE);
}

void scheduler_recheck(void) {
    for (uint32_t i = 0; i < cpu_count; i++)
        scheduler_request(cpu_table[i]);
}

// The lock of the queue that the thread belongs to, which may change until it is held.
static struct scheduler *lock_thread(const struct thread *thread) {
    for (;;) {
        const struct cpu *cpu = __atomic_load_n(&thread->cpu, __ATOMIC_ACQUIRE);
        struct scheduler *s = scheduler_of(cpu);
        lock_take(&s->lock);
        if (__atomic_load_n(&thread->cpu, __ATOMIC_RELAXED) == cpu)
            return s;
        lock_drop(&s->lock);
    }
}

// ---- putting in ---------------------------------------------------------------------------------

// With the lock of the queue that it leaves.
static void set_cpu(struct thread *thread, struct cpu *cpu) {
    *(struct cpu **)(thread->stack_top - sizeof(struct cpu *)) = cpu;
    thread->migrations++;
    __atomic_store_n(&thread->cpu, cpu, __ATOMIC_RELEASE);
}

static bool is_wanted_now(const struct scheduler *s, const struct thread *thread) {
    return scheduler_is_idle(s->running) || !s->is_contended ||
           runqueue_preempts(&s->queue, thread, s->running);
}

// With the lock of the thread's CPU, which is dropped. The thread waits for its budget. A refill
// elsewhere may let it run, and end, before this one arms.
static void park(struct scheduler *s, struct thread *thread) {
    struct budget *budget = thread->budget;
    struct group *group = thread->group;
    // Who was given an idle CPU and does not come leaves it to others.
    if (scheduler_is_idle(s->running))
        balance_mark_idle(thread->cpu, true);
    object_ref(&group->object);
    lock_drop(&s->lock);
    budget_arm(budget);
    object_unref(&group->object);
}

// The same. The thread is runnable and in no queue.
static void put(struct scheduler *s, struct thread *thread, enum runqueue_place place) {
    struct cpu *cpu = thread->cpu;
    uint64_t now = x86_rdtsc();
    struct budget *budget = thread->budget;
    if (thread->class == THREAD_REALTIME && place == RUNQUEUE_WOKEN)
        budget_wake(budget, now);
    if (!budget_is_left(budget, now) && budget_park(budget, thread, now)) {
        park(s, thread);
        return;
    }
    runqueue_put(&s->queue, thread, place);
    bool is_requested = thread != s->running && is_wanted_now(s, thread);
    lock_drop(&s->lock);
    if (is_requested)
        scheduler_request(cpu);
}

void scheduler_put_on(struct scheduler *s, struct thread *thread, struct cpu *cpu,
                      enum runqueue_place place) {
    set_cpu(thread, cpu);
    lock_drop(&s->lock);
    s = scheduler_of(cpu);
    lock_take(&s->lock);
    put(s, thread, place);
}

static void put_somewhere(struct scheduler *s, struct thread *thread, enum runqueue_place place) {
    struct cpu *cpu = balance_choose_cpu(thread);
    if (cpu != thread->cpu)
        scheduler_put_on(s, thread, cpu, place);
    else
        put(s, thread, place);
}

void thread_wake(struct thread *thread) {
    struct scheduler *s = lock_thread(thread);
    if (thread->state != THREAD_BLOCKED) {
        thread->has_wake = true;
        lock_drop(&s->lock);
        return;
    }
    thread->state = THREAD_RUNNABLE;
    thread->since = x86_rdtsc();
    runqueue_count(thread, true);
    put_somewhere(s, thread, RUNQUEUE_WOKEN);
}

void scheduler_unpark(struct thread *thread) {
    struct scheduler *s = lock_thread(thread);
    uint64_t now = x86_rdtsc();
    thread->throttled += now - thread->since;
    thread->wait += now - thread->since;
    thread->since = now;
    put_somewhere(s, thread, RUNQUEUE_BEHIND);
}

void scheduler_start(struct thread *thread) {
    static uint32_t next;
    // The first time anywhere; later the load decides.
    if (thread->cpu == NULL)
        thread->cpu = balance_find_cpu(thread, __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED));
    *(struct cpu **)(thread->stack_top - sizeof(struct cpu *)) = thread->cpu;
}

static void slice_end(struct timer *timer) {
    struct cpu *cpu = cpu_current();
    struct scheduler *s = CONTAINER_OF(timer, struct scheduler, slice);
    if (s->is_contended && cpu_count > 1)
        balance_give_away(s, cpu);
    scheduler_request(cpu);
}

// ---- switching ----------------------------------------------------------------------------------

void scheduler_init_cpu(struct cpu *cpu) {
    struct scheduler *s = kernel_page_alloc();
    if (s == NULL)
        panic("no memory for the run queue of CPU %u", cpu->index);
    _Static_assert(sizeof(struct scheduler) <= PAGE_SIZE, "one page");
    lock_init(&s->lock, LOCK_SCHEDULER);
    runqueue_init(&s->queue, cpu->index);
    s->slice.run = slice_end;
    s->idle.cpu = cpu;
    s->idle.state = THREAD_RUNNING;
    s->running = &s->idle;
    s->born = s->idle.since = x86_rdtsc();
    schedulers[cpu->index] = s;
    cpu->current = &s->idle;
}

// A thread that ended cannot free the stack it stood on; who comes after it does. The room for it
// is made (kernel/thread.c).
static void free_dead(struct scheduler *s) {
    struct thread *dead = s->dead;
    if (dead == NULL)
        return;
    s->dead = NULL;
    object_inherit(dead);
    struct process *process = dead->process;
    struct quota *quota = process->object.quota;
    object_ref(&quota->object);
    object_unref(&process->object);
    kspace_stack_free(quota, dead->stack_top);
    object_unref(&quota->object);
}

static void load_root(struct cpu *cpu, hpa_t root, hpa_t user_root) {
    __atomic_store_n(&cpu->root, root.v, __ATOMIC_SEQ_CST);
    split_load(cpu, root, user_root);
}

void scheduler_leave_space(void) {
    load_root(cpu_current(), kspace_kernel_root(), (hpa_t){0});
}

// On the stack of the thread that goes on; the one before has left its own.
void scheduler_end_switch(void) {
    struct scheduler *s = scheduler_of(cpu_current());
    struct thread *previous = s->previous;
    // One that would run on waits here now: an idle CPU may take it, once nobody stands on its
    // stack.
    bool is_waiting = previous->is_queued && previous->class == THREAD_SHARED;
    struct cpu *idle = is_waiting ? balance_find_idle(previous) : NULL;
    __atomic_store_n(&previous->is_on_cpu, 0, __ATOMIC_RELEASE);
    if (idle != NULL)
        scheduler_request(idle);
    free_dead(s);
}

// What the last domain left in registers goes to memory first: behind the barrier nothing touches
// it. Of a core with several CPUs it is there already (kernel/core.c).
static void change_owner(struct cpu *cpu, const struct group *group) {
    uint32_t domain = __atomic_load_n(&group->domain, __ATOMIC_RELAXED);
    if (cpu->domain != domain) {
        vcpu_evict();
        mitigation_switch(cpu, domain);
    }
    cache_switch(cpu, __atomic_load_n(&group->cache_class, __ATOMIC_RELAXED));
}

static void switch_to(struct cpu *cpu, struct thread *from, struct thread *to) {
    scheduler_of(cpu)->previous = from;
    scheduler_of(cpu)->switches++;
    cpu->current = to;
    // Of a process that is torn down only its last thread runs.
    bool has_space = !scheduler_is_idle(to) && !to->process->is_torn_down;
    if (has_space)
        load_root(cpu, to->process->space.pt.root, to->process->space.user_root);
    else
        load_root(cpu, kspace_kernel_root(), (hpa_t){0});
    if (!scheduler_is_idle(to)) {
        *cpu->stack = (uint64_t)to;
        x86_wrmsr(MSR_FS_BASE, ABI_CALL_PAGE);
        change_owner(cpu, to->group);
    }
    mitigation_stuff_rsb();
    switch_stack(&from->rsp, to->rsp);
    scheduler_end_switch();
}

// With the lock. What the running thread used; it stays `running`.
static void account(struct scheduler *s) {
    struct thread *self = s->running;
    uint64_t now = x86_rdtsc(), ticks = now - self->since;
    if (!scheduler_is_idle(self)) {
        if (self->class == THREAD_SHARED && s->is_contended)
            runqueue_charge(&s->queue, self, ticks);
        if (self->class == THREAD_REALTIME)
            self->deadline_misses += budget_miss(self->budget, self->since, now);
        budget_charge(self->budget, ticks);
    }
    self->run += ticks;
    self->since = now;
}

// With the lock, which is dropped for a moment where a thread cannot run here: the CPU is another's
// by now, or other threads of its group used up the budget. NULL: idle.
static struct thread *take_next(struct scheduler *s, struct cpu *cpu) {
    struct thread *thread, *next = NULL, *stuck = NULL;
    // Beside a dedicated one there are no turns: all who may not stay leave at once.
    while ((next == NULL || next->class == THREAD_DEDICATED) &&
           (thread = runqueue_take(&s->queue)) != NULL) {
        bool may_stay = thread->class != THREAD_SHARED || group_may_use(thread->group, cpu);
        if (may_stay && next != NULL) {
            runqueue_put(&s->queue, thread, RUNQUEUE_BEHIND);
            break;
        }
        if (may_stay && budget_is_left(thread->budget, x86_rdtsc())) {
            next = thread;
        } else if (!may_stay && balance_is_on_cpu(thread)) {
            stuck = thread; // we stand on its stack: the next time
        } else {
            put_somewhere(s, thread, RUNQUEUE_BEHIND);
            lock_take(&s->lock);
        }
    }
    if (stuck != NULL) {
        runqueue_put(&s->queue, stuck, RUNQUEUE_BEHIND);
        scheduler_request(cpu);
    }
    return next;
}

struct beside {
    const struct cpu *cpu;
    uint32_t domain; // of what runs on the core's other CPUs
};

static bool may_run_beside(const struct thread *thread, const void *opaque) {
    const struct beside *beside = opaque;
    return thread->group->domain == beside->domain && group_may_use(thread->group, beside->cpu) &&
           budget_is_left(thread->budget, x86_rdtsc());
}

static enum core_answer ask_core(const struct scheduler *s, struct cpu *cpu,
                                 const struct thread *thread, uint64_t *retry) {
    return core_enter(cpu, thread->group->domain, thread->class == THREAD_REALTIME, x86_rdtsc(),
                      s->queue.slice, retry);
}

static void tell_siblings(const struct cpu *cpu) {
    for (struct cpu *other = cpu->sibling; other != NULL && other != cpu; other = other->sibling)
        scheduler_request(other);
}

// With the lock. Whether `next` may run beside what runs on the core's other CPUs; if not, somebody
// who may, or NULL: idle, until *retry.
static struct thread *admit(struct scheduler *s, struct cpu *cpu, struct thread *next,
                            uint64_t *retry) {
    if (next == NULL) {
        if (core_leave(cpu))
            tell_siblings(cpu);
        return NULL;
    }
    enum core_answer answer = ask_core(s, cpu, next, retry);
    if (answer == CORE_ENTERED)
        return next;
    runqueue_put(&s->queue, next, RUNQUEUE_FIRST);
    if (answer == CORE_TELL)
        tell_siblings(cpu);
    const struct beside beside = {cpu, core_get_domain(cpu)};
    struct thread *other =
        beside.domain != 0 ? runqueue_find_movable(&s->queue, may_run_beside, &beside) : NULL;
    if (other == NULL || ask_core(s, cpu, other, retry) != CORE_ENTERED)
        return NULL;
    runqueue_remove(&s->queue, other);
    return other;
}

// How long `next` may run; 0: until somebody else comes.
static uint64_t get_slice(const struct scheduler *s, const struct thread *next) {
    if (scheduler_is_idle(next))
        return 0;
    uint64_t slice = 0;
    if (s->is_contended && next->class != THREAD_REALTIME)
        slice = runqueue_slice(&s->queue, next);
    if (budget_is_limited(next->budget)) {
        int64_t left = __atomic_load_n(&next->budget->left, __ATOMIC_RELAXED);
        uint64_t budget = left > 0 ? (uint64_t)left : 1;
        slice = slice == 0 ? budget : MIN(slice, budget);
    }
    return slice;
}

static void begin_run(struct scheduler *s, struct thread *next) {
    uint64_t now = x86_rdtsc();
    if (!scheduler_is_idle(next)) {
        next->wait += now - next->since;
        next->switches += next != s->running;
        next->is_on_cpu = 1;
    }
    next->since = now;
    next->state = THREAD_RUNNING;
    s->running = next;
    __atomic_store_n(&s->running_load, scheduler_is_idle(next) ? 0 : next->share, __ATOMIC_RELAXED);
    s->is_contended = s->queue.count > 0;
}

// Gives the CPU to who is next, the current thread included when it is runnable.
void thread_yield(void) {
    struct cpu *cpu = cpu_current();
    struct scheduler *s = scheduler_of(cpu);
    struct thread *self = s->running;
    (void)__atomic_exchange_n(&cpu->is_wanted, 0, __ATOMIC_ACQUIRE);
    lock_take(&s->lock);
    account(s);
    if (self->state == THREAD_RUNNING && !scheduler_is_idle(self)) {
        self->state = THREAD_RUNNABLE;
        put(s, self, RUNQUEUE_BEHIND);
        lock_take(&s->lock);
    }
    struct thread *next = take_next(s, cpu);
    if (next == NULL && cpu_count > 1) {
        lock_drop(&s->lock);
        bool has_taken = balance_steal(cpu);
        lock_take(&s->lock);
        if (has_taken || s->queue.count > 0)
            next = take_next(s, cpu);
    }
    uint64_t retry = 0;
    next = admit(s, cpu, next, &retry);
    balance_mark_idle(cpu, next == NULL && retry == 0);
    if (next == NULL)
        next = &s->idle;
    begin_run(s, next);
    uint64_t slice = get_slice(s, next);
    lock_drop(&s->lock);
    if (next == &s->idle && retry != 0)
        timer_arm(&s->slice, retry);
    else if (slice != 0)
        timer_arm(&s->slice, next->since + slice);
    else
        timer_cancel(&s->slice);
    if (next != self)
        switch_to(cpu, self, next);
    else if (!scheduler_is_idle(next))
        change_owner(cpu, next->group); // of another domain or class of service, perhaps, by now
}

// Until an interrupt, or for no time. One that comes after the look is taken only once HLT or MWAIT
// has begun, and ends it. Who is promised this CPU does not wait for it to leave a deep state.
static void idle(struct cpu *cpu) {
    bool is_deep = cpu_features.has_mwait && __atomic_load_n(&cpu->pinned, __ATOMIC_RELAXED) == 0;
    if (is_deep)
        x86_monitor(&cpu->is_wanted);
    if (__atomic_load_n(&cpu->is_wanted, __ATOMIC_ACQUIRE) != 0)
        return;
    cpu->mwaits += is_deep;
    if (is_deep)
        x86_mwait(cpu_features.idle_hint);
    else
        x86_sti_hlt_cli();
}

_Noreturn void scheduler_run(void) {
    scheduler_of(cpu_current())->queue.slice = tsc_hz / SLICES_A_SECOND;
    for (;;) {
        thread_yield();
        object_finish();
        idle(cpu_current());
    }
}

_Noreturn void scheduler_exit(void) {
    struct thread *self = thread_current();
    struct scheduler *s = scheduler_of(self->cpu);
    lock_take(&s->lock);
    account(s);
    self->state = THREAD_DEAD;
    runqueue_count(self, false);
    lock_drop(&s->lock);
    assert(s->dead == NULL);
    s->dead = self;
    thread_yield();
    panic("a dead thread ran");
}

// ---- the current thread -------------------------------------------------------------------------

void thread_block(void) {
    struct thread *self = thread_current();
    struct scheduler *s = scheduler_of(self->cpu);
    lock_take(&s->lock);
    bool is_woken = self->has_wake;
    self->has_wake = false;
    if (!is_woken) {
        account(s);
        self->state = THREAD_BLOCKED;
        runqueue_count(self, false);
    }
    lock_drop(&s->lock);
    if (!is_woken)
        thread_yield();
}

void thread_preempt(void) {
    if (scheduler_is_idle(thread_current()))
        return;
    x86_sti_nop_cli();
    if (scheduler_is_wanted())
        thread_yield();
}

// Of one that waits for this CPU: it goes before all other shared ones.
bool thread_yield_to(struct thread *thread) {
    struct scheduler *s = lock_thread(thread);
    bool is_here =
        s == scheduler_of(cpu_current()) && thread->is_queued && thread->class == THREAD_SHARED;
    if (is_here) {
        runqueue_remove(&s->queue, thread);
        runqueue_put(&s->queue, thread, RUNQUEUE_FIRST);
    }
    lock_drop(&s->lock);
    return is_here;
}

void scheduler_read_cpu(const struct cpu *cpu, struct abi_cpu_info *info) {
    const struct scheduler *s = scheduler_of(cpu);
    lock_take((struct spinlock *)&s->lock);
    bool is_idle_now = scheduler_is_idle(s->running);
    info->runnable = s->queue.count + !is_idle_now;
    info->idle = s->idle.run + (is_idle_now ? x86_rdtsc() - s->running->since : 0);
    info->switches = s->switches;
    info->timers = cpu->timers;
    info->mwaits = cpu->mwaits;
    info->run = x86_rdtsc() - s->born - info->idle;
    lock_drop((struct spinlock *)&s->lock);
}
