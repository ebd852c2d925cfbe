// SPDX-License-Identifier: Apache-2.0
// See scheduler_support.h: what tests and jobs ask of the kernel.
#include "tests/unit/kernel/scheduler_support.h"

#include "arch/log.h"
#include "kernel/syscall.h"

#include <criterion/criterion.h>
#include <stdlib.h>

uint64_t job_sleep(struct job *job, uint64_t ticks) {
    job->is_waiting = true;
    job->due = machine.now + ticks;
    timer_arm(&job->thread->timeout, job->due);
    return 0;
}

uint64_t job_wait(struct job *job) {
    job->is_waiting = true;
    job->due = FOREVER;
    return 0;
}

// The partner may have ended, and its place be another's by now.
void job_post(struct job *job) {
    struct process *process = job->process;
    struct job *to = job->partner;
    lock_take(&process->lock);
    if (to->process == process && to->thread != NULL) {
        to->mail++;
        thread_wake(to->thread);
    }
    lock_drop(&process->lock);
}

void job_let_go_first(struct job *job) {
    struct process *process = job->process;
    const struct job *to = job->partner;
    lock_take(&process->lock);
    if (to->process == process && to->thread != NULL)
        (void)thread_yield_to(to->thread);
    lock_drop(&process->lock);
    job->wants_yield = true;
}

struct group *machine_add_group(const struct abi_group *values) {
    int error;
    machine_begin_call();
    struct group *group = group_create(&machine.quota, values, &error);
    machine_end_call();
    machine.groups += group != NULL;
    return group;
}

void machine_write_group(struct group *group, const struct abi_group *values) {
    machine_begin_call();
    struct call c = {.handle = {{.object = &group->object}}, .data.group = *values};
    cr_assert_eq(call_group_write(&c), 0);
    machine_end_call();
}

struct process *machine_add_process(struct group *group) {
    struct process *process = calloc(1, sizeof(*process));
    object_init(&process->object, &process_kind);
    lock_init(&process->lock, LOCK_PROCESS);
    process->object.quota = &machine.quota;
    process->group = group;
    machine.processes[machine.process_count++] = process;
    return process;
}

static struct job *take_job(void) {
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *job = &machine.jobs[i];
        if (job->thread != NULL || job->is_starting)
            continue;
        machine.job_count = MAX(machine.job_count, i + 1);
        return job;
    }
    panic("too many jobs");
}

struct job *machine_add_job(struct process *process, uint64_t (*next)(struct job *), uint32_t cpu) {
    struct job *job = take_job();
    *job = (struct job){.process = process, .next = next, .partner = job, .is_starting = true};
    machine_begin_call();
    int error = thread_create(process, 0, 0, (uint64_t)job, cpu);
    cr_assert_eq(error, ABI_OK, "thread_create: %d", error);
    machine_end_call();
    job->is_starting = false;
    return job;
}

void machine_kill(struct process *process) {
    machine_begin_call();
    lock_take(&process->lock);
    process->is_ending = 1;
    for (uint32_t i = 0; i < machine.job_count; i++)
        if (machine.jobs[i].process == process && machine.jobs[i].thread != NULL)
            thread_interrupt(machine.jobs[i].thread);
    lock_drop(&process->lock);
    uint32_t i = 0;
    while (machine.processes[i] != process)
        i++;
    machine.processes[i] = machine.processes[--machine.process_count];
    object_unref(&process->object);
    machine_end_call();
}
