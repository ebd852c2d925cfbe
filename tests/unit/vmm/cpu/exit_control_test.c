// SPDX-License-Identifier: Apache-2.0
// vmm/cpu/exit_control.c: accesses that the guest does not do by itself are done, or fault and
// change nothing. (What is valid: control_test.c.)
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
static uint32_t apic_offset;
#define sys_vcpu_apic_read(handle, offset) ((void)(handle), apic_offset = (offset), 0xb3)
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

// As VT-x has it.
static struct vcpu_exit_control known(uint32_t number, uint64_t value) {
    return (struct vcpu_exit_control){
        .number = number, .value = value, .is_known = 1, .is_repeated = 1};
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
    page.control = known(0, 0);
    cr_expect_eq(exit_control(vcpu), EXIT_CRASH);
    cr_expect_eq(exit_init(vcpu), EXIT_CRASH);
    cr_expect_eq(exit_sipi(vcpu), EXIT_CRASH);
}

Test(vmm_exit_control, good_write_is_let_through) {
    page.control = known(0, CR0_PE | CR0_PG | CR0_NE);
    cr_expect_eq(exit_control(vcpu), EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_CONTROL);
    cr_expect_eq(writes, 0, "the guest does it again");
}

// In 64-bit mode all bits count, elsewhere the low half.
Test(vmm_exit_control, high_half_counts_in_64_bit_mode) {
    page.control = known(0, 1ULL << 32 | CR0_PE | CR0_PG | CR0_NE);
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
    page.control = known(0, CR0_PE | CR0_NE);
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

// Who starts anew knows of no structure that is written behind its back.
Test(vmm_exit_control, init_ends_paravirtual_time) {
    uint64_t value;
    struct msr_state *msrs = &vmm.machine.msrs[0];
    msr_reset(msrs, 0);
    cr_assert(msr_write(msrs, MSR_KVM_SYSTEM_TIME_NEW, 0x1000 | PVCLOCK_ENABLE));
    registers.pvtime_steal = 0x2000 | PVCLOCK_ENABLE;
    registers.tsc_adjust = 99;
    cr_expect_eq(exit_init(vcpu), EXIT_RESUME);
    cr_expect_eq(registers.pvtime_steal, 0);
    cr_expect(msr_read(msrs, MSR_KVM_SYSTEM_TIME_NEW, &value) && value == 0);
    cr_expect_eq(registers.tsc_adjust, 99, "time goes on");
}

// ---- AMD-V --------------------------------------------------------------------------------------

#define RAM      0x400000ULL
#define CODE     0x1000ULL
#define TABLES   0x2000ULL
#define DATA     0x3000ULL
#define CPL_USER 3
#define MIB_2    0x200000ULL // of this size is a page; the second is read-only

static _Alignas(4096) uint8_t ram[RAM];

// 64-bit code, the code and data mapped by themselves.
static void set_up_unknown(void) {
    set_up();
    memset(ram, 0, sizeof(ram));
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t entry = (TABLES + 0x10000 + i * 0x1000) | 7;
        memcpy(ram + TABLES + (i == 0 ? 0 : 0x10000), &entry, sizeof(entry));
    }
    const uint64_t low = 0x87, high = MIB_2 | 0x85;
    memcpy(ram + TABLES + 0x11000, &low, sizeof(low));
    memcpy(ram + TABLES + 0x11000 + 8, &high, sizeof(high));
    memory_init(&vmm.machine.memory, ram, RAM);
    vmm.control.cr4 = 0x7ff | CR4_PCIDE;
    page.exit = VCPU_EXIT_CONTROL;
    page.rip = CODE;
    page.walk = (struct vcpu_walk){.cr0 = CR0_PE | CR0_PG | CR0_TS | CR0_ET,
                                   .cr3 = TABLES,
                                   .cr4 = CR4_PAE,
                                   .efer = EFER_LMA | EFER_LME,
                                   .code_size = 8};
}

TestSuite(vmm_control_unknown, .init = set_up_unknown);

#define RUN(...) run_code((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
static enum exit_action run_code(const uint8_t *code, size_t size) {
    memset(ram + CODE, 0x90, DECODE_BYTES);
    memcpy(ram + CODE, code, size);
    page.dirty = 0;
    page.instruction_length = 0;
    page.control.number = 0;
    return exit_control(vcpu);
}

static void expect_write(enum exit_action action, unsigned length, uint32_t number,
                         uint64_t value) {
    cr_expect_eq(action, EXIT_ADVANCE);
    cr_expect_eq(page.dirty, VCPU_DIRTY_CONTROL);
    cr_expect_eq(page.instruction_length, length);
    cr_expect_eq(page.control.number, number);
    cr_expect_eq(page.control.value, value, "%#lx", page.control.value);
}

static void expect_vector(enum exit_action action, uint8_t vector) {
    cr_expect_eq(action, EXIT_RESUME);
    cr_expect_eq(page.dirty, VCPU_DIRTY_INJECT);
    cr_expect_eq(page.inject.vector, vector, "%u", page.inject.vector);
}

// 32-bit code, flat, without paging.
static void leave_long_mode(void) {
    page.walk.cr0 = CR0_PE | CR0_ET;
    page.walk.efer = 0;
    page.walk.code_size = 4;
    for (unsigned i = 0; i < 6; i++)
        page.walk.segment[i] =
            (struct vcpu_segment){.attributes = i == 1 ? 0xc09b : 0xc093, .limit = UINT32_MAX};
}

Test(vmm_control_unknown, known_write_is_stepped_over) {
    page.instruction_length = 3;
    page.control = (struct vcpu_exit_control){
        .number = 0, .is_known = 1, .value = CR0_PE | CR0_PG | 1ULL << 28};
    expect_write(exit_control(vcpu), 3, 0, CR0_PE | CR0_PG | CR0_ET);
}

// Its bytes are found by what the kernel has of the guest.
Test(vmm_control_unknown, known_write_without_a_length_is_decoded) {
    const uint8_t code[] = {0x40, 0x0f, 0x22, 0xc1}; // mov cr0, rcx
    memcpy(ram + CODE, code, sizeof(code));
    registers.cr0 = page.walk.cr0;
    registers.cr3 = page.walk.cr3;
    registers.cr4 = page.walk.cr4;
    registers.efer = page.walk.efer;
    page.walk = (struct vcpu_walk){0};
    page.gpr[INSN_RCX] = CR0_PE | CR0_PG;
    page.control = (struct vcpu_exit_control){.is_known = 1, .value = CR0_PE | CR0_PG};
    expect_write(exit_control(vcpu), 4, 0, CR0_PE | CR0_PG | CR0_ET);
}

Test(vmm_control_unknown, mov_writes) {
    page.gpr[INSN_RAX] = CR0_PE | CR0_PG | CR0_NE;
    page.gpr[15] = CR4_PAE | CR4_PGE;
    page.gpr[9] = 5;
    expect_write(RUN(0x0f, 0x22, 0xc0), 3, 0, CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    expect_write(RUN(0x0f, 0x22, 0x00), 3, 0, CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    expect_write(RUN(0x66, 0x41, 0x0f, 0x22, 0xe7), 5, 4, CR4_PAE | CR4_PGE);
    expect_write(RUN(0x45, 0x0f, 0x22, 0xc1), 4, 8, 5);
    expect_write(RUN(0xf0, 0x41, 0x0f, 0x22, 0xc1), 5, 8, 5);
    cr_expect_eq(writes, 0, "they are the kernel's");
}

Test(vmm_control_unknown, mov_reads) {
    page.gpr[INSN_RDX] = page.gpr[9] = page.gpr[INSN_RBX] = UINT64_MAX;
    cr_expect_eq(RUN(0x0f, 0x20, 0xc2), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[INSN_RDX], page.walk.cr0);
    cr_expect_eq(RUN(0x41, 0x0f, 0x20, 0xe1), EXIT_ADVANCE);
    cr_expect_eq(page.instruction_length, 4);
    cr_expect_eq(page.gpr[9], page.walk.cr4);
    cr_expect_eq(RUN(0x44, 0x0f, 0x20, 0xc3), EXIT_ADVANCE);
    cr_expect(page.gpr[INSN_RBX] == 0xb && apic_offset == 0x80);
    registers.cr2 = 0x1234567890;
    cr_expect_eq(RUN(0x0f, 0x20, 0xd2), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[INSN_RDX], 0x1234567890);
    cr_expect_eq(RUN(0x0f, 0x20, 0xda), EXIT_ADVANCE);
    cr_expect(page.gpr[INSN_RDX] == page.walk.cr3 && page.walk.cr3 != 0);
    cr_expect_eq(RUN(0x0f, 0x22, 0xda), EXIT_RESUME, "a write does not leave the guest");
    cr_expect_eq(page.dirty, 0);
}

// Half the register outside 64-bit code.
Test(vmm_control_unknown, mov_in_32_bit_code) {
    leave_long_mode();
    page.gpr[INSN_RAX] = 1ULL << 40 | CR0_PE;
    expect_write(RUN(0x0f, 0x22, 0xc0), 3, 0, CR0_PE | CR0_ET);
    page.gpr[INSN_RCX] = UINT64_MAX;
    cr_expect_eq(RUN(0x0f, 0x20, 0xc1), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[INSN_RCX], CR0_PE | CR0_ET);
}

Test(vmm_control_unknown, bad_values_fault) {
    page.gpr[INSN_RAX] = 1ULL << 32 | CR0_PE | CR0_PG;
    expect_vector(RUN(0x0f, 0x22, 0xc0), EMULATE_GP);
    page.gpr[INSN_RAX] = 0; // CR4.PAE stays in long mode
    expect_vector(RUN(0x0f, 0x22, 0xe0), EMULATE_GP);
    page.gpr[INSN_RAX] = 16;
    expect_vector(RUN(0x44, 0x0f, 0x22, 0xc0), EMULATE_GP);
    cr_expect_eq(page.inject.error, 0);
}

// APM 3 "LMSW": PE can be set, and not cleared.
Test(vmm_control_unknown, lmsw_takes_four_bits) {
    page.gpr[INSN_RBX] = 0xfff2;
    expect_write(RUN(0x0f, 0x01, 0xf3), 3, 0, CR0_PE | CR0_PG | CR0_ET | 2);
    page.gpr[INSN_RBX] = DATA - 0x10;
    ram[DATA] = 0x0c;
    ram[DATA + 1] = 0xff;
    expect_write(RUN(0x0f, 0x01, 0x73, 0x10), 4, 0, CR0_PE | CR0_PG | CR0_ET | 0xc);
    leave_long_mode();
    page.walk.cr0 = CR0_ET;
    page.gpr[INSN_RBX] = 1;
    expect_write(RUN(0x0f, 0x01, 0xf3), 3, 0, CR0_ET | 1);
}

Test(vmm_control_unknown, smsw_is_as_wide_as_its_operand) {
    page.gpr[INSN_RDI] = UINT64_MAX;
    cr_expect_eq(RUN(0x66, 0x0f, 0x01, 0xe7), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[INSN_RDI], 0xffffffffffff0019);
    cr_expect_eq(RUN(0x0f, 0x01, 0xe7), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[INSN_RDI], page.walk.cr0);
    page.walk.cr0 |= CR0_NE;
    cr_expect_eq(RUN(0x49, 0x0f, 0x01, 0xe0), EXIT_ADVANCE);
    cr_expect_eq(page.gpr[8], page.walk.cr0);
    memset(ram + DATA, 0xaa, 4);
    page.gpr[INSN_RDI] = DATA;
    cr_expect_eq(RUN(0x48, 0x0f, 0x01, 0x27), EXIT_ADVANCE);
    cr_expect_eq(memcmp(ram + DATA, "\x39\x00\xaa\xaa", 4), 0, "16 bits of memory");
    page.gpr[INSN_RDI] = MIB_2;
    page.walk.cr0 |= 1u << 16;
    expect_vector(RUN(0x0f, 0x01, 0x27), EMULATE_PF);
    cr_expect_eq(page.inject.cr2, MIB_2);
}

Test(vmm_control_unknown, clts_clears_ts) {
    expect_write(RUN(0x0f, 0x06), 2, 0, CR0_PE | CR0_PG | CR0_ET);
}

Test(vmm_control_unknown, users_may_smsw_unless_umip_is_set) {
    page.walk.cpl = CPL_USER;
    cr_expect_eq(RUN(0x0f, 0x01, 0xe0), EXIT_ADVANCE);
    expect_vector(RUN(0x0f, 0x20, 0xc0), EMULATE_GP);
    expect_vector(RUN(0x0f, 0x22, 0xc0), EMULATE_GP);
    expect_vector(RUN(0x0f, 0x06), EMULATE_GP);
    expect_vector(RUN(0x0f, 0x01, 0xf0), EMULATE_GP);
    page.walk.cr4 |= CR4_UMIP;
    expect_vector(RUN(0x0f, 0x01, 0xe0), EMULATE_GP);
}

// Another vCPU wrote there meanwhile: the guest runs what it finds.
Test(vmm_control_unknown, other_code_is_run_by_the_guest) {
    cr_expect_eq(RUN(0x90), EXIT_RESUME);
    cr_expect_eq(RUN(0x0f, 0x22, 0xd8), EXIT_RESUME, "of CR3");
    cr_expect_eq(RUN(0x6c), EXIT_RESUME);
    cr_expect_eq(page.dirty, 0);
    expect_vector(RUN(0x0f, 0x22, 0xc8), EMULATE_UD); // there is no CR1
    expect_vector(RUN(0xf0, 0x0f, 0x06), EMULATE_UD);
    page.rip = 2 * MIB_2;
    expect_vector(RUN(0x90), EMULATE_PF);
    cr_expect_eq(page.inject.cr2, 2 * MIB_2);
}
