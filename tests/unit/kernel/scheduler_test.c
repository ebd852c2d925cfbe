// SPDX-License-Identifier: Apache-2.0
// kernel/scheduler.c with all that it stands on, on a simulated machine (scheduler_support.h): what
// docs/scheduler.md promises of caps, reservations and cores. (Shares: scheduler_share_test.c;
// schedules drawn at random: scheduler_random_test.c.)
#include "tests/unit/kernel/scheduler_jobs.h"

#include "arch/mitigation.h"
#include "arch/traps.h"

#include <criterion/criterion.h>

// ---- caps ---------------------------------------------------------------------------------------

static void hold_cap(uint32_t cap) {
    struct abi_group values = plain(100);
    struct job *jobs[2];
    machine_start(2, false, cap);
    (void)add_hog(100);
    values.cap = cap;
    struct process *vm = add_vm(&values);
    for (unsigned i = 0; i < 2; i++)
        jobs[i] = machine_add_job(vm, hog, ABI_CPU_ANY);
    machine_run(100 * MACHINE_MS);
    uint64_t budget = MACHINE_PERIOD * cap / 100, last, sum = 0;
    uint64_t first = job_ran(jobs[0]) + job_ran(jobs[1]);
    for (unsigned period = 1; period <= 200; period++) {
        last = sum;
        machine_run(MACHINE_PERIOD);
        sum = job_ran(jobs[0]) + job_ran(jobs[1]) - first;
        // Both may run for all that is left, at the end of one period and the begin of the next.
        cr_expect_leq(sum - last, 4 * budget, "cap %u: %lu in a period", cap, sum - last);
        cr_expect_leq(sum, (period + 2) * budget, "cap %u: %lu in %u periods", cap, sum, period);
    }
    cr_expect_leq(error_permil(sum, 200 * MACHINE_PERIOD, cap * 10), 20, "cap %u: %lu", cap, sum);
    machine_end();
}

Test(kernel_scheduler, caps_hold) {
    hold_cap(10);
    hold_cap(35);
    hold_cap(90);
}

// ---- reservations -------------------------------------------------------------------------------

Test(kernel_scheduler, a_dedicated_cpu_is_its_threads_alone) {
    struct abi_group values = plain(100);
    machine_start(2, false, 1);
    for (unsigned i = 0; i < 4; i++)
        (void)add_hog(100);
    machine_run(100 * MACHINE_MS);
    values.reserved[0] = BIT(1);
    write_cpus(BIT(0));
    const struct job *job = machine_add_job(add_vm(&values), hog, 1);
    machine_run(MACHINE_MS);
    uint64_t timers = machine.processor[1].cpu.timers, ran = job_ran(job);
    machine_run(10000 * MACHINE_MS);
    cr_expect_eq(job_ran(job) - ran, 10000 * MACHINE_MS);
    cr_expect_eq(machine.processor[1].cpu.timers, timers);
    machine_end();
}

// The reserved CPU of two that are idle by turns does not wait in a deep state.
Test(kernel_scheduler, a_promised_cpu_is_not_deeply_idle) {
    struct abi_group values = plain(100);
    machine_start(2, false, 1);
    values.reserved[0] = BIT(1);
    write_cpus(BIT(0));
    struct process *vm = add_vm(&values);
    for (uint32_t cpu = 0; cpu < 2; cpu++) {
        struct job *job = machine_add_job(vm, sleeper, cpu == 1 ? 1 : ABI_CPU_ANY);
        job->a = job->b = MACHINE_MS;
    }
    machine_run(100 * MACHINE_MS);
    uint64_t shared = machine.processor[0].cpu.mwaits, promised = machine.processor[1].cpu.mwaits;
    machine_run(100 * MACHINE_MS);
    cr_expect_gt(machine.processor[0].cpu.mwaits, shared + 30);
    cr_expect_eq(machine.processor[1].cpu.mwaits, promised);
    machine_end();
}

// Takes CPU 1 from all others, and gives it back before those who are there have gone.
static uint64_t taker(struct job *job) {
    if (job->step++ % 2 == 0)
        return job_sleep(job, machine_random(MACHINE_MS));
    write_cpus(BIT(0));
    write_cpus(BIT(0) | BIT(1));
    return 1 + machine_random(100);
}

// The supervisor does not ask that; nobody but these two suffers.
Test(kernel_scheduler, a_dedicated_cpu_that_others_may_use_is_shared) {
    struct abi_group values = plain(100);
    machine_start(1, false, 1);
    values.reserved[0] = BIT(0);
    const struct job *job = machine_add_job(add_vm(&values), hog, 0), *other = add_hog(100);
    machine_run(1000 * MACHINE_MS);
    cr_expect_leq(error_permil(job_ran(job), 1000 * MACHINE_MS, 500), 20, "%lu", job_ran(job));
    cr_expect_leq(error_permil(job_ran(other), 1000 * MACHINE_MS, 500), 20, "%lu", job_ran(other));
    machine_end();
}

Test(kernel_scheduler, a_cpu_that_is_dedicated_for_a_moment_loses_nobody) {
    struct abi_group values = plain(2000);
    values.cpus[0] = BIT(0);
    machine_start(2, false, 1);
    for (unsigned i = 0; i < 12; i++)
        (void)add_hog(100);
    (void)machine_add_job(add_vm(&values), taker, ABI_CPU_ANY);
    machine_run(2000 * MACHINE_MS);
    machine_end();
}

static struct job *add_realtime(uint64_t (*next)(struct job *), uint32_t cpu, uint64_t budget,
                                uint64_t period) {
    struct abi_group values = plain(100);
    values.reserved[0] = BIT(cpu);
    values.budget = budget;
    values.period = period;
    return machine_add_job(add_vm(&values), next, cpu);
}

Test(kernel_scheduler, realtime_threads_meet_their_deadlines) {
    machine_start(2, false, 1);
    for (unsigned i = 0; i < 4; i++)
        (void)add_hog(1000);
    struct job *jobs[3];
    machine.patience = 20; // nine tenths are reserved
    jobs[0] = add_realtime(periodic, 0, 4 * MACHINE_MS, 10 * MACHINE_MS);
    jobs[1] = add_realtime(periodic, 0, 17 * MACHINE_MS, 35 * MACHINE_MS);
    jobs[2] = add_realtime(periodic, 1, 45 * MACHINE_MS, 50 * MACHINE_MS);
    machine_run(20000 * MACHINE_MS);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_geq(jobs[i]->step, 700, "%u: %lu", i, jobs[i]->step);
        cr_expect_eq(jobs[i]->thread->deadline_misses, 0, "%u", i);
    }
    machine_end();
}

// Whose system calls take 50 ms each, with preemption points.
static uint64_t undertaker(struct job *job) {
    job->preempts = 1000;
    return MACHINE_MS / 100;
}

Test(kernel_scheduler, long_work_in_the_kernel_gives_way) {
    struct abi_group values = plain(1000);
    machine_start(1, false, 1);
    machine.patience = 20;
    const struct job *busy = machine_add_job(add_vm(&values), undertaker, ABI_CPU_ANY);
    const struct job *hog = add_hog(1000);
    const struct job *timely = add_realtime(periodic, 0, 2 * MACHINE_MS, 5 * MACHINE_MS);
    machine_run(5000 * MACHINE_MS);
    cr_expect_geq(timely->step, 1900, "%lu", timely->step);
    cr_expect_eq(timely->thread->deadline_misses, 0);
    cr_expect_leq(error_permil(job_ran(busy), job_ran(hog), 1000), 20, "it is on its own account");
    machine_end();
}

Test(kernel_scheduler, a_realtime_hog_gets_its_budget_and_no_more) {
    machine_start(2, false, 1);
    const struct job *job = add_realtime(hog, 0, 3 * MACHINE_MS, 10 * MACHINE_MS);
    machine_run(10000 * MACHINE_MS);
    cr_expect_leq(error_permil(job_ran(job), 10000 * MACHINE_MS, 300), 10);
    machine_end();
}

// The CPU beside is idle while the real-time thread has the hog's.
Test(kernel_scheduler, who_is_preempted_moves_to_an_idle_cpu) {
    machine_start(2, false, 1);
    const struct job *first = add_hog(100);
    machine_run(MACHINE_MS);
    (void)add_realtime(periodic, first->thread->cpu->index, 4 * MACHINE_MS, 10 * MACHINE_MS);
    machine_run(1000 * MACHINE_MS);
    cr_expect_leq(error_permil(job_ran(first), 1000 * MACHINE_MS, 1000), 20, "%lu us",
                  job_ran(first) * 1000 / MACHINE_MS);
    machine_end();
}

// ---- cores --------------------------------------------------------------------------------------

// Four VMs of one hog each on four hardware threads: each has a core for half of the time.
Test(kernel_scheduler, domains_share_cores_in_time) {
    const struct job *jobs[4];
    uint64_t sum = 0;
    machine_start(4, true, 1);
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = add_hog(100);
    machine_run(10000 * MACHINE_MS);
    for (unsigned i = 0; i < 4; i++) {
        sum += job_ran(jobs[i]);
        cr_expect_geq(job_ran(jobs[i]), 3000 * MACHINE_MS, "%u: %lu", i, job_ran(jobs[i]));
    }
    cr_expect_leq(error_permil(sum, 20000 * MACHINE_MS, 1000), 20, "%lu", sum);
    machine_end();
}

static struct job *add_pinned_hog(uint32_t weight, uint64_t cpus) {
    struct abi_group values = plain(weight);
    values.cpus[0] = cpus;
    return machine_add_job(add_vm(&values), hog, ABI_CPU_ANY);
}

Test(kernel_scheduler, a_core_changes_domains_behind_a_barrier) {
    machine_start(2, true, 1);
    (void)add_pinned_hog(100, 1);
    (void)add_pinned_hog(100, 2);
    machine_run(1000 * MACHINE_MS);
    cr_expect_geq(machine.core_changes, 190, "%lu", machine.core_changes);
    machine_end();
}

// Runs for some microseconds, sleeps for as long, and hands over whenever it feels like it.
static uint64_t fidget(struct job *job) {
    switch (machine_random(4)) {
    case 0:
        return job_sleep(job, machine_random(400));
    case 1:
        job->wants_yield = true;
        return 0;
    case 2:
        job_post(job);
        return machine_random(100);
    default:
        return machine_random(400);
    }
}

// Half a million in each of the two tests below, with scheduler_support_check.c looking on at each
// step.
static void change_often(uint32_t cpus) {
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        machine_start(cpus, true, seed);
        machine.interrupts_max = UINT32_MAX;
        for (uint32_t i = 0; i < 2 * cpus; i++) {
            struct abi_group values = plain(100);
            values.domain = 1 + i % 3;
            (void)machine_add_job(add_vm(&values), fidget, ABI_CPU_ANY);
        }
        while (machine.core_changes < 500000 / SEEDS)
            machine_run(100 * MACHINE_MS);
        machine_end();
    }
}

Test(kernel_scheduler, half_a_million_changes_of_one_core) {
    change_often(2);
}
Test(kernel_scheduler, half_a_million_changes_of_two_cores) {
    change_often(4);
}

// Two domains that change places on one CPU, in less than a slice each, leave the third its turn.
Test(kernel_scheduler, owners_that_take_turns_keep_nobody_waiting) {
    machine_start(2, true, 1);
    (void)add_pinned_hog(25, 1);
    (void)add_pinned_hog(25, 1);
    const struct job *third = add_pinned_hog(25, 2);
    machine_run(1000 * MACHINE_MS);
    cr_expect_geq(job_ran(third), 300 * MACHINE_MS, "%lu", job_ran(third));
    machine_end();
}

// Beside a hog of its own domain, which never leaves the core.
Test(kernel_scheduler, a_realtime_thread_keeps_the_core_only_while_it_runs) {
    struct abi_group values = {.weight = 100,
                               .cpus = {2},
                               .reserved = {1},
                               .budget = 2 * MACHINE_MS,
                               .period = 10 * MACHINE_MS};
    machine_start(2, true, 1);
    struct process *vm = add_vm(&values);
    (void)machine_add_job(vm, hog, ABI_CPU_ANY);
    machine_run(MACHINE_MS);
    (void)machine_add_job(vm, periodic, 0);
    const struct job *other = add_pinned_hog(100, 1);
    machine_run(1000 * MACHINE_MS);
    cr_expect_geq(job_ran(other), 200 * MACHINE_MS, "%lu", job_ran(other));
    machine_end();
}

Test(kernel_scheduler, one_domain_has_all_of_its_cores) {
    struct abi_group values = plain(100);
    const struct job *jobs[4];
    machine_start(4, true, 1);
    struct process *vm = add_vm(&values);
    for (unsigned i = 0; i < 4; i++)
        jobs[i] = machine_add_job(vm, hog, ABI_CPU_ANY);
    machine_run(1000 * MACHINE_MS);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_leq(error_permil(job_ran(jobs[i]), 1000 * MACHINE_MS, 1000), 2);
    machine_end();
}
