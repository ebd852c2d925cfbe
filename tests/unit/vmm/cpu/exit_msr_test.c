// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_msr.c: MSRs that are parts of the vCPU's state are read and written there, or fault
// and change nothing. (What is valid: control_test.c; the others: msr_test.c.)
#include <criterion/criterion.h>

#define exit_msr_read     emsr_test_read
#define exit_msr_write    emsr_test_write
#define run_date_ns       emsr_test_date_ns
#define run_read_context  emsr_test_read_context
#define run_write_context emsr_test_write_context
#include "vmm/cpu/exit_msr.c"

// The kernel of paper.
static struct vcpu_registers registers;
static unsigned writes;

bool run_read_context(struct vcpu *vcpu, struct vcpu_registers *r) {
    (void)vcpu;
    *r = registers;
    return true;
}
bool run_write_context(struct vcpu *vcpu, const struct vcpu_registers *r) {
    (void)vcpu;
    registers = *r;
    writes++;
    return true;
}

static struct vmm vmm;
static struct vcpu *const vcpu = &vmm.vcpu[0];
static struct vcpu_page page;

static void set_up(void) {
    vmm.control = (struct control){.efer = EFER_SCE | EFER_LME | EFER_LMA};
    *vcpu = (struct vcpu){.vmm = &vmm, .page = &page};
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
