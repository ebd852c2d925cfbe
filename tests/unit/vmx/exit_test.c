// SPDX-License-Identifier: Apache-2.0
// vmx/: injection and the handlers of exits, against a VMCS of paper. The modules are compiled in
// here with the kernel's functions under other names.
#include <criterion/criterion.h>

#define vlapic_set_cr8    vmx_exit_test_set_cr8
#define vlapic_get_cr8    vmx_exit_test_get_cr8
#define vcpu_backend      vmx_exit_test_backend
#define vcpu_fail         vmx_exit_test_fail
#define vcpu_read_msr     vmx_exit_test_read_msr
#define vcpu_write_msr    vmx_exit_test_write_msr
#define vm_ring_doorbell  vmx_exit_test_ring_doorbell
#define vm_handle_fault   vmx_exit_test_handle_fault
#define speculation_write vmx_exit_test_speculation_write
#include "kernel/vm.h"
#include "vmx/exit.h"
#include "vmx/inject.h"
#include "vmx/vmx.h"

#include "kernel/vcpu_exit.c"
#include "vmx/exit_cr.c"
#include "vmx/exit_io.c"
#include "vmx/exit_memory.c"
#include "vmx/exit_msr.c"
#include "vmx/inject.c"

// caps.c comes with its own tests.
extern struct vmx_caps vmx_caps;

static uint64_t vmcs_paper[0x8000];
static struct vm exit_vm;
static struct vmx_vcpu exit_x;
static struct vcpu_page exit_page;
static struct vcpu exit_vcpu;
static struct {
    unsigned vector;
    bool has_vector;
    enum vcpu_failure failure;
    uint16_t doorbell, rung;
    enum space_fault fault;
    enum msr_result msr_result;
    uint64_t msr_value;
    uint8_t cr8;
    bool has_spec;
} seen;

uint64_t vmcs_read_field(uint32_t field) {
    return vmcs_paper[field];
}
void vmcs_write_field(uint32_t field, uint64_t value) {
    vmcs_paper[field] = value;
}
void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8) {
    (void)vcpu;
    seen.cr8 = cr8;
}
uint8_t vlapic_get_cr8(const struct vcpu *vcpu) {
    (void)vcpu;
    return seen.cr8;
}
static void see_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    (void)vcpu;
    cr_assert_eq(error, 0);
    seen.vector = vector;
    seen.has_vector = true;
}
static const struct vcpu_backend exit_backend = {.inject_exception = see_exception};
const struct vcpu_backend *vcpu_backend = &exit_backend;
enum exit_action vcpu_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail) {
    (void)vcpu, (void)detail;
    seen.failure = failure;
    return EXIT_FAIL;
}
enum msr_result vcpu_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    (void)vcpu, (void)msr;
    *value = seen.msr_value;
    return seen.msr_result;
}
enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    (void)vcpu, (void)msr;
    seen.msr_value = value;
    return seen.msr_result;
}
bool vm_ring_doorbell(struct vm *vm, uint16_t port) {
    (void)vm;
    seen.rung = port == seen.doorbell ? port : 0;
    return seen.rung != 0;
}
enum space_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access) {
    (void)vm, (void)gpa, (void)access;
    return seen.fault;
}
enum exit_action exit_unexpected(struct vcpu *vcpu) {
    return vcpu_fail(vcpu, VCPU_FAILURE_UNHANDLED_EXIT, 0);
}
void speculation_write(struct vmx_vcpu *x, uint64_t value) {
    x->spec_guest.value = value;
    seen.has_spec = true;
}
enum exit_action vmx_exit_to_vmm(struct vcpu *vcpu, enum vcpu_exit exit) {
    vcpu->page->exit = exit;
    vcpu->page->instruction_length = vmcs_read32(VMCS_EXIT_INSTRUCTION_LENGTH);
    return EXIT_VMM;
}
uint64_t vmx_get_cr0(const struct vmx_vcpu *x) {
    (void)x;
    return CR0_PE;
}
uint64_t vmx_get_cr4(const struct vcpu *vcpu) {
    (void)vcpu;
    return CR4_PAE;
}
struct vcpu_segment vmx_read_segment(enum vmcs_segment segment) {
    uint32_t rights = vmcs_read32(VMCS_ACCESS_RIGHTS(segment));
    return (struct vcpu_segment){
        .selector = vmcs_read16(VMCS_SELECTOR(segment)),
        .attributes = (uint16_t)((rights & 0xf0ff) | (rights >> 8 & VCPU_SEGMENT_UNUSABLE)),
        .limit = vmcs_read32(VMCS_LIMIT(segment)),
        .base = vmcs_read(VMCS_BASE(segment)),
    };
}

// A guest in 64-bit mode.
static void exit_set_up(void) {
    memset(vmcs_paper, 0, sizeof vmcs_paper);
    memset(&seen, 0, sizeof seen);
    seen.msr_result = MSR_UNKNOWN;
    exit_vm = (struct vm){0};
    exit_page = (struct vcpu_page){0};
    exit_x = (struct vmx_vcpu){.primary = 0x100};
    exit_vcpu = (struct vcpu){.vm = &exit_vm, .page = &exit_page, .backend = &exit_x};
    vmcs_write(VMCS_GUEST_CR0, CR0_PE | CR0_PG | CR0_NE | CR0_ET);
    vmcs_write(VMCS_CR0_READ_SHADOW, CR0_PE | CR0_PG | CR0_ET);
    vmcs_write(VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE | CR4_MCE);
    vmcs_write(VMCS_CR4_READ_SHADOW, CR4_PAE);
    vmcs_write64(VMCS_GUEST_EFER, EFER_LME | EFER_LMA);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_CS), (uint32_t)SEGMENT_LONG);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
}

TestSuite(vmx_exit_cr, .init = exit_set_up);
TestSuite(vmx_exit_msr, .init = exit_set_up);
TestSuite(vmx_exit_io, .init = exit_set_up);
TestSuite(vmx_exit_memory, .init = exit_set_up);
TestSuite(vmx_inject, .init = exit_set_up);
TestSuite(vmx_step, .init = exit_set_up);

static enum exit_action write_cr(unsigned number, uint64_t value) {
    exit_page.gpr[GPR_RBX] = value;
    vmcs_write(VMCS_EXIT_QUALIFICATION, number | GPR_RBX << 8);
    return exit_control_register(&exit_vcpu);
}

// ---- control registers --------------------------------------------------------------------------

// The VMM says whether it is good; nothing has changed until then.
Test(vmx_exit_cr, writes_go_to_the_vmm) {
    const unsigned numbers[] = {0, 4};
    vmcs_write32(VMCS_EXIT_INSTRUCTION_LENGTH, 3);
    for (unsigned i = 0; i < ARRAY_COUNT(numbers); i++) {
        cr_expect_eq(write_cr(numbers[i], 0x1234567890ULL), EXIT_VMM);
        cr_expect_eq(exit_page.exit, VCPU_EXIT_CONTROL);
        cr_expect_eq(exit_page.control.number, numbers[i]);
        cr_expect_eq(exit_page.control.value, 0x1234567890ULL);
        cr_expect_eq(exit_page.instruction_length, 3);
        cr_expect_eq(vmcs_read(VMCS_CR0_READ_SHADOW), CR0_PE | CR0_PG | CR0_ET);
        cr_expect_eq(vmcs_read(VMCS_CR4_READ_SHADOW), CR4_PAE);
    }
    vmcs_write(VMCS_GUEST_RSP, 0x77);
    vmcs_write(VMCS_EXIT_QUALIFICATION, 4 | GPR_RSP << 8);
    cr_expect_eq(exit_control_register(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.control.value, 0x77);
    exit_page.gpr[9] = 0x99;
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0x904); // from R9
    cr_expect_eq(exit_control_register(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.control.value, 0x99);
}

// They exit where a VMM made such bits not the guest's own, or not at all.
Test(vmx_exit_cr, other_accesses_end_the_vm) {
    const unsigned bad[] = {CR_ACCESS_CLTS << 4, CR_ACCESS_LMSW << 4, 3,
                            3 | CR_ACCESS_MOV_FROM << 4, CR_ACCESS_MOV_FROM << 4};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        vmcs_write(VMCS_EXIT_QUALIFICATION, bad[i]);
        cr_expect_eq(exit_control_register(&exit_vcpu), EXIT_FAIL, "access %u", i);
    }
}

Test(vmx_exit_cr, cr8_is_the_task_priority) {
    cr_expect_eq(write_cr(8, 9), EXIT_ADVANCE);
    cr_expect_eq(seen.cr8, 9);
    cr_expect_eq(write_cr(8, 16), EXIT_RETRY);
    cr_expect(seen.has_vector && seen.vector == EXC_GP);
    vmcs_write(VMCS_EXIT_QUALIFICATION, 8 | CR_ACCESS_MOV_FROM << 4 | GPR_RSP << 8);
    cr_expect_eq(exit_control_register(&exit_vcpu), EXIT_ADVANCE);
    cr_expect_eq(vmcs_read(VMCS_GUEST_RSP), 9);
}

// ---- MSRs ---------------------------------------------------------------------------------------

static enum exit_action write_msr(uint32_t msr, uint64_t value) {
    exit_page.gpr[GPR_RCX] = msr | 0xdead00000000ULL;
    exit_page.gpr[GPR_RAX] = (uint32_t)value | 0xbeef00000000ULL;
    exit_page.gpr[GPR_RDX] = value >> 32;
    return exit_wrmsr(&exit_vcpu);
}

Test(vmx_exit_msr, neutral_code_goes_first) {
    seen.msr_result = MSR_DONE;
    cr_expect_eq(write_msr(0x830, 0x1234567890ULL), EXIT_ADVANCE);
    cr_expect_eq(seen.msr_value, 0x1234567890ULL);
    exit_page.gpr[GPR_RCX] = 0x10;
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_ADVANCE);
    cr_expect_eq(exit_page.gpr[GPR_RAX], 0x34567890);
    cr_expect_eq(exit_page.gpr[GPR_RDX], 0x12);
    seen.msr_result = MSR_FAULT;
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_RETRY);
    cr_expect(seen.has_vector);
}

Test(vmx_exit_msr, unknown_ones_are_the_vmms) {
    vmcs_write32(VMCS_EXIT_INSTRUCTION_LENGTH, 2);
    cr_expect_eq(write_msr(0x1a0, 1), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_MSR_WRITE);
    cr_expect_eq(exit_page.msr, 0x1a0);
    cr_expect_eq(exit_page.instruction_length, 2);
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_MSR_READ);
}

// They are parts of the state as a whole.
Test(vmx_exit_msr, efer_and_debugctl_are_the_vmms) {
    cr_expect_eq(write_msr(MSR_EFER, EFER_SCE), EXIT_VMM);
    cr_expect_eq(write_msr(0x1d9, 2), EXIT_VMM);
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(vmcs_read64(VMCS_GUEST_EFER), EFER_LME | EFER_LMA);
}

Test(vmx_exit_msr, spec_ctrl_has_the_bits_that_cpuid_shows) {
    exit_x.spec_allowed = 0x405;
    cr_expect_eq(write_msr(0x48, 0x401), EXIT_ADVANCE);
    cr_expect(seen.has_spec && exit_x.spec_guest.value == 0x401);
    exit_page.gpr[GPR_RCX] = 0x48;
    exit_page.gpr[GPR_RDX] = 7;
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_ADVANCE);
    cr_expect_eq(exit_page.gpr[GPR_RAX], 0x401);
    cr_expect_eq(exit_page.gpr[GPR_RDX], 0);
    const uint64_t bad[] = {2, 0x403, 1ULL << 32, 1ULL << 63};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        seen.has_vector = seen.has_spec = false;
        cr_expect_eq(write_msr(0x48, bad[i]), EXIT_RETRY);
        cr_expect(seen.has_vector && seen.vector == EXC_GP, "value %zu", i);
        cr_expect(!seen.has_spec && exit_x.spec_guest.value == 0x401);
    }
}

// The VMM knows no such register either, so that it is #GP.
Test(vmx_exit_msr, spec_ctrl_that_cpuid_hides_is_not_there) {
    cr_expect_eq(write_msr(0x48, 0), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_MSR_WRITE);
    cr_expect_eq(exit_rdmsr(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_MSR_READ);
    cr_expect_not(seen.has_spec);
}

// ---- I/O and memory -----------------------------------------------------------------------------

Test(vmx_exit_io, doorbells_end_here) {
    exit_vm.doorbell_count = 1;
    seen.doorbell = 0xc000;
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0xc0000001);
    cr_expect_eq(exit_io(&exit_vcpu), EXIT_ADVANCE);
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0xc0000009);
    cr_expect_eq(exit_io(&exit_vcpu), EXIT_VMM, "IN is no doorbell");
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0xc0020001);
    cr_expect_eq(exit_io(&exit_vcpu), EXIT_VMM, "another port");
}

static struct vcpu_exit_io io_of(uint64_t qualification) {
    vmcs_write(VMCS_EXIT_QUALIFICATION, qualification);
    cr_expect_eq(exit_io(&exit_vcpu), EXIT_VMM);
    return exit_page.io;
}

Test(vmx_exit_io, what_the_instruction_is_comes_of_the_qualification) {
    // OUT DX, AL to 0x3f8; IN EAX, 0xcf8; REP OUTSW; INSB.
    struct vcpu_exit_io out = io_of(0x03f80000);
    cr_expect(out.port == 0x3f8 && out.size == 1 && !out.is_in && !out.is_string);
    struct vcpu_exit_io in = io_of(0x0cf8004b);
    cr_expect(in.port == 0xcf8 && in.size == 4 && in.is_in && !in.is_string && !in.is_repeated);
    struct vcpu_exit_io outs = io_of(0x01f00031);
    cr_expect(outs.is_string && outs.is_repeated && outs.size == 2 && !outs.is_in);
    struct vcpu_exit_io ins = io_of(0x01f00018);
    cr_expect(ins.is_string && ins.is_in && ins.size == 1 && !ins.is_repeated);
}

Test(vmx_exit_io, strings_come_with_what_a_walk_needs) {
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0x01f00031);
    vmcs_write(VMCS_GUEST_CR3, 0x5000);
    vmcs_write(VMCS_BASE(VMCS_FS), 0x7777);
    cr_expect_eq(exit_io(&exit_vcpu), EXIT_VMM);
    cr_expect(exit_page.io.is_string && exit_page.io.is_repeated);
    cr_expect_eq(exit_page.walk.cr3, 0x5000);
    cr_expect_eq(exit_page.walk.segment[VMCS_FS].base, 0x7777);
    cr_expect_eq(exit_page.walk.code_size, 8);
}

Test(vmx_exit_memory, code_size_and_cpl) {
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_SS), 3u << SEGMENT_DPL_SHIFT);
    vmx_fill_walk(&exit_vcpu);
    cr_expect_eq(exit_page.walk.cpl, 3);
    cr_expect_eq(exit_page.walk.code_size, 8);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_CS), (uint32_t)SEGMENT_DB);
    vmx_fill_walk(&exit_vcpu);
    cr_expect_eq(exit_page.walk.code_size, 4);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_CS), (uint32_t)SEGMENT_LONG);
    vmcs_write64(VMCS_GUEST_EFER, 0);
    vmx_fill_walk(&exit_vcpu);
    cr_expect_eq(exit_page.walk.code_size, 2, "L means nothing outside long mode");
}

Test(vmx_exit_memory, faults_are_mapped_or_forwarded) {
    vmcs_write(VMCS_EXIT_QUALIFICATION, 0x182);
    vmcs_write64(VMCS_GUEST_PHYSICAL_ADDRESS, 0xfee000b0);
    seen.fault = SPACE_FAULT_RETRY;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_RETRY);
    seen.fault = SPACE_FAULT_NONE;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_MEMORY);
    cr_expect_eq(exit_page.memory.gpa, 0xfee000b0);
    seen.fault = SPACE_FAULT_SHORTAGE;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_FAIL);
    cr_expect_eq(seen.failure, VCPU_FAILURE_MEMORY);
}

static struct vcpu_exit_memory memory_of(uint64_t qualification) {
    vmcs_write(VMCS_EXIT_QUALIFICATION, qualification);
    vmcs_write64(VMCS_GUEST_PHYSICAL_ADDRESS, 0x1000);
    vmcs_write(VMCS_GUEST_LINEAR_ADDRESS, 0x2000);
    seen.fault = SPACE_FAULT_NONE;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_VMM);
    return exit_page.memory;
}

Test(vmx_exit_memory, what_the_access_is_comes_of_the_qualification) {
    struct vcpu_exit_memory write = memory_of(0x182);
    cr_expect(write.access == VCPU_ACCESS_WRITE && write.has_gva && !write.is_walk);
    cr_expect(write.gpa == 0x1000 && write.gva == 0x2000);
    struct vcpu_exit_memory walk = memory_of(0x081);
    cr_expect(walk.access == VCPU_ACCESS_READ && walk.is_walk);
    struct vcpu_exit_memory pdpte = memory_of(0x001);
    cr_expect(!pdpte.has_gva && !pdpte.is_walk && pdpte.gva == 0);
}

Test(vmx_exit_memory, delivery_through_no_memory_is_told) {
    vmcs_write32(VMCS_IDT_VECTORING_INFO, EVENT_VALID | EVENT_INTERRUPT | 0x30);
    seen.fault = SPACE_FAULT_RETRY;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_RETRY);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), EVENT_VALID | 0x30, "again");
    seen.fault = SPACE_FAULT_NONE;
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_VMM);
    cr_expect(exit_page.memory.is_delivery);
    vmcs_write32(VMCS_IDT_VECTORING_INFO, 0);
    cr_expect_eq(exit_ept_violation(&exit_vcpu), EXIT_VMM);
    cr_expect_not(exit_page.memory.is_delivery);
}

Test(vmx_exit_memory, segments_are_whole_outside_64_bit_code) {
    vmcs_write32(VMCS_LIMIT(VMCS_DS), 0xffff);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_DS), 0xc093);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_ES), 0x10093);
    vmcs_write32(VMCS_ACCESS_RIGHTS(VMCS_CS), (uint32_t)SEGMENT_DB);
    vmx_fill_walk(&exit_vcpu);
    cr_expect_eq(exit_page.walk.segment[VMCS_DS].limit, 0xffff);
    cr_expect_eq(exit_page.walk.segment[VMCS_DS].attributes, 0xc093);
    cr_expect_eq(exit_page.walk.segment[VMCS_ES].attributes, 0x93 | VCPU_SEGMENT_UNUSABLE);
}

Test(vmx_exit_memory, bases_of_fs_and_gs_are_told_in_64_bit_code) {
    exit_page.walk.segment[VMCS_DS].base = 7;
    vmcs_write(VMCS_BASE(VMCS_DS), 0x1000);
    vmcs_write(VMCS_BASE(VMCS_FS), 0x7777);
    vmcs_write(VMCS_BASE(VMCS_GS), 0x8888);
    vmx_fill_walk(&exit_vcpu);
    cr_expect_eq(exit_page.walk.segment[VMCS_FS].base, 0x7777);
    cr_expect_eq(exit_page.walk.segment[VMCS_GS].base, 0x8888);
    cr_expect_eq(exit_page.walk.segment[VMCS_DS].base, 7, "counts for nothing there");
}

// ---- single steps -------------------------------------------------------------------------------

Test(vmx_step, ends_behind_one_instruction) {
    uint32_t before = 0x100;
    vmx_caps.has_trap_flag = true;
    cr_expect(vmx_step(&exit_vcpu));
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), before | PRIMARY_MONITOR_TRAP_FLAG);
    exit_vcpu.is_stepping = true;
    cr_expect_eq(exit_monitor_trap(&exit_vcpu), EXIT_VMM);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_STEPPED);
    cr_expect_not(exit_vcpu.is_stepping);
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), before);
}

Test(vmx_step, that_was_told_of_is_not_told_of_again) {
    vmx_caps.has_trap_flag = true;
    cr_expect(vmx_step(&exit_vcpu)); // and then the vCPU halts, and kernel/vcpu.c says so
    exit_page.exit = VCPU_EXIT_NONE;
    cr_expect_eq(exit_monitor_trap(&exit_vcpu), EXIT_RETRY);
    cr_expect_eq(exit_page.exit, VCPU_EXIT_NONE);
}

Test(vmx_step, is_refused_where_the_processor_cannot) {
    uint32_t before = vmcs_read32(VMCS_PRIMARY_CONTROLS);
    vmx_caps.has_trap_flag = false;
    cr_expect_not(vmx_step(&exit_vcpu));
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), before);
}

// ---- injection ----------------------------------------------------------------------------------

Test(vmx_inject, interrupts_wait_for_their_window) {
    cr_expect(vmx_can_take_interrupt(&exit_vcpu));
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_ONE);
    cr_expect_not(vmx_can_take_interrupt(&exit_vcpu));
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), 0x100 | PRIMARY_INTERRUPT_WINDOW_EXITING);
    cr_expect_eq(exit_interrupt_window(&exit_vcpu), EXIT_RETRY);
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), 0x100);
    cr_expect(exit_vcpu.pending & VCPU_PENDING_INTERRUPT);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_ONE | RFLAGS_IF);
    const uint64_t blocks[] = {BLOCKING_BY_STI, BLOCKING_BY_MOV_SS};
    for (size_t i = 0; i < ARRAY_COUNT(blocks); i++) {
        vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, (uint32_t)blocks[i]);
        cr_expect_not(vmx_can_take_interrupt(&exit_vcpu));
    }
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmx_inject_interrupt(&exit_vcpu, 0x55);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000055);
    cr_expect_not(vmx_can_take_interrupt(&exit_vcpu), "one at a time");
}

Test(vmx_inject, nmi_waits_for_iret) {
    cr_expect_eq(vmx_can_take_nmi(&exit_vcpu), NMI_OPEN);
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, (uint32_t)BLOCKING_BY_NMI);
    cr_expect_eq(vmx_can_take_nmi(&exit_vcpu), NMI_IN_SERVICE);
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS), 0x100 | PRIMARY_NMI_WINDOW_EXITING);
    cr_expect_eq(exit_nmi_window(&exit_vcpu), EXIT_RETRY);
    cr_expect(exit_vcpu.pending & VCPU_PENDING_NMI);
    vmx_inject_nmi(&exit_vcpu);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000202);
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, 0);
    cr_expect_eq(vmx_can_take_nmi(&exit_vcpu), NMI_IN_SERVICE, "it is on its way in");
    vmx_inject_interrupt(&exit_vcpu, 0x55);
    cr_expect_eq(vmx_can_take_nmi(&exit_vcpu), NMI_SHUT);
}

// SDM 3C 27.7.3: an entry that injects has no pending #DB any more.
Test(vmx_inject, debug_exception_goes_first) {
    const uint64_t due[] = {PENDING_DEBUG_SINGLE_STEP, PENDING_DEBUG_ENABLED | 1};
    for (size_t i = 0; i < ARRAY_COUNT(due); i++) {
        exit_set_up();
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, due[i]);
        cr_expect_not(vmx_can_take_interrupt(&exit_vcpu));
        cr_expect_eq(vmx_can_take_nmi(&exit_vcpu), NMI_SHUT);
        cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS),
                     0x100 | PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_NMI_WINDOW_EXITING);
        vmcs_write(VMCS_GUEST_PENDING_DEBUG, 1);
        cr_expect(vmx_can_take_interrupt(&exit_vcpu), "a breakpoint that is not enabled");
    }
}

Test(vmx_inject, error_codes_follow_the_vector_and_the_mode) {
    vmx_inject_exception(&exit_vcpu, EXC_GP, 0xffff1234);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000b0d);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), 0x1234);
    cr_expect(vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_RF);
    exit_set_up();
    vmx_inject_exception(&exit_vcpu, EXC_GP, 0x8008);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), 0x8008, "of an upper selector");
    exit_set_up();
    vmx_inject_exception(&exit_vcpu, EXC_UD, 7);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000306);
    exit_set_up();
    vmx_inject_exception(&exit_vcpu, EXC_PF, 0);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000b0e);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), 0);
    exit_set_up();
    vmcs_write(VMCS_GUEST_CR0, 0);
    vmx_inject_exception(&exit_vcpu, EXC_GP, 1);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x8000030d, "real mode");
}

// What becomes of an exception while another one is queued: its vector, or 0 for a triple fault.
static unsigned combined(uint8_t first, uint8_t second) {
    uint64_t event = exception_compose(EVENT_VALID | EVENT_EXCEPTION | first, second, 0, true);
    cr_expect(event == 0 || (event & EVENT_VALID));
    return event & EVENT_VECTOR;
}

Test(vmx_inject, exceptions_combine_as_in_the_manual) {
    cr_expect_eq(combined(EXC_PF, EXC_PF), EXC_DF);
    cr_expect_eq(combined(EXC_PF, EXC_GP), EXC_DF);
    cr_expect_eq(combined(EXC_PF, EXC_UD), EXC_UD);
    cr_expect_eq(combined(EXC_GP, EXC_PF), EXC_PF);
    cr_expect_eq(combined(EXC_GP, EXC_GP), EXC_DF);
    cr_expect_eq(combined(0, 11), EXC_DF);
    cr_expect_eq(combined(EXC_UD, EXC_GP), EXC_GP);
    cr_expect_eq(combined(EXC_DF, EXC_GP), 0);
    cr_expect_eq(combined(EXC_DF, EXC_PF), 0);
    cr_expect_eq(combined(EXC_DF, EXC_UD), EXC_UD);
    cr_expect_eq(combined(0x4d, EXC_GP), EXC_GP, "a VMM restored what no processor delivers");
    vmx_inject_exception(&exit_vcpu, EXC_PF, 2);
    vmx_inject_exception(&exit_vcpu, EXC_GP, 5);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000b08);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), 0);
    vmx_inject_exception(&exit_vcpu, EXC_GP, 5);
    cr_expect_eq(exit_vcpu.pending, VCPU_PENDING_SHUTDOWN);
}

Test(vmx_inject, interrupted_delivery_is_repeated) {
    vmcs_write32(VMCS_EXIT_INSTRUCTION_LENGTH, 2);
    vmcs_write32(VMCS_IDT_VECTORING_ERROR, 0x10);
    // INT 0x80, with the undefined bit 12 set.
    vmcs_write32(VMCS_IDT_VECTORING_INFO, EVENT_VALID | EVENT_SOFTWARE | 0x1080);
    cr_expect(vmx_requeue_event(&exit_vcpu, false));
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO), 0x80000480);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INSTRUCTION_LENGTH), 2);
    vmcs_write32(VMCS_IDT_VECTORING_INFO, EVENT_VALID | EVENT_EXCEPTION | EVENT_HAS_ERROR | EXC_PF);
    cr_expect(vmx_requeue_event(&exit_vcpu, false));
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_EXCEPTION_ERROR), 0x10);
}

Test(vmx_inject, nmi_blocking_survives_exits) {
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, (uint32_t)BLOCKING_BY_NMI);
    vmcs_write32(VMCS_IDT_VECTORING_INFO, EVENT_VALID | EVENT_NMI | EXC_NMI);
    cr_expect(vmx_requeue_event(&exit_vcpu, false));
    cr_expect_eq(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY), 0, "or it could not be injected");
    vmcs_write32(VMCS_IDT_VECTORING_INFO, 0);
    cr_expect_not(vmx_requeue_event(&exit_vcpu, true));
    cr_expect_eq(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY), BLOCKING_BY_NMI, "IRET is repeated");
}

// VT-x refuses malformed events before it looks at the guest: none may get through.
Test(vmx_inject, restored_events_are_checked) {
    const struct vcpu_inject good[] = {
        {.vector = 0x20, .type = 0},
        {.vector = 2, .type = 2},
        {.vector = 14, .type = 3, .has_error = 1},
        {.vector = 6, .type = 3},
        {.vector = 0x80, .type = 4, .length = 2},
        {.vector = 3, .type = 6, .length = 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        struct vcpu_inject event;
        inject_restore(&exit_vcpu, &good[i], true);
        cr_expect(inject_save(&event));
        cr_expect_eq(memcmp(&event, &good[i], sizeof event), 0, "good %zu", i);
    }
    inject_restore(&exit_vcpu, &good[0], false);
    struct vcpu_inject none;
    cr_expect_not(inject_save(&none));
}

// One that does not exist VM entry refuses; but no bit is set that stands for something else.
Test(vmx_inject, restored_event_stays_in_its_bits) {
    const struct vcpu_inject event = {.vector = 0xff, .type = 0xff, .length = 0xff};
    inject_restore(&exit_vcpu, &event, true);
    cr_expect_eq(vmcs_read32(VMCS_ENTRY_INTERRUPTION_INFO),
                 EVENT_VALID | EVENT_TYPE | EVENT_VECTOR);
}

// A step ends with the state that it was asked in, unless it is the VMM's still.
Test(vmx_inject, restored_state_is_stepped_only_for_the_vmm) {
    const uint32_t stepped = (uint32_t)PRIMARY_MONITOR_TRAP_FLAG;
    vmx_caps.has_trap_flag = true;
    cr_expect(vmx_step(&exit_vcpu));
    inject_restore(&exit_vcpu, NULL, false);
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS) & stepped, 0);
    cr_expect(vmx_step(&exit_vcpu));
    exit_vcpu.is_stepping = true;
    inject_restore(&exit_vcpu, NULL, false);
    cr_expect_eq(vmcs_read32(VMCS_PRIMARY_CONTROLS) & stepped, stepped);
}
