// SPDX-License-Identifier: Apache-2.0
// kernel/thread.c on the simulated machine: how a thread starts, and what may not be one.
#include "tests/unit/kernel/scheduler_support.h"

#include "arch/traps.h"
#include "kernel/vcpu.h"

#include <criterion/criterion.h>

static uint64_t stay(struct job *job) {
    (void)job;
    return MACHINE_MS;
}

static struct process *add_process(void) {
    const struct abi_group values = {.weight = 100, .cpus = {1}};
    return machine_add_process(machine_add_group(&values));
}

Test(kernel_thread, places_that_are_not_ring_3s_are_refused) {
    machine_start(2, false, 1);
    struct process *process = add_process();
    const struct {
        uint64_t entry, stack;
        uint32_t cpu;
    } bad[] = {{ABI_USER_END, 0, ABI_CPU_ANY}, {KERNEL_IMAGE, 0, ABI_CPU_ANY},
               {UINT64_MAX, 0, ABI_CPU_ANY},   {0, ABI_USER_END + 1, ABI_CPU_ANY},
               {0, UINT64_MAX, ABI_CPU_ANY},   {0, 0, 2},
               {0, 0, CPU_COUNT_MAX},          {0, 0, ABI_CPU_ANY - 1}};
    uint32_t stacks = machine.stacks;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++)
        cr_expect_eq(thread_create(process, bad[i].entry, bad[i].stack, 0, bad[i].cpu),
                     ABI_ERROR_ARGUMENT, "case %u", i);
    cr_expect_eq(thread_create(process, 0, 0, 0, 1), ABI_ERROR_ARGUMENT,
                 "a CPU that is not reserved for it");
    cr_expect_eq(machine.stacks, stacks, "refusals take no stack");
    cr_expect_eq(process->thread_count, 0);
    machine_kill(process);
    machine_end();
}

// RFLAGS with interrupts on and nothing else, the segments of ring 3: what SYSEXIT or IRET takes
// up.
Test(kernel_thread, starts_in_ring_3_with_nothing_of_the_kernels) {
    machine_start(1, false, 1);
    struct process *process = add_process();
    struct job *job = machine_add_job(process, stay, ABI_CPU_ANY);
    const struct trap_frame *frame = (const struct trap_frame *)job->thread - 1;
    cr_expect_eq(frame->cs, SELECTOR_USER_CODE | 3);
    cr_expect_eq(frame->ss, SELECTOR_USER_DATA2 | 3);
    cr_expect_eq(frame->rflags, RFLAGS_ONE | RFLAGS_IF);
    cr_expect_lt(frame->rip, ABI_USER_END);
    cr_expect_leq(frame->rsp, ABI_USER_END);
    cr_expect_eq(job->thread->process, process);
    machine_run(2 * MACHINE_MS);
    machine_kill(process);
    machine_end();
}

Test(kernel_thread, leaves_its_vcpu_when_it_ends) {
    static struct vcpu vcpu;
    machine_start(1, false, 1);
    struct process *process = add_process();
    struct job *job = machine_add_job(process, stay, ABI_CPU_ANY);
    job->thread->vcpu = &vcpu;
    machine_run(2 * MACHINE_MS);
    machine_kill(process);
    machine_end();
    cr_expect_eq(machine.released, 1);
}
