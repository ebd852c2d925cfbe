// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_task.c: how long the instruction is that asked for a task switch, where the
// processor does not tell. (The switch itself: task_test.c.)
#define exit_task_switch etask_test_switch
#include "vmm/cpu/run.h"

#include "lib/syscall.h"

#include <criterion/criterion.h>
#include <string.h>

#include "vmm/cpu/task.h"

static struct vcpu_registers registers;
static struct task_request asked;
static unsigned switches;

static int64_t read_paper(void *to) {
    memcpy(to, &registers, sizeof(registers));
    return 0;
}
static enum task_result switch_paper(const struct task_request *request) {
    asked = *request;
    switches++;
    return TASK_DONE;
}
#define sys_vcpu_read(handle, group, state, size)  ((void)(handle), (void)(size), read_paper(state))
#define sys_vcpu_write(handle, group, state, size) ((void)(handle), (void)(size), (void)(state), 0)
#define task_switch(request, r, fault)             ((void)(r), (void)(fault), switch_paper(request))
#include "vmm/cpu/exit_task.c"

#define CODE 0x1000ULL

static struct vmm_start start = {.physical_bits = 40};
static struct vmm vmm;
static struct vcpu *const vcpu = &vmm.vcpu[0];
static struct vcpu_page page;
static _Alignas(4096) uint8_t ram[0x200000];

static void set_up(void) {
    vmm.start = &start;
    *vcpu = (struct vcpu){.vmm = &vmm, .page = &page};
    page = (struct vcpu_page){.exit = VCPU_EXIT_TASK_SWITCH, .rip = CODE - 0x800};
    memory_init(&vmm.machine.memory, ram, sizeof(ram));
    registers = (struct vcpu_registers){
        .cr0 = CR0_PE, .cs = {.attributes = 0xc09b, .limit = UINT32_MAX, .base = 0x800}};
    switches = 0;
}
TestSuite(vmm_exit_task, .init = set_up);

#define RUN(source, ...) run_code((source), (const uint8_t[16]){__VA_ARGS__})
static enum exit_action run_code(enum vcpu_task_source source, const uint8_t code[16]) {
    memcpy(ram + CODE, code, 16);
    page.task.source = (uint8_t)source;
    page.dirty = 0;
    return exit_task_switch(vcpu);
}

Test(vmm_exit_task, length_that_is_told_is_taken) {
    page.instruction_length = 9;
    cr_expect_eq(RUN(VCPU_TASK_JUMP, 0x90), EXIT_RESUME);
    cr_expect(switches == 1 && asked.instruction_length == 9);
}

Test(vmm_exit_task, length_is_decoded) {
    (void)RUN(VCPU_TASK_JUMP, 0xea, 1, 2, 3, 4, 5, 6);
    cr_expect_eq(asked.instruction_length, 7);
    (void)RUN(VCPU_TASK_CALL, 0x66, 0x9a, 1, 2, 3, 4);
    cr_expect_eq(asked.instruction_length, 6);
    (void)RUN(VCPU_TASK_CALL, 0xff, 0x1d, 1, 2, 3, 4);
    cr_expect_eq(asked.instruction_length, 6);
    (void)RUN(VCPU_TASK_IRET, 0xcf);
    cr_expect_eq(asked.instruction_length, 1);
    cr_expect_eq(switches, 4);
}

Test(vmm_exit_task, only_events_of_software_have_a_length) {
    page.task.has_event = 1;
    page.task.event = (struct vcpu_inject){.vector = 0x80, .type = 4};
    (void)RUN(VCPU_TASK_GATE, 0xcd, 0x80);
    cr_expect(asked.event.length == 2 && asked.instruction_length == 0);
    page.task.event = (struct vcpu_inject){.vector = 3, .type = 6};
    (void)RUN(VCPU_TASK_GATE, 0xcc);
    cr_expect_eq(asked.event.length, 1);
    page.task.event = (struct vcpu_inject){.vector = 8, .type = 3};
    (void)RUN(VCPU_TASK_GATE, 0xcc);
    cr_expect_eq(asked.event.length, 0);
    cr_expect_eq(switches, 3);
}

// Another vCPU wrote there: the guest runs what it finds.
Test(vmm_exit_task, other_code_is_run_by_the_guest) {
    cr_expect_eq(RUN(VCPU_TASK_JUMP, 0xcf), EXIT_RESUME);
    cr_expect_eq(RUN(VCPU_TASK_JUMP, 0x90), EXIT_RESUME);
    cr_expect(switches == 0 && page.dirty == 0);
    registers.cs.limit = 0x100;
    cr_expect_eq(RUN(VCPU_TASK_IRET, 0xcf), EXIT_RESUME);
    cr_expect(page.dirty == VCPU_DIRTY_INJECT && page.inject.vector == EMULATE_GP);
}
