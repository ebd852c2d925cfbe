// SPDX-License-Identifier: Apache-2.0
// VMs and jobs of one kind or another for the tests of the scheduler.
#pragma once

#include "tests/unit/kernel/scheduler_support.h"

#include <criterion/criterion.h>

#define SEEDS 10u

static inline struct abi_group plain(uint32_t weight) {
    struct abi_group values = {.weight = weight};
    for (uint32_t cpu = 0; cpu < MACHINE_CPUS; cpu++)
        values.cpus[cpu / 64] |= BIT(cpu % 64);
    return values;
}

static inline struct process *add_vm(const struct abi_group *values) {
    struct group *group = machine_add_group(values);
    cr_assert_not_null(group);
    return machine_add_process(group);
}

static inline uint64_t hog(struct job *job) {
    (void)job;
    return 1000 * MACHINE_MS;
}

static inline struct job *add_hog(uint32_t weight) {
    struct abi_group values = plain(weight);
    return machine_add_job(add_vm(&values), hog, ABI_CPU_ANY);
}

// Runs for about `a`, sleeps for about `b`.
static inline uint64_t sleeper(struct job *job) {
    bool has_slept = job->step++ % 2 != 0;
    return has_slept ? job->a / 2 + machine_random(job->a + 1)
                     : job_sleep(job, job->b / 2 + machine_random(job->b + 1));
}

// |part - whole * expected / 1000| in permil of what is expected.
static inline uint64_t error_permil(uint64_t part, uint64_t whole, uint64_t expected) {
    uint64_t wanted = whole * expected / 1000;
    return (part > wanted ? part - wanted : wanted - part) * 1000 / wanted;
}

// A job of nearly the whole budget in each period; `b` is when it is due.
static inline uint64_t periodic(struct job *job) {
    const struct group *group = job->thread->group;
    if (job->step++ % 2 == 0) {
        job->b = MAX(job->due, machine.now) + group->period;
        return group->budget - 10 * machine.lateness;
    }
    if (machine.now > job->b + 10 * machine.lateness)
        job->complaint = "it is late";
    return machine.now < job->b ? job_sleep(job, job->b - machine.now) : 0;
}

// The supervisor: from now on the shared threads of all groups may run there only.
static inline void write_cpus(uint64_t cpus) {
    for (uint32_t i = 0; i < machine.process_count; i++) {
        struct group *group = machine.processes[i]->group;
        struct abi_group values = plain(group->weight);
        values.cap = (uint32_t)(group->cap.amount * 100 / group->cap.period);
        values.cpus[0] = cpus;
        machine_write_group(group, &values);
    }
}
