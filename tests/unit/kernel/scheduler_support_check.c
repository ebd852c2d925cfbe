// SPDX-License-Identifier: Apache-2.0
// See scheduler_support.h: what must hold of the scheduler's state, whatever happens. Part of it
// always; the rest whenever no CPU is in the kernel, which is to say that nothing is on its way.
#include "tests/unit/kernel/scheduler_support.h"

#include <stdlib.h>
#include <string.h>

void machine_halt(void);
void machine_let_in(void);
void machine_monitor(const void *word);
void machine_mwait(uint32_t hint);
#define x86_sti_hlt_cli()     machine_halt()
#define x86_sti_nop_cli()     machine_let_in()
#define x86_monitor(word)     machine_monitor(word)
#define x86_mwait(hint)       machine_mwait(hint)
#define x86_wrmsr(msr, value) ((void)(value))
#include "kernel/balance.c"
#include "kernel/scheduler.c"

// By core: whose domain runs on it, or did last; 0: nobody's yet.
static uint32_t core_domains[MACHINE_CPUS];
static struct {
    uint64_t seen;        // its barriers when somebody of that domain was last seen on the core ...
    uint64_t other;       // ... and when somebody of another domain was, the last time before
} barriers[MACHINE_CPUS]; // by CPU

void machine_reset_scheduler(void) {
    for (uint32_t i = 0; i < CPU_COUNT_MAX && schedulers[i] != NULL; i++)
        free(schedulers[i]);
    memset(schedulers, 0, sizeof(schedulers));
    memset(idle_cpus, 0, sizeof(idle_cpus));
    memset(core_domains, 0, sizeof(core_domains));
    memset(barriers, 0, sizeof(barriers));
}

uint64_t job_ran(const struct job *job) {
    const struct thread *thread = job->thread;
    return thread->run + (thread->state == THREAD_RUNNING ? machine.now - thread->since : 0);
}

static const struct thread *running_on(uint32_t i) {
    return machine.processor[i].cpu.current;
}

static uint32_t job_number(const struct thread *thread) {
    for (uint32_t i = 0; i < machine.job_count; i++)
        if (machine.jobs[i].thread == thread)
            return i;
    return JOBS_MAX;
}

// ---- always -------------------------------------------------------------------------------------

// Of a CPU in ring 3.
static void check_ring_3(uint32_t i) {
    const struct processor *self = &machine.processor[i];
    const struct thread *thread = running_on(i);
    if (thread != schedulers[i]->running || thread->state != THREAD_RUNNING ||
        thread->cpu != &self->cpu || thread->is_on_cpu == 0)
        machine_complain("job %u on CPU %u: its state %u is wrong", job_number(thread), i,
                         thread->state);
}

static void check_kernel(const struct processor *self) {
    if (machine.stalls == 0 && machine.now - self->kernel_since > MACHINE_MS / 10)
        machine_complain("CPU %u does not leave the kernel", self->cpu.index);
}

// A core has gone over to another domain when another one is seen on it. From then on each of its
// CPUs needs a barrier of its own before it runs anybody.
static void note_domain(uint32_t core, uint32_t domain) {
    bool is_change = core_domains[core] != domain && core_domains[core] != 0;
    machine.core_changes += is_change;
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (machine.processor[i].cpu.core != core)
            continue;
        if (is_change)
            barriers[i].other = barriers[i].seen;
        barriers[i].seen = machine.processor[i].cpu.barriers;
    }
    core_domains[core] = domain;
}

// Of the CPUs of the core on which this domain runs: nothing of another one is in their registers,
// nor in the buffers that they would leave to the others when they halt.
static void check_left(uint32_t core, uint32_t domain) {
    for (uint32_t i = 0; i < cpu_count; i++) {
        const struct processor *self = &machine.processor[i];
        if (self->cpu.core != core)
            continue;
        if (self->loaded_domain != 0 && self->loaded_domain != domain)
            machine_complain("domain %u runs beside registers of domain %u in CPU %u", domain,
                             self->loaded_domain, i);
        if (self->stored_domain != 0 && self->stored_domain != domain)
            machine_complain("domain %u runs beside what CPU %u stored of domain %u", domain, i,
                             self->stored_domain);
    }
}

static void check_domain(uint32_t i) {
    const struct processor *self = &machine.processor[i];
    const struct thread *thread = running_on(i);
    uint32_t core = self->cpu.core, domain = thread->group->domain;
    note_domain(core, domain);
    if (self->cpu.barriers == barriers[i].other)
        machine_complain("job %u on CPU %u runs without a barrier", job_number(thread), i);
    check_left(core, domain);
    const struct cpu *sibling = self->cpu.sibling;
    if (sibling != NULL && machine.processor[sibling->index].mode == PROCESSOR_USER &&
        sibling->current->group->domain != domain)
        machine_complain("CPUs %u and %u of one core run jobs %u and %u of two domains", i,
                         sibling->index, job_number(thread), job_number(sibling->current));
}

// Who changed the domain of a group has yet to tell some CPU.
static bool may_not_know(bool is_calm) {
    bool is_told = is_calm;
    for (uint32_t i = 0; i < cpu_count; i++)
        is_told = is_told && machine.processor[i].wake_at == 0;
    return machine.changes_domains && !is_told;
}

// ---- while no CPU is in the kernel --------------------------------------------------------------

struct place {
    uint32_t running, queued, parked;
};
static struct place places[JOBS_MAX + 1]; // by job

struct sums {
    uint64_t load;
    uint32_t count;
};

static void count_queued(struct thread *thread, uint32_t cpu, struct sums *sums) {
    places[job_number(thread)].queued++;
    sums->load += thread->class == THREAD_REALTIME ? 0 : thread->share;
    sums->count++;
    if (!thread->is_queued || thread->cpu != cpu_table[cpu])
        machine_complain("job %u is in the queue of CPU %u and does not know", job_number(thread),
                         cpu);
}

static void count_list(const struct list *list, uint32_t cpu, struct sums *sums) {
    for (struct link *link = list->head.next; link != &list->head; link = link->next)
        count_queued(CONTAINER_OF(link, struct thread, link), cpu, sums);
}

static void count_heap(struct heap_node *node, uint32_t cpu, struct sums *sums) {
    for (; node != NULL; node = node->sibling) {
        count_queued(CONTAINER_OF(node, struct thread, deadline), cpu, sums);
        count_heap(node->child, cpu, sums);
    }
}

static void count_queue(uint32_t cpu) {
    const struct scheduler *s = schedulers[cpu];
    struct sums sums = {0, 0};
    count_list(&s->queue.woken, cpu, &sums);
    count_list(&s->queue.active, cpu, &sums);
    count_list(&s->queue.expired, cpu, &sums);
    count_list(&s->queue.deferred, cpu, &sums);
    count_heap(s->queue.realtime.root, cpu, &sums);
    if (sums.count != s->queue.count || sums.load != s->queue.load)
        machine_complain("the queue of CPU %u holds %u and a load of %lu, and says %u and %lu", cpu,
                         sums.count, sums.load, s->queue.count, s->queue.load);
    if (s->lock.serving != s->lock.next)
        machine_complain("the lock of CPU %u was not given back", cpu);
    if (!scheduler_is_idle(s->running))
        places[job_number(s->running)].running++;
}

static void count_places(void) {
    memset(places, 0, sizeof(places));
    for (uint32_t i = 0; i < cpu_count; i++)
        count_queue(i);
    for (uint32_t i = 0; i < machine.job_count; i++) {
        struct thread *thread = machine.jobs[i].thread;
        if (thread == NULL)
            continue;
        const struct list *parked = &thread->budget->parked;
        for (struct link *link = parked->head.next; link != &parked->head; link = link->next)
            places[i].parked += link == &thread->link;
        if (places[i].parked != 0 && thread->budget->refill.cpu == NULL)
            machine_complain("job %u is parked and nobody will wake it", i);
    }
}

// All threads on one CPU, each with the quantum of its whole group.
static uint64_t get_round(void) {
    uint64_t round = 4 * MACHINE_SLICE;
    for (uint32_t i = 0; i < machine.job_count; i++)
        if (machine.jobs[i].thread != NULL)
            round += MACHINE_SLICE * MAX(machine.jobs[i].thread->group->weight, 100) / 100;
    return round;
}

static void check_wait(uint32_t i, const struct thread *thread) {
    uint64_t wait = machine.now - thread->since, round = get_round();
    machine.worst_wait = MAX(machine.worst_wait, wait * 1000 / round);
    if (wait > round * machine.patience)
        machine_complain("job %u waits in the queue of CPU %u for %lu us", i, thread->cpu->index,
                         wait * 1000 / MACHINE_MS);
}

static void check_job(uint32_t i) {
    const struct job *job = &machine.jobs[i];
    const struct thread *thread = job->thread;
    const struct place *place = &places[i];
    uint32_t expected[] = {[THREAD_RUNNABLE] = 1, [THREAD_RUNNING] = 1, [THREAD_BLOCKED] = 0};
    uint32_t sum = place->running + place->queued + place->parked;
    if (thread->state == THREAD_DEAD || sum != expected[thread->state] ||
        (place->running != 0) != (thread->state == THREAD_RUNNING) ||
        (place->queued != 0) != thread->is_queued)
        machine_complain("job %u in state %u: runs on %u, is queued in %u, parked in %u", i,
                         thread->state, place->running, place->queued, place->parked);
    if (thread->state == THREAD_BLOCKED && (thread->has_wake || job->mail != 0))
        machine_complain("the wake of job %u was lost", i);
    // The timeout may be late, and behind another interrupt.
    if (thread->state == THREAD_BLOCKED && machine.now > job->due + 10 * machine.lateness &&
        machine.stalls == 0)
        machine_complain("the timeout of job %u was lost", i);
    if (thread->state == THREAD_RUNNABLE && thread->is_on_cpu != 0)
        machine_complain("somebody still stands on the stack of job %u", i);
    if (place->queued != 0)
        check_wait(i, thread);
}

static void check_groups(void) {
    for (uint32_t i = 0; i < machine.job_count; i++) {
        if (machine.jobs[i].thread == NULL)
            continue;
        const struct group *group = machine.jobs[i].thread->group;
        uint32_t count = 0;
        for (uint32_t j = 0; j < machine.job_count; j++) {
            const struct thread *thread = machine.jobs[j].thread;
            count += thread != NULL && thread->group == group && thread->class == THREAD_SHARED &&
                     thread->state != THREAD_BLOCKED;
        }
        if (count != group->runnable)
            machine_complain("%u threads of the group of job %u want to run, and it says %u", count,
                             i, group->runnable);
    }
}

static bool is_core_free_for(const struct cpu *cpu, const struct thread *thread) {
    const struct thread *beside = cpu->sibling != NULL ? cpu->sibling->current : NULL;
    return beside == NULL || scheduler_is_idle(beside) ||
           beside->group->domain == thread->group->domain;
}

// Somebody waits elsewhere who could run on this CPU, which is idle.
static bool is_unfair(const struct cpu *cpu) {
    for (uint32_t i = 0; i < machine.job_count; i++) {
        const struct thread *thread = machine.jobs[i].thread;
        if (thread == NULL || places[i].queued == 0 || thread->class != THREAD_SHARED ||
            !may_move(thread, cpu) || !is_core_free_for(cpu, thread))
            continue;
        if (!budget_is_limited(thread->budget) || thread->budget->left > 0)
            return true;
    }
    return false;
}

static void check_idle(struct processor *self, bool waits_for_core) {
    const struct cpu *cpu = &self->cpu;
    bool has_bit = (idle_cpus[cpu->index / 64] >> cpu->index % 64 & 1) != 0;
    if (!has_bit && !waits_for_core)
        machine_complain("CPU %u is idle, and nobody can know", cpu->index);
    if (waits_for_core || !is_unfair(cpu)) {
        self->unfair_since = 0;
        return;
    }
    if (self->unfair_since == 0)
        self->unfair_since = machine.now;
    uint64_t ticks = machine.now - self->unfair_since;
    machine.worst_idle = MAX(machine.worst_idle, ticks);
    if (ticks > machine.idle_max)
        machine_complain("CPU %u is idle, and others wait elsewhere for %lu us", cpu->index,
                         ticks * 1000 / MACHINE_MS);
}

static void check_cpu(struct processor *self) {
    const struct scheduler *s = schedulers[self->cpu.index];
    uint32_t i = self->cpu.index;
    bool is_armed = s->slice.cpu != NULL, is_halted = self->mode == PROCESSOR_HALTED;
    if (self->wake_at != 0 || !is_halted)
        self->unfair_since = 0;
    if (self->wake_at != 0)
        return; // it will look
    if (is_halted != scheduler_is_idle(s->running) || self->cpu.locks_held != 0)
        machine_complain("CPU %u idles while it runs somebody, or holds locks", i);
    if (is_halted)
        check_idle(self, is_armed);
    if (!is_halted && (idle_cpus[i / 64] >> i % 64 & 1) != 0)
        machine_complain("CPU %u is busy, and said to be idle", i);
    if (s->queue.count != 0 && !is_armed)
        machine_complain("%u wait for CPU %u, and nothing ends the turn of who runs",
                         s->queue.count, i);
    if (!is_halted && s->running->class == THREAD_DEDICATED && s->queue.count == 0 && is_armed &&
        !machine.shares_dedicated)
        machine_complain("dedicated CPU %u has a slice timer", i);
}

void machine_check(void) {
    bool is_calm = true;
    for (uint32_t i = 0; i < cpu_count; i++)
        is_calm = is_calm && machine.processor[i].mode != PROCESSOR_KERNEL;
    for (uint32_t i = 0; i < cpu_count; i++) {
        if (machine.processor[i].mode == PROCESSOR_KERNEL)
            check_kernel(&machine.processor[i]);
        if (machine.processor[i].mode != PROCESSOR_USER)
            continue;
        check_ring_3(i);
        if (!may_not_know(is_calm))
            check_domain(i);
    }
    if (!is_calm)
        return;
    count_places();
    for (uint32_t i = 0; i < machine.job_count; i++)
        if (machine.jobs[i].thread != NULL)
            check_job(i);
    check_groups();
    for (uint32_t i = 0; i < cpu_count; i++)
        check_cpu(&machine.processor[i]);
}
