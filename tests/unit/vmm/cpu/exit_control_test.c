// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_control.c: writes that the guest does not do by itself are done, or fault and change
// nothing. (What is valid: control_test.c.)
#define exit_control      ectl_test_control
#define exit_xsetbv       ectl_test_xsetbv
#define exit_init         ectl_test_init
#define exit_sipi         ectl_test_sipi
#define run_read_context  ectl_test_read
#define run_write_context ectl_test_write
#include "vmm/cpu/run.h"

#include "lib/syscall.h"

#include <criterion/criterion.h>
#include <string.h>

// The kernel of paper.
static struct vcpu_registers registers;
static unsigned writes;
static int64_t refusal; // 0: it does what it is asked

static int64_t read_paper(void *to) {
    memcpy(to, &registers, sizeof(registers));
    return refusal;
}
static int64_t write_paper(const void *from) {
    memcpy(&registers, from, sizeof(registers));
    writes++;
    return refusal;
}
#define sys_vcpu_read(handle, group, state, size) ((void)(handle), (void)(size), read_paper(state))
#define sys_vcpu_write(handle, group, state, size)                                                 \
    ((void)(handle), (void)(size), write_paper(state))
#include "vmm/cpu/exit_control.c"

static struct vmm_start start = {.physical_bits = 46};
static struct vmm vmm;
static struct vcpu *const vcpu = &vmm.vcpu[0];
static struct vcpu_page page;

static void set_up(void) {
    vmm.start = &start;
    vmm.control = (struct control){
        .xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX, .efer = EFER_LME | EFER_LMA, .has_modes = true};
    *vcpu = (struct vcpu){.vmm = &vmm, .page = &page};
    page = (struct vcpu_page){.exit = VCPU_EXIT_XSETBV};
    registers = (struct vcpu_registers){
        .cr0 = CR0_PE | CR0_PG, .efer = EFER_LMA, .cs.attributes = ATTRIBUTES_LONG, .xcr0 = 1};
}

TestSuite(vmm_exit_control, .init = set_up);

static void expect_fault(enum exit_action action) {
    cr_expect_eq(action, EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_INJECT);
    cr_expect(page.inject.vector == EMULATE_GP && page.inject.has_error && page.inject.error == 0);
    cr_expect_eq(writes, 0);
}

static enum exit_action xsetbv(uint64_t index, uint64_t value) {
    page.gpr[INSN_RCX] = index;
    page.gpr[INSN_RAX] = value & UINT32_MAX;
    page.gpr[INSN_RDX] = value >> 32;
    return exit_xsetbv(vcpu);
}

Test(vmm_exit_control, xcr0_is_written) {
    cr_expect_eq(xsetbv(0x100000000, XCR0_X87 | XCR0_SSE), EXIT_ADVANCE, "of ECX the low half");
    cr_expect_eq(registers.xcr0, XCR0_X87 | XCR0_SSE);
    cr_expect_eq(page.dirty, 0);
}

Test(vmm_exit_control, there_is_no_other_xcr) {
    expect_fault(xsetbv(1, XCR0_X87));
}

Test(vmm_exit_control, xcr0_has_bits_that_fault) {
    expect_fault(xsetbv(0, XCR0_X87 | 1ULL << 63));
}

Test(vmm_exit_control, registers_that_the_kernel_refuses_end_the_vm) {
    refusal = -ABI_ERROR_AGAIN;
    cr_expect_eq(xsetbv(0, XCR0_X87), EXIT_CRASH);
    page.control.number = 0;
    cr_expect_eq(exit_control(vcpu), EXIT_CRASH);
    cr_expect_eq(exit_init(vcpu), EXIT_CRASH);
    cr_expect_eq(exit_sipi(vcpu), EXIT_CRASH);
}

Test(vmm_exit_control, good_write_is_let_through) {
    page.control = (struct vcpu_exit_control){.number = 0, .value = CR0_PE | CR0_PG | CR0_NE};
    cr_expect_eq(exit_control(vcpu), EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_CONTROL);
    cr_expect_eq(writes, 0, "the guest does it again");
}

// In 64-bit mode all bits count, elsewhere the low half.
Test(vmm_exit_control, high_half_counts_in_64_bit_mode) {
    page.control = (struct vcpu_exit_control){.value = 1ULL << 32 | CR0_PE | CR0_PG | CR0_NE};
    expect_fault(exit_control(vcpu));
    page.dirty = 0;
    registers.cs.attributes = 0;
    cr_expect_eq(exit_control(vcpu), EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_CONTROL);
    cr_expect_eq(page.control.value, CR0_PE | CR0_PG | CR0_NE);
}

Test(vmm_exit_control, mode_that_the_processor_lacks_is_the_vms_end) {
    vmm.control.has_modes = false;
    registers.efer = 0;
    page.control = (struct vcpu_exit_control){.value = CR0_PE | CR0_NE};
    cr_expect_eq(exit_control(vcpu), EXIT_CRASH);
    cr_expect_not_null(strstr(vcpu->reason, "cannot virtualize"));
}

// SDM 3A 9.4.4 "MP Initialization Example": the vector is the page of the first instruction.
Test(vmm_exit_control, sipi_sets_the_start) {
    page.vector = 0x9a;
    cr_expect_eq(exit_sipi(vcpu), EXIT_RESUME);
    cr_expect_eq(registers.cs.base, 0x9a000);
    cr_expect_eq(registers.cs.selector, 0x9a00);
    cr_expect_eq(registers.rip, 0);
}
