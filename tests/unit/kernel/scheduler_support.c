// SPDX-License-Identifier: Apache-2.0
// See scheduler_support.h: CPUs, their clock, interrupts and locks, and how they run jobs.
#include "tests/unit/kernel/scheduler_support.h"

#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/traps.h"
#include "arch/tsc.h"
#include "kernel/scheduler.h"
#include "kernel/timer.h"

#include <criterion/criterion.h>
#include <sanitizer/common_interface_defs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_SIZE     (128u << 10)
#define INTERRUPTS_MAX 60u // of a CPU in a slice: a quarter is usual

struct machine machine;
struct cpu *cpu_table[CPU_COUNT_MAX];
uint32_t cpu_count;
uint64_t tsc_hz = 1000ULL * MACHINE_MS;

static uint64_t random_state;
static char complaint[200];
// The test's own stack.
static uint64_t test_rsp;
static const void *test_stack;
static size_t test_stack_size;

uint64_t machine_random(uint64_t below) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % below;
}

// ---- coroutines ---------------------------------------------------------------------------------

// Saves the callee-saved registers, stores RSP, takes the other one, and returns there.
void machine_swap(uint64_t *save, uint64_t rsp);
__asm__(".text\n"
        "machine_swap:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi)\n"
        "mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "ret\n");

// The sanitizer, where there is one (`make mutate` builds without), has to know of each change of
// stacks.
static void say_change(void **fake, const void *stack, size_t size) {
    *fake = NULL;
#if __has_feature(address_sanitizer)
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)stack, (void)size;
#endif
}

static void say_changed(void *fake, const void **stack, size_t *size) {
#if __has_feature(address_sanitizer)
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}

static void resume(struct processor *processor) {
    void *fake;
    machine.inside = processor;
    say_change(&fake, processor->stack, STACK_SIZE);
    machine_swap(&test_rsp, processor->rsp);
    say_changed(fake, NULL, NULL);
    machine.inside = NULL;
}

static void suspend(void) {
    void *fake;
    struct processor *processor = machine.inside;
    say_change(&fake, test_stack, test_stack_size);
    machine_swap(&processor->rsp, test_rsp);
    say_changed(fake, &test_stack, &test_stack_size);
}

static void coroutine_main(void) {
    say_changed(NULL, &test_stack, &test_stack_size);
    scheduler_run();
}

static void start_coroutine(struct processor *processor) {
    processor->kernel_since = machine.now;
    processor->stack = malloc(STACK_SIZE);
    uint64_t *words = (uint64_t *)(processor->stack + STACK_SIZE);
    *--words = 0; // where a call would have left its return address, so aligned as one would
    *--words = (uint64_t)coroutine_main;
    words -= 6;
    memset(words, 0, 6 * sizeof(*words));
    processor->rsp = (uint64_t)words;
}

void machine_complain(const char *format, ...) {
    if (complaint[0] == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(complaint, sizeof(complaint), format, arguments);
        va_end(arguments);
    }
    while (machine.inside != NULL)
        suspend();
}

_Noreturn void panic(const char *format, ...) {
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    machine_complain("panic: %s", text);
    fprintf(stderr, "panic: %s\n", text);
    abort();
}

// Time passes in the kernel, and other CPUs go on meanwhile.
static void pass(void) {
    if (machine.inside == NULL)
        return;
    machine.now += machine_random(4);
    if (machine.stalls != 0 && machine_random(machine.stalls) == 0)
        machine.inside->stalled_until = machine.now + machine_random(MACHINE_MS);
    if (machine_random(4) == 0 || machine.inside->stalled_until > machine.now)
        suspend();
}

// ---- the processor ------------------------------------------------------------------------------

struct cpu *host_cpu_current(void) {
    return machine.inside != NULL ? &machine.inside->cpu : &machine.processor[0].cpu;
}

static struct processor *current(void) {
    return CONTAINER_OF(host_cpu_current(), struct processor, cpu);
}

uint64_t host_rdtsc(void) {
    pass();
    return machine.now;
}

void host_pause(void) {
    if (machine.inside == NULL)
        panic("the test waits for a CPU that stands still");
    machine.now++;
    suspend();
}

void lapic_timer_set(uint64_t deadline) {
    struct processor *processor = current();
    if (processor->deadline == deadline)
        return;
    processor->deadline = deadline;
    processor->timer_at = MAX(deadline, machine.now) + machine_random(machine.lateness + 1);
}

void lapic_timer_stop(void) {
    current()->deadline = 0;
}

void lapic_send(uint32_t apic_id, uint64_t command) {
    struct processor *to = &machine.processor[apic_id];
    cr_assert_eq(command, VECTOR_WAKE);
    if (to->wake_at == 0) // one that has not been taken stands for both
        to->wake_at = machine.now + machine_random(200) + 1;
    pass();
}

static bool has_timer(const struct processor *processor) {
    return processor->deadline != 0 && processor->timer_at <= machine.now;
}

static bool has_wake(const struct processor *processor) {
    return processor->wake_at != 0 && processor->wake_at <= machine.now;
}

static void count_interrupt(struct processor *processor) {
    if (machine.now - processor->counted_since >= MACHINE_SLICE) {
        processor->counted_since = machine.now;
        processor->interrupts = 0;
    }
    machine.worst_interrupts = MAX(machine.worst_interrupts, ++processor->interrupts);
    if (processor->interrupts > machine.interrupts_max)
        machine_complain("CPU %u takes more than %u interrupts in a slice", processor->cpu.index,
                         machine.interrupts_max);
}

static void enter_kernel(struct processor *processor) {
    processor->mode = PROCESSOR_KERNEL;
    processor->kernel_since = machine.now;
}

static void take_interrupts(struct processor *processor) {
    while (has_timer(processor) || has_wake(processor)) {
        if (has_wake(processor) && (!has_timer(processor) || machine_random(2) == 0)) {
            processor->wake_at = 0;
            count_interrupt(processor);
        } else {
            processor->deadline = 0;
            count_interrupt(processor);
            timer_interrupt();
        }
        pass();
    }
}

// ---- locks --------------------------------------------------------------------------------------

void lock_init(struct spinlock *lock, enum lock_rank rank) {
    *lock = (struct spinlock){.rank = (uint32_t)rank};
}

void lock_take(struct spinlock *lock) {
    struct cpu *cpu = host_cpu_current();
    if (cpu->locks_held >= BIT(lock->rank))
        panic("lock of rank %u taken while %#lx are held", lock->rank, cpu->locks_held);
    pass();
    while (lock->serving != lock->next) {
        if (machine.inside == NULL)
            panic("the test waits for a lock");
        machine.inside->spins_on = lock;
        suspend();
        machine.inside->spins_on = NULL;
    }
    lock->next++;
    cpu->locks_held |= BIT(lock->rank);
}

void lock_drop(struct spinlock *lock) {
    struct cpu *cpu = host_cpu_current();
    if ((cpu->locks_held & BIT(lock->rank)) == 0)
        panic("lock of rank %u dropped while %#lx are held", lock->rank, cpu->locks_held);
    cpu->locks_held &= ~BIT(lock->rank);
    lock->serving++;
    pass();
}

// ---- what the scheduler calls -------------------------------------------------------------------

void switch_stack(uint64_t *save, uint64_t rsp) {
    struct processor *processor = machine.inside;
    const struct thread *from = CONTAINER_OF(save, struct thread, rsp);
    (void)rsp;
    pass();
    if (from->state != THREAD_DEAD)
        return;
    scheduler_end_switch(); // the next one comes out of its own switch_stack, not of this one
    longjmp(processor->exited, 1);
}

void thread_first_return(void) {}

// ---- jobs ---------------------------------------------------------------------------------------

// In the kernel, between two turns in ring 3. False: another thread may be on this CPU by now.
static bool do_kernel_part(struct job *job) {
    struct thread *self = job->thread;
    bool is_doomed = thread_is_doomed(self);
    if (is_doomed || job->wants_exit)
        thread_exit();
    if (job->is_waiting) {
        if (job->mail == 0 && machine.now < job->due) {
            thread_block();
            return false;
        }
        job->is_waiting = false;
        job->mail -= job->mail > 0;
        timer_cancel(&self->timeout);
    } else if (job->preempts > 0) {
        job->preempts--;
        machine.now += MACHINE_MS / 20;
        thread_preempt();
        return false;
    } else if (job->wants_yield) {
        job->wants_yield = false;
        thread_yield();
        return false;
    }
    if (job->left == 0) {
        job->left = job->next(job);
        if (job->complaint != NULL)
            machine_complain("job %ld: %s", job - machine.jobs, job->complaint);
    }
    return job->left != 0 && !job->wants_exit && !job->is_waiting && !job->wants_yield &&
           job->preempts == 0;
}

static void run_in_ring_3(struct processor *processor, struct job *job) {
    processor->user_since = machine.now;
    processor->user_until = machine.now + job->left;
    processor->mode = PROCESSOR_USER;
    processor->loaded_domain = job->process->group->domain;
    suspend();
    enter_kernel(processor);
    uint64_t ticks = MIN(machine.now - processor->user_since, job->left);
    job->left -= ticks;
    job->done += ticks;
    take_interrupts(processor);
}

// In place of STI; NOP; CLI in thread_preempt.
void machine_let_in(void);
void machine_let_in(void) {
    machine.inside->kernel_since = machine.now;
    take_interrupts(machine.inside);
}

// In place of STI; HLT in scheduler_run: all that this CPU does until it must schedule again as the
// idle thread.
void machine_halt(void);
void machine_halt(void) {
    struct processor *processor = machine.inside;
    (void)setjmp(processor->exited);
    while (processor->cpu.current->process != NULL) {
        struct job *job = job_of(processor->cpu.current);
        bool is_on = do_kernel_part(job);
        if (scheduler_is_wanted())
            thread_yield();
        else if (is_on)
            run_in_ring_3(processor, job);
    }
    if (processor->cpu.is_wanted != 0)
        return;
    processor->mode = PROCESSOR_HALTED;
    suspend();
    enter_kernel(processor);
    take_interrupts(processor);
}

// Others go on in between, and one that wakes this CPU must be seen behind it.
void machine_monitor(const void *word);
void machine_monitor(const void *word) {
    machine.inside->monitored = word;
    pass();
}

// An interrupt that came before it ends it; one that is on its way finds it waiting.
void machine_mwait(uint32_t hint);
void machine_mwait(uint32_t hint) {
    struct processor *processor = machine.inside;
    if (processor->monitored != &processor->cpu.is_wanted)
        machine_complain("CPU %u waits for a store that nobody does", processor->cpu.index);
    if (processor->cpu.is_wanted != 0)
        machine_complain("CPU %u waits although it is wanted", processor->cpu.index);
    if (!cpu_features.has_mwait || hint != cpu_features.idle_hint)
        machine_complain("CPU %u waits in state %u", processor->cpu.index, hint);
    processor->monitored = NULL;
    machine_halt();
}

// ---- the simulation -----------------------------------------------------------------------------

static bool is_ready(const struct processor *processor) {
    if (processor->stalled_until > machine.now)
        return false;
    if (processor->mode == PROCESSOR_KERNEL)
        return processor->spins_on == NULL ||
               processor->spins_on->serving == processor->spins_on->next;
    return has_timer(processor) || has_wake(processor) ||
           (processor->mode == PROCESSOR_USER && processor->user_until <= machine.now);
}

static uint64_t next_event(const struct processor *processor) {
    uint64_t at = FOREVER;
    if (processor->mode == PROCESSOR_USER)
        at = processor->user_until;
    if (processor->mode == PROCESSOR_KERNEL && processor->spins_on == NULL)
        at = processor->stalled_until;
    if (processor->deadline != 0)
        at = MIN(at, processor->timer_at);
    if (processor->wake_at != 0)
        at = MIN(at, processor->wake_at);
    return MAX(at, processor->stalled_until);
}

// One CPU goes on until it is put aside again, or time goes on.
static void step(uint64_t end) {
    struct processor *ready[MACHINE_CPUS];
    uint32_t count = 0;
    uint64_t next = FOREVER;
    for (uint32_t i = 0; i < machine.cpu_count; i++) {
        struct processor *processor = &machine.processor[i];
        if (is_ready(processor))
            ready[count++] = processor;
        else if (next_event(processor) > machine.now)
            next = MIN(next, next_event(processor));
    }
    machine.steps++;
    if (count != 0)
        resume(ready[machine_random(count)]);
    else
        machine.now = MIN(next, end);
    machine_check();
}

static void expect_no_complaint(void) {
    if (complaint[0] == 0)
        return;
    fprintf(stderr, "seed %lu, %u CPUs, TSC %lu: %s\n", machine.seed, machine.cpu_count,
            machine.now, complaint);
    cr_assert_fail("seed %lu, %u CPUs, TSC %lu: %s", machine.seed, machine.cpu_count, machine.now,
                   complaint);
}

void machine_run(uint64_t ticks) {
    uint64_t end = machine.now + ticks;
    while (machine.now < end && complaint[0] == 0)
        step(end);
    expect_no_complaint();
}

static bool is_calm(void) {
    for (uint32_t i = 0; i < machine.cpu_count; i++)
        if (machine.processor[i].mode == PROCESSOR_KERNEL)
            return false;
    return true;
}

void machine_begin_call(void) {
    if (machine.inside != NULL)
        return;
    while (complaint[0] == 0 && !is_calm())
        step(FOREVER);
    expect_no_complaint();
}

void machine_end_call(void) {
    struct processor *self = &machine.processor[0];
    if (machine.inside == NULL && self->cpu.is_wanted != 0 && self->wake_at == 0)
        self->wake_at = machine.now + 1;
}

void machine_start(uint32_t count, bool has_siblings, uint64_t seed) {
    uint64_t now = machine.now;
    machine = (struct machine){.cpu_count = count,
                               .seed = seed,
                               .now = now + 1000,
                               .lateness = MACHINE_MS / 100,
                               .patience = 2,
                               .interrupts_max = INTERRUPTS_MAX,
                               .idle_max = 4 * MACHINE_SLICE};
    random_state = (seed + 1) * 0x9e3779b97f4a7c15ULL;
    machine.quota.object.ref_count = 1;
    machine.quota.object.kind = &quota_kind;
    cpu_count = count;
    cpu_features = (struct cpu_features){.has_mwait = seed % 2 != 0, .idle_hint = 0x20};
    machine_reset_scheduler();
    group_init();
    for (uint32_t i = 0; i < count; i++) {
        struct processor *processor = &machine.processor[i];
        struct cpu *cpu = &processor->cpu;
        cpu->index = cpu->apic_id = i;
        cpu->core = has_siblings ? i / 2 : i;
        cpu->sibling = has_siblings ? &machine.processor[i ^ 1].cpu : NULL;
        cpu->stack = &processor->entry_stack;
        cpu_table[i] = cpu;
        timer_init_cpu(cpu);
        scheduler_init_cpu(cpu);
        start_coroutine(processor);
    }
    machine_begin_call();
}

void machine_end(void) {
    while (machine.process_count != 0)
        machine_kill(machine.processes[0]);
    machine_run(1000 * MACHINE_MS);
    machine_begin_call();
    for (uint32_t i = 0; i < machine.job_count; i++)
        cr_assert_null(machine.jobs[i].thread, "job %u is still there", i);
    cr_assert_eq(machine.stacks, 0, "%u stacks are left", machine.stacks);
    cr_assert_eq(machine.groups, 0, "%u groups are left", machine.groups);
    cr_assert_eq(machine.quota.object.ref_count, 1);
    for (uint32_t i = 0; i < machine.cpu_count; i++) {
        cr_assert_eq(machine.processor[i].mode, PROCESSOR_HALTED);
        cr_assert_eq(machine.processor[i].deadline, 0, "a timer is left on CPU %u", i);
        free(machine.processor[i].stack);
    }
}
