// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_memory.c: what becomes of a vCPU for whose address the kernel had no tables.
#define exit_memory       shortage_test_memory
#define exit_refused      shortage_test_refused
#define exit_shortage     shortage_test_shortage
#define run_guest_pointer shortage_test_pointer
#define run_emulate_init  shortage_test_emulate_init
#define run_walk_of       shortage_test_walk_of
#include "vmm/cpu/run.h"

#include "lib/syscall.h"

#include <criterion/criterion.h>
#include <string.h>

#define RAM 0x1000000ULL

static unsigned yields;
#define sys_thread_yield() ((void)yields++)
#include "vmm/cpu/exit_memory.c"

static struct vmm paper_vmm;
static struct vcpu paper_vcpu;
static struct vcpu_page page;
static uint8_t ram[1];

static void set_up(void) {
    yields = 0;
    memset(&page, 0, sizeof(page));
    memory_init(&paper_vmm.machine.memory, ram, RAM); // which nobody touches
    paper_vcpu = (struct vcpu){.vmm = &paper_vmm, .page = &page};
    page.exit = VCPU_EXIT_FAILED;
    page.failure = VCPU_FAILURE_MEMORY;
}
TestSuite(vmm_shortage, .init = set_up);

Test(vmm_shortage, of_ram_is_the_vms_end) {
    page.failure_detail = 0x5000;
    cr_expect_eq(exit_shortage(&paper_vcpu), EXIT_CRASH);
    cr_expect_not_null(strstr(paper_vcpu.reason, "out of memory for the tables that map 0x5000"));
}

// It found another vCPU's page of ones, which that one's step has for a moment.
Test(vmm_shortage, of_another_ones_step_passes) {
    page.failure_detail = 0xd0000000;
    cr_expect_eq(exit_shortage(&paper_vcpu), EXIT_RESUME);
    cr_expect_eq(page.dirty, 0);
    cr_expect_eq(yields, 1);
}
