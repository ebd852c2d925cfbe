// SPDX-License-Identifier: Apache-2.0
// kernel/scheduler.c with all that it stands on, on a simulated machine (scheduler_support.h): what
// docs/scheduler.md promises of shares and latency.
#include "tests/unit/kernel/scheduler_jobs.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

// `count` hogs in each of three groups of weights 1 to 2 to 4.
static void share_by_weight(uint32_t cpus, uint32_t count, uint64_t ticks) {
    struct job *jobs[3][MACHINE_CPUS];
    uint64_t sums[3] = {0, 0, 0};
    machine_start(cpus, false, cpus);
    for (unsigned i = 0; i < 3; i++) {
        struct abi_group values = plain(100u << i);
        struct process *vm = add_vm(&values);
        for (unsigned j = 0; j < count; j++)
            jobs[i][j] = machine_add_job(vm, hog, ABI_CPU_ANY);
    }
    machine_run(ticks);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < count; j++)
            sums[i] += job_ran(jobs[i][j]);
    uint64_t sum = sums[0] + sums[1] + sums[2];
    for (unsigned i = 0; i < 3; i++)
        cr_expect_leq(error_permil(sums[i], sum, (1000u << i) / 7), 20,
                      "%u CPUs, weight %u: %lu of %lu", cpus, 100u << i, sums[i], sum);
    cr_expect_leq(error_permil(sum, cpus * ticks, 1000), 2, "a CPU idled");
    machine_end();
}

Test(kernel_scheduler_share, groups_share_by_weight) {
    share_by_weight(1, 1, 20000 * MACHINE_MS);
    share_by_weight(2, 2, 20000 * MACHINE_MS);
    share_by_weight(4, 4, 20000 * MACHINE_MS);
}

// Equal ones, more than CPUs, and not a multiple: they change sides.
static void share_cpus(uint32_t cpus, uint32_t count) {
    const struct job *jobs[JOBS_MAX];
    machine_start(cpus, false, count);
    for (unsigned i = 0; i < count; i++)
        jobs[i] = add_hog(100);
    machine_run(40000 * MACHINE_MS);
    for (unsigned i = 0; i < count; i++)
        cr_expect_leq(error_permil(job_ran(jobs[i]), cpus * 40000 * MACHINE_MS / count, 1000), 50,
                      "%u of %u on %u CPUs: %lu", i, count, cpus, job_ran(jobs[i]));
    machine_end();
}

Test(kernel_scheduler_share, equal_hogs_change_sides) {
    share_cpus(2, 3);
    share_cpus(2, 5);
    share_cpus(4, 5);
    share_cpus(4, 6);
    share_cpus(4, 7);
    share_cpus(4, 9);
}

// Each CPU gets its thread, gives none away, and idles when that is gone.
Test(kernel_scheduler_share, three_hundred_cpus_all_work) {
    const struct job *jobs[MACHINE_CPUS];
    machine_start(MACHINE_CPUS, true, 1);
    struct abi_group values = plain(100);
    struct process *vm = add_vm(&values);
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        jobs[i] = machine_add_job(vm, hog, ABI_CPU_ANY);
    machine_run(100 * MACHINE_MS);
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        cr_expect_gt(job_ran(jobs[i]), 90 * MACHINE_MS, "job %u", i);
    machine_end();
}

// Runs for most of a quantum, when it has mail, and lets its partner go on.
static uint64_t runner(struct job *job) {
    switch (job->step++ % 3) {
    case 0:
        return job_wait(job);
    case 1:
        return job->a;
    default:
        job_post(job);
        return 1;
    }
}

static struct job *add_relay(struct process *vm, unsigned count, uint64_t ticks) {
    struct job *first = machine_add_job(vm, runner, ABI_CPU_ANY), *last = first;
    first->a = ticks;
    for (unsigned i = 1; i < count; i++) {
        struct job *job = machine_add_job(vm, runner, ABI_CPU_ANY);
        job->a = ticks;
        last = last->partner = job;
    }
    last->partner = first;
    job_post(last);
    return first;
}

// What the others leave it, in permil of the CPU. It may be a bit more: who is woken by one that
// still runs has half of its group's quantum in that round.
static void expect_hog_share(const struct job *hog_job, uint64_t permil, const char *what) {
    uint64_t before = job_ran(hog_job), ticks = 20000 * MACHINE_MS;
    machine_run(ticks);
    uint64_t ran = job_ran(hog_job) - before;
    if (getenv("SIMULATION_FIGURES") != NULL)
        fprintf(stderr, "%s: %lu permil\n", what, ran * 1000 / ticks);
    cr_expect_leq(error_permil(ran, ticks, permil), ran * 1000 > ticks * permil ? 100 : 20,
                  "%s: %lu permil", what, ran * 1000 / ticks);
}

// Each of them has just been woken, and is the only one of its group that wants to run.
Test(kernel_scheduler_share, a_relay_of_threads_gets_no_more_than_one) {
    static const unsigned count[] = {2, 4, 8};
    static const uint64_t ticks[] = {MACHINE_SLICE / 7, MACHINE_SLICE * 9 / 10, 3 * MACHINE_SLICE};
    struct abi_group values = plain(100);
    for (unsigned i = 0; i < 3; i++)
        for (unsigned j = 0; j < 3; j++) {
            machine_start(1, false, i);
            const struct job *neighbour = add_hog(100);
            (void)add_relay(add_vm(&values), count[i], ticks[j]);
            expect_hog_share(neighbour, 500, "of equal weight");
            machine_end();
        }
}

Test(kernel_scheduler_share, relays_share_by_weight) {
    struct job *jobs[3];
    machine_start(1, false, 1);
    for (unsigned i = 0; i < 3; i++) {
        struct abi_group values = plain(100u << i);
        struct process *vm = add_vm(&values);
        jobs[i] = i == 1 ? machine_add_job(vm, hog, ABI_CPU_ANY)
                         : add_relay(vm, 5, MACHINE_SLICE * 9 / 10 << i);
    }
    expect_hog_share(jobs[1], 2000 / 7, "twice one, and half of the other");
    machine_end();
}

// A new thread takes over just before the quantum of the last one ends.
static uint64_t mortal(struct job *job) {
    if (job->step++ == 0)
        return job->a;
    machine_add_job(job->process, mortal, ABI_CPU_ANY)->a = job->a;
    job->wants_exit = true;
    return 0;
}

Test(kernel_scheduler_share, a_line_of_heirs_gets_no_more_than_one) {
    static const uint64_t ticks[] = {MACHINE_SLICE / 7, MACHINE_SLICE * 9 / 10, 3 * MACHINE_SLICE};
    struct abi_group values = plain(100);
    for (unsigned i = 0; i < 3; i++) {
        machine_start(1, false, i);
        const struct job *neighbour = add_hog(100);
        machine_add_job(add_vm(&values), mortal, ABI_CPU_ANY)->a = ticks[i];
        expect_hog_share(neighbour, 500, "of equal weight");
        machine_end();
    }
}

// Those that take turns use up what their group has in each round.
Test(kernel_scheduler_share, a_relay_leaves_its_own_group_a_share) {
    struct abi_group values = plain(100);
    machine_start(1, false, 1);
    const struct job *neighbour = add_hog(100);
    struct process *vm = add_vm(&values);
    const struct job *mate = machine_add_job(vm, hog, ABI_CPU_ANY);
    (void)add_relay(vm, 4, MACHINE_SLICE * 9 / 10);
    expect_hog_share(neighbour, 500, "of equal weight");
    cr_expect_geq(job_ran(mate), 20000 * MACHINE_MS / 8, "%lu", job_ran(mate));
    machine_end();
}

// A device's thread beside a vCPU that computes: both are of one group.
Test(kernel_scheduler_share, a_sleeper_waits_for_its_own_group_no_longer_than_a_round) {
    struct abi_group values = plain(100);
    machine_start(1, false, 1);
    for (unsigned i = 0; i < 5; i++)
        (void)add_hog(100);
    struct process *vm = add_vm(&values);
    (void)machine_add_job(vm, hog, ABI_CPU_ANY);
    struct job *job = machine_add_job(vm, sleeper, ABI_CPU_ANY);
    job->a = MACHINE_MS / 10;
    job->b = 10 * MACHINE_MS;
    uint64_t worst = 0;
    for (unsigned i = 0; i < 20000; i++) {
        machine_run(MACHINE_MS);
        if (job->thread->state == THREAD_RUNNABLE)
            worst = MAX(worst, machine.now - job->thread->since);
    }
    cr_expect_leq(worst, 6 * MACHINE_SLICE, "%lu us", worst * 1000 / MACHINE_MS);
    uint64_t mean = job->thread->wait / job->step * 2;
    cr_expect_leq(mean, 3 * MACHINE_SLICE, "%lu us", mean * 1000 / MACHINE_MS);
    machine_end();
}

// It uses less than its share.
Test(kernel_scheduler_share, a_sleeper_waits_for_no_hog) {
    machine_start(1, false, 1);
    for (unsigned i = 0; i < 10; i++)
        (void)add_hog(100);
    struct abi_group values = plain(100);
    struct job *job = machine_add_job(add_vm(&values), sleeper, ABI_CPU_ANY);
    job->a = MACHINE_MS / 10;
    job->b = 40 * MACHINE_MS;
    machine_run(20000 * MACHINE_MS);
    uint64_t mean = job->thread->wait / job->step * 2;
    cr_expect_leq(mean, MACHINE_SLICE / 10, "%lu ticks", mean);
    machine_end();
}

// Two that wake each other, and wait for nothing else.
static uint64_t player(struct job *job) {
    if (job->step++ % 2 == 0)
        return job_wait(job);
    job_post(job);
    return 1 + machine_random(MACHINE_MS);
}

Test(kernel_scheduler_share, no_ball_is_lost) {
    for (uint32_t cpus = 1; cpus <= 4; cpus *= 2) {
        struct abi_group values = plain(100);
        machine_start(cpus, cpus == 4, cpus);
        struct process *vm = add_vm(&values);
        struct job *one = machine_add_job(vm, player, ABI_CPU_ANY);
        struct job *two = machine_add_job(vm, player, ABI_CPU_ANY);
        one->partner = two;
        two->partner = one;
        job_post(one);
        machine_run(2000 * MACHINE_MS);
        cr_expect_geq(one->step, 3000, "%u CPUs: %lu", cpus, one->step);
        machine_end();
    }
}
