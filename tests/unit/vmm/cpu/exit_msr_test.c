// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_msr.c: MSRs that are parts of the vCPU's state are read and written there, or fault
// and change nothing; the guest's time moves, and its clocks are told. (What is valid:
// control_test.c, pvclock_test.c; the others: msr_test.c.)
#include <criterion/criterion.h>
#include <string.h>

#define exit_msr_read     emsr_test_read
#define exit_msr_write    emsr_test_write
#define run_date_ns       emsr_test_date_ns
#define run_read_context  emsr_test_read_context
#define run_write_context emsr_test_write_context
#include "vmm/cpu/exit_msr.c"

// The kernel of paper.
static struct vcpu_registers registers;
static unsigned writes;
static bool is_refused;

bool run_read_context(struct vcpu *vcpu, struct vcpu_registers *r) {
    (void)vcpu;
    *r = registers;
    return true;
}
bool run_write_context(struct vcpu *vcpu, const struct vcpu_registers *r) {
    (void)vcpu;
    if (is_refused)
        return false;
    registers = *r;
    writes++;
    return true;
}

#define RAM      0x400000ULL
#define CLOCK_AT 0x1000ULL
#define STEAL_AT 0x2040ULL
#define WALL_AT  0x3000ULL
#define HZ       1000000000ULL // a tick is a ns

static _Alignas(4096) uint8_t ram[RAM];
static struct vmm_start start;
static struct vmm vmm;
static struct vcpu *const vcpu = &vmm.vcpu[0];
static struct vcpu_page page;

static void set_up(void) {
    vmm.control = (struct control){.efer = EFER_SCE | EFER_LME | EFER_LMA};
    *vcpu = (struct vcpu){.vmm = &vmm, .page = &page};
    start = (struct vmm_start){.utc_seconds = 1700000000, .tsc_hz = HZ};
    vmm.start = &start;
    vmm.tsc_hz = HZ;
    vmm.machine.rate = (struct pvclock_rate){.tsc_hz = HZ, .is_stable = true};
    memory_init(&vmm.machine.memory, ram, RAM);
    msr_reset(&vmm.machine.msrs[0], 0);
    page = (struct vcpu_page){0};
    registers = (struct vcpu_registers){
        .efer = EFER_LME | EFER_LMA, .pat = 0x0007040600070406, .debugctl = 2};
}

TestSuite(vmm_exit_msr, .init = set_up);

static uint64_t read(uint32_t msr) {
    page.msr = msr;
    cr_expect_eq(exit_msr_read(vcpu), EXIT_ADVANCE);
    return page.gpr[INSN_RDX] << 32 | page.gpr[INSN_RAX];
}

static enum exit_action write(uint32_t msr, uint64_t value) {
    page.msr = msr;
    page.gpr[INSN_RAX] = 0xbeef00000000 | (uint32_t)value;
    page.gpr[INSN_RDX] = value >> 32;
    return exit_msr_write(vcpu);
}

Test(vmm_exit_msr, state_is_read) {
    cr_expect_eq(read(MSR_EFER), EFER_LME | EFER_LMA);
    cr_expect_eq(read(MSR_PAT), 0x0007040600070406);
    cr_expect_eq(read(MSR_DEBUGCTL), 2);
}

Test(vmm_exit_msr, state_is_written_each_into_its_place) {
    cr_expect_eq(write(MSR_PAT, 0x0001040506070000), EXIT_ADVANCE);
    cr_expect_eq(registers.pat, 0x0001040506070000);
    cr_expect(registers.efer == (EFER_LME | EFER_LMA) && registers.debugctl == 2);
    cr_expect_eq(write(MSR_DEBUGCTL, 0), EXIT_ADVANCE);
    cr_expect_eq(registers.debugctl, 0);
    cr_expect_eq(write(MSR_EFER, EFER_SCE | EFER_LME), EXIT_ADVANCE);
    cr_expect_eq(registers.efer, EFER_SCE | EFER_LME | EFER_LMA, "LMA stays");
    cr_expect_eq(registers.pat, 0x0001040506070000);
}

Test(vmm_exit_msr, reserved_types_of_pat_fault) {
    cr_expect_eq(write(MSR_PAT, 0x0207040600070406), EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_INJECT);
    cr_expect(page.inject.vector == EMULATE_GP && page.inject.has_error);
    cr_expect(writes == 0 && registers.pat == 0x0007040600070406);
}

static void expect_fault(uint32_t msr, uint64_t value) {
    page.dirty = 0;
    cr_expect_eq(write(msr, value), EXIT_RESUME, "MSR %#x", msr);
    cr_expect_eq(page.dirty, VCPU_DIRTY_INJECT);
}

// ---- time ---------------------------------------------------------------------------------------

// version, reserved, TSC: msr.rst, MSR_KVM_SYSTEM_TIME_NEW
static uint32_t told_version(void) {
    return *(const uint32_t *)(const void *)(ram + CLOCK_AT);
}
static uint64_t told_tsc(void) {
    return *(const uint64_t *)(const void *)(ram + CLOCK_AT + 8);
}

Test(vmm_exit_msr, tsc_and_its_adjustment_move_together) {
    registers.tsc = 5000, registers.tsc_clock = 777, registers.tsc_adjust = 70;
    cr_expect_eq(write(MSR_TSC, 6000), EXIT_ADVANCE);
    cr_expect(registers.tsc == 6000 && registers.tsc_adjust == 1070);
    cr_expect_eq(write(MSR_TSC_ADJUST, (uint64_t)-30), EXIT_ADVANCE);
    cr_expect(registers.tsc == 4900 && registers.tsc_adjust == (uint64_t)-30);
    cr_expect_eq(registers.tsc_clock, 777, "the VM's clock is not the guest's to move");
    cr_expect_eq(told_version(), 0, "no clock is registered");
}

Test(vmm_exit_msr, clock_is_written_when_registered_and_when_the_tsc_moves) {
    registers.tsc = 5000, registers.tsc_adjust = 70;
    cr_expect_eq(write(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | PVCLOCK_ENABLE), EXIT_ADVANCE);
    cr_expect_eq(read(MSR_KVM_SYSTEM_TIME_NEW), CLOCK_AT | PVCLOCK_ENABLE);
    cr_expect(told_version() == 2 && told_tsc() == 70);
    cr_expect_eq(write(MSR_TSC, 6000), EXIT_ADVANCE);
    cr_expect(told_version() == 4 && told_tsc() == 1070);
    cr_expect_eq(write(MSR_TSC_ADJUST, 0), EXIT_ADVANCE);
    cr_expect(told_version() == 6 && told_tsc() == 0);
    cr_expect_eq(write(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT), EXIT_ADVANCE);
    cr_expect_eq(write(MSR_TSC, 7000), EXIT_ADVANCE);
    cr_expect_eq(told_version(), 6, "it is switched off");
}

Test(vmm_exit_msr, clock_is_not_told_of_what_the_kernel_refused) {
    cr_expect_eq(write(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | PVCLOCK_ENABLE), EXIT_ADVANCE);
    is_refused = true;
    expect_fault(MSR_TSC, 6000);
    cr_expect_eq(told_version(), 2);
}

Test(vmm_exit_msr, clock_stays_where_it_was_if_it_cannot_move) {
    cr_expect_eq(write(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | PVCLOCK_ENABLE), EXIT_ADVANCE);
    expect_fault(MSR_KVM_SYSTEM_TIME_NEW, RAM | PVCLOCK_ENABLE);
    expect_fault(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 2 | PVCLOCK_ENABLE);
    expect_fault(MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | 2);
    expect_fault(MSR_KVM_SYSTEM_TIME_NEW, (CLOCK_AT + 0xff0) | PVCLOCK_ENABLE);
    cr_expect_eq(read(MSR_KVM_SYSTEM_TIME_NEW), CLOCK_AT | PVCLOCK_ENABLE);
    cr_expect_eq(told_version(), 2);
}

Test(vmm_exit_msr, steal_time_is_a_part_of_the_state) {
    const uint32_t *version = (const uint32_t *)(const void *)(ram + STEAL_AT + 8);
    cr_expect_eq(write(MSR_KVM_STEAL_TIME, STEAL_AT | PVCLOCK_ENABLE), EXIT_ADVANCE);
    cr_expect_eq(registers.pvtime_steal, STEAL_AT | PVCLOCK_ENABLE);
    cr_expect_eq(read(MSR_KVM_STEAL_TIME), STEAL_AT | PVCLOCK_ENABLE);
    cr_expect_eq(*version, 2);
    expect_fault(MSR_KVM_STEAL_TIME, RAM | PVCLOCK_ENABLE);
    expect_fault(MSR_KVM_STEAL_TIME, STEAL_AT | 0x20 | PVCLOCK_ENABLE);
    expect_fault(MSR_KVM_STEAL_TIME, 2);
    cr_expect_eq(registers.pvtime_steal, STEAL_AT | PVCLOCK_ENABLE);
    cr_expect_eq(write(MSR_KVM_STEAL_TIME, RAM), EXIT_ADVANCE, "switched off it is a number");
    cr_expect_eq(registers.pvtime_steal, RAM);
}

// The date at which the clock showed 0.
Test(vmm_exit_msr, wall_clock_is_the_date_of_power_on) {
    const uint32_t *wall = (const uint32_t *)(const void *)(ram + WALL_AT);
    start.utc_tsc = 1 * HZ;
    registers.tsc_clock = 9 * HZ + 5;                  // 8 s and 5 ns later
    registers.tsc = 3 * HZ, registers.tsc_adjust = HZ; // on for 2 s
    cr_expect_eq(write(MSR_KVM_WALL_CLOCK_NEW, WALL_AT), EXIT_ADVANCE);
    cr_expect_eq(read(MSR_KVM_WALL_CLOCK_NEW), WALL_AT);
    cr_expect(wall[0] == 2 && wall[1] == 1700000006 && wall[2] == 5);
    expect_fault(MSR_KVM_WALL_CLOCK_NEW, WALL_AT + 1);
    expect_fault(MSR_KVM_WALL_CLOCK_NEW, RAM - 4);
    cr_expect_eq(read(MSR_KVM_WALL_CLOCK_NEW), WALL_AT);
}
