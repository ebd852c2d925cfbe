// SPDX-License-Identifier: Apache-2.0
// kernel/scheduler.c on a simulated machine, whose threads do anything and whose supervisor changes
// everything. SIMULATION_SEED is the first seed, SIMULATION_FIGURES tells what was seen.
#include "tests/unit/kernel/scheduler_jobs.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_reckless; // the supervisor that reserves

// Any of what threads do.
static uint64_t anything(struct job *job) {
    switch (machine_random(64) % 12) {
    case 0:
        return job_sleep(job, machine_random(4 * MACHINE_SLICE));
    case 1:
        return job_sleep(job, machine_random(200));
    case 2:
        job->wants_yield = true;
        return 0;
    case 3:
        job_post(job);
        return machine_random(100);
    case 4:
        job_post(job);
        return job_sleep(job, 20 * MACHINE_SLICE);
    case 5:
        job_let_go_first(job);
        return 0;
    case 6:
        job->wants_exit = job->a != 0 && machine_random(job->a) == 0;
        return 1;
    default:
        return machine_random(machine_random(4) == 0 ? 4 * MACHINE_SLICE : MACHINE_MS);
    }
}

// As the supervisor counts; of those that end now, as of none.
static uint32_t reserved_permil(uint32_t cpu) {
    uint64_t permil = 0;
    for (uint32_t i = 0; i < machine.process_count; i++) {
        const struct group *group = machine.processes[i]->group;
        if ((group->reserved[0] >> cpu & 1) != 0)
            permil += group->budget != 0 ? group->budget * 1000 / group->period + 1 : 1000;
    }
    return (uint32_t)permil;
}

static uint64_t shared_cpus(void) {
    uint64_t cpus = 0;
    for (uint32_t i = 0; i < machine.cpu_count; i++)
        if (is_reckless || reserved_permil(i) < 1000)
            cpus |= BIT(i);
    return cpus;
}

static void draw_shared(struct abi_group *values) {
    const uint64_t all = BIT(machine.cpu_count) - 1;
    *values = plain(50u << machine_random(4));
    values->cpus[0] = shared_cpus();
    if (machine_random(3) == 0)
        values->cpus[0] &= 1 + machine_random(all);
    if (values->cpus[0] == 0)
        values->cpus[0] = shared_cpus();
    if (machine_random(3) == 0)
        values->cap = 5 + (uint32_t)machine_random(150);
    values->domain = (uint32_t)machine_random(4); // 0: its own
}

// False: it does not fit.
static bool draw_reserved(struct abi_group *values) {
    uint32_t cpu = (uint32_t)machine_random(machine.cpu_count);
    *values = plain(100);
    values->reserved[0] = BIT(cpu);
    values->cpus[0] = shared_cpus();
    if (machine_random(2) == 0) {
        values->cpus[0] &= ~BIT(cpu);
        if (is_reckless)
            values->cpus[0] = shared_cpus();
        else if (values->cpus[0] == 0 || reserved_permil(cpu) != 0)
            return false;
        else
            write_cpus(values->cpus[0]);
        return true;
    }
    values->period = MACHINE_MS * (5 + machine_random(40));
    values->budget = values->period / (is_reckless ? 1 : 3 + machine_random(10));
    return is_reckless || reserved_permil(cpu) + values->budget * 1000 / values->period < 900;
}

// One to three threads; reserved CPUs are the first one's.
static void add_any_vm(uint64_t life) {
    struct abi_group values;
    bool has_reserved = machine_random(4) == 0;
    if (!has_reserved)
        draw_shared(&values);
    else if (!draw_reserved(&values))
        return;
    struct process *vm = add_vm(&values);
    uint32_t cpu = has_reserved ? (uint32_t)__builtin_ctzll(values.reserved[0]) : ABI_CPU_ANY;
    struct job *first = machine_add_job(vm, anything, cpu), *last = first;
    first->a = life;
    for (uint64_t n = machine_random(3); n != 0; n--) {
        struct job *job = machine_add_job(vm, machine_random(4) == 0 ? hog : anything, ABI_CPU_ANY);
        job->partner = last;
        job->a = life;
        first->partner = last = job;
    }
}

// The supervisor: changes groups, ends VMs, makes others.
static uint64_t manager(struct job *job) {
    struct process *vm = machine.processes[machine_random(machine.process_count)];
    struct abi_group values;
    if (machine_random(3) != 0)
        return job_sleep(job, machine_random(4 * MACHINE_SLICE));
    switch (machine_random(3)) {
    case 0:
        draw_shared(&values);
        if (!machine.changes_domains)
            values.domain = 0; // stays what it is
        if (vm != job->process)
            machine_write_group(vm->group, &values);
        break;
    case 1:
        if (vm != job->process && machine.process_count > 3)
            machine_kill(vm);
        break;
    default:
        if (machine.process_count < 12)
            add_any_vm(machine_random(2) * 100);
    }
    return machine_random(1000);
}

static void run_any(uint32_t cpus, bool has_siblings, uint64_t seed) {
    machine_start(cpus, has_siblings, seed);
    machine.stalls = seed % 2 * 500;
    machine.changes_domains = seed % 4 == 0;
    if (has_siblings) {
        machine.patience = 4;
        machine.idle_max = 20 * MACHINE_SLICE;
    }
    machine.shares_dedicated = is_reckless;
    if (is_reckless)
        machine.patience = 100000; // who is left no time waits
    struct abi_group values = plain(400);
    (void)machine_add_job(add_vm(&values), manager, ABI_CPU_ANY);
    for (uint32_t i = 0; i < cpus + 2; i++)
        add_any_vm(0);
    machine_run(4000 * MACHINE_MS);
    machine_end();
    if (getenv("SIMULATION_FIGURES") != NULL)
        fprintf(stderr, "%u %d seed %lu: %lu steps, wait %lu, idle %lu us, interrupts %u\n", cpus,
                has_siblings, seed, machine.steps, machine.worst_wait,
                machine.worst_idle * 1000 / MACHINE_MS, machine.worst_interrupts);
}

static void run_seeds(uint32_t cpus, bool has_siblings) {
    const char *first = getenv("SIMULATION_SEED");
    uint64_t seed = first != NULL ? strtoul(first, NULL, 0) : 1;
    for (uint64_t n = 0; n < SEEDS; n++)
        run_any(cpus, has_siblings, seed + n);
}

Test(kernel_scheduler_random, random_on_one_cpu) {
    run_seeds(1, false);
}
Test(kernel_scheduler_random, random_on_two_cpus) {
    run_seeds(2, false);
}
Test(kernel_scheduler_random, random_on_four_cpus) {
    run_seeds(4, false);
}
Test(kernel_scheduler_random, random_on_two_cores) {
    run_seeds(4, true);
}
// Groups are written with anything, and no sum is looked at: the kernel loses nobody.
Test(kernel_scheduler_random, random_reservations_on_two_cpus) {
    is_reckless = true;
    run_seeds(2, false);
}
Test(kernel_scheduler_random, random_reservations_on_two_cores) {
    is_reckless = true;
    run_seeds(4, true);
}
