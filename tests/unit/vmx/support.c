// SPDX-License-Identifier: Apache-2.0
// See support.h.
#include <criterion/criterion.h>

#include "tests/unit/vmx/support.h"

#include <stdarg.h>
#include <stdio.h>

#include "arch/log.h"
#include "arch/mitigation.h"
#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/vlapic.h"

// They move the registers of this processor.
#include "kernel/exception.c"
#include "kernel/fpu.c"
#include "kernel/vcpu_exit.c"

struct paper paper;
struct cpu paper_cpus[2];
unsigned paper_cpu;
struct vm paper_vm;
struct vcpu paper_vcpu;
struct vcpu_page paper_page;
struct vmx_caps vmx_caps;
struct cpu_features cpu_features;
uint64_t tsc_hz = 1000000000;
const uint8_t vmx_exit_entry[1];
static _Alignas(PAGE_SIZE) uint8_t pages[2][2][PAGE_SIZE];
static _Alignas(PAGE_SIZE) uint8_t xsave_area[PAGE_SIZE];

static void step(enum paper_step what) {
    cr_assert_lt(paper.step_count, PAPER_STEPS);
    paper.steps[paper.step_count++] = what;
}

bool paper_did(enum paper_step what, unsigned *when) {
    for (unsigned i = 0; i < paper.step_count; i++)
        if (paper.steps[i] == what) {
            if (when != NULL)
                *when = i;
            return true;
        }
    return false;
}

// What a machine check means, and whom it ends.
bool machine_check_handle(bool is_kernel) {
    cr_assert_not(is_kernel, "a guest ran");
    paper.seen.machine_checks++;
    return paper.uses_broken_memory;
}
void machine_check_end(void) {
    paper.seen.ended++;
}

struct vmx_vcpu *paper_x(void) {
    return paper_vcpu.backend;
}

// ---- the processor ------------------------------------------------------------------------------

static struct {
    uint32_t msr;
    bool is_used;
} msr_slots[ARRAY_COUNT(paper.msr)];

uint64_t *paper_msr(uint32_t msr) {
    for (unsigned i = 0; i < ARRAY_COUNT(msr_slots); i++) {
        if (!msr_slots[i].is_used)
            msr_slots[i].msr = msr, msr_slots[i].is_used = true;
        if (msr_slots[i].msr == msr)
            return &paper.msr[i];
    }
    cr_assert_fail("too many MSRs");
    return NULL;
}

struct cpu *paper_cpu_current(void) {
    return &paper_cpus[paper_cpu];
}
uint64_t paper_rdtsc(void) {
    return paper.tsc;
}
uint64_t paper_rdmsr(uint32_t msr) {
    return *paper_msr(msr);
}
void paper_wrmsr(uint32_t msr, uint64_t value) {
    paper.msr_writes++;
    *paper_msr(msr) = value;
}
uint64_t paper_read(unsigned reg) {
    return paper.reg[reg];
}
void paper_write(unsigned reg, uint64_t value) {
    paper.reg[reg] = value;
}
void paper_xsetbv(uint32_t index, uint64_t value) {
    cr_assert_eq(index, 0);
    cr_assert(value & XCR0_X87, "XSETBV would fault");
    paper.xcr0 = value;
}

// SDM 1 13.5.1 and others: with CR0.TS set every one of them is #NM.
static void use_fpu(uint64_t mask) {
    cr_assert_not(paper.reg[PAPER_CR0] & CR0_TS, "the FPU is closed");
    paper.fpu_mask = mask;
    paper.fpu_xcr0 = paper.xcr0;
}
void paper_xsave(void *area, uint64_t mask) {
    use_fpu(mask);
    step(STEP_XSAVE);
    memcpy(area, paper.fpu, sizeof(paper.fpu));
}
void paper_xrstor(const void *area, uint64_t mask) {
    use_fpu(mask);
    step(STEP_XRSTOR);
    memcpy(paper.fpu, area, sizeof(paper.fpu));
}
void paper_clts(void) {
    step(STEP_CLTS);
    paper.reg[PAPER_CR0] &= ~CR0_TS;
}
void paper_call_nmi(void) {
    step(STEP_NMI);
}

static uint64_t *vmcs_field(uint32_t field) {
    cr_assert_neq(paper.current_vmcs, VMCS_NONE, "no VMCS is current");
    cr_assert(paper.has_field == NULL || paper.has_field(field), "no VMCS field %#x", field);
    paper.vmcs_accesses++;
    return &paper.vmcs[field];
}
uint64_t vmcs_read_field(uint32_t field) {
    return *vmcs_field(field);
}
void vmcs_write_field(uint32_t field, uint64_t value) {
    *vmcs_field(field) = value;
}
bool vmx_invept(uint64_t type, const struct vmx_invalidation *what) {
    step(STEP_INVEPT);
    paper.invalidated_type = type;
    paper.invalidated = *what;
    return !paper.fails_to_invalidate;
}
bool vmx_invvpid(uint64_t type, const struct vmx_invalidation *what) {
    step(STEP_INVVPID);
    paper.invalidated_type = type;
    paper.invalidated = *what;
    return !paper.fails_to_invalidate;
}
void vmcs_make_current(hpa_t vmcs) {
    step(STEP_VMPTRLD);
    paper.current_vmcs = vmcs.v;
}
void vmcs_clear(hpa_t vmcs) {
    step(STEP_VMCLEAR);
    if (paper.current_vmcs == vmcs.v)
        paper.current_vmcs = VMCS_NONE;
}
hpa_t vmcs_get_current(void) {
    return (hpa_t){paper.current_vmcs};
}

// enter.S: keeps nothing but RSP.
uint32_t paper_switch(uint64_t *gpr, struct vmx_vcpu *x);
uint32_t paper_switch(uint64_t *gpr, struct vmx_vcpu *x) {
    cr_assert_eq(gpr, paper_page.gpr);
    cr_assert_eq(x, paper_x());
    cr_assert_lt(paper.entries, ARRAY_COUNT(paper.reasons));
    step(STEP_ENTRY);
    x->is_launched = 1;
    uint32_t reason = paper.reasons[paper.entries++];
    paper.vmcs[VMCS_EXIT_REASON] = reason;
    paper.vmcs_accesses++; // enter.S reads it
    if (paper.on_entry != NULL)
        paper.on_entry();
    return reason;
}
__asm__(".globl vmx_switch\n"
        "vmx_switch:\n\t"
        "push %rbp\n\t"
        "mov %rsp, %rbp\n\t"
        "and $-16, %rsp\n\t"
        "call paper_switch\n\t"
        "mov %rbp, %rsp\n\t"
        "pop %rbp\n\t"
        "jmp vmx_switched\n");
struct mitigation mitigation;
void mitigation_clear_buffers(void) {
    step(STEP_VERW);
}
void mitigation_clear_bhb(void) {
    step(STEP_HISTORY);
}

// ---- the kernel ---------------------------------------------------------------------------------

void panic(const char *format, ...) {
    paper.panics++;
    if (paper.on_panic != NULL)
        longjmp(*paper.on_panic, 1);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    cr_assert_fail("panic");
    abort();
}
void interrupt_dispatch(uint8_t vector) {
    paper.seen.interrupt = vector;
    paper.seen.interrupts++;
    paper_cpus[paper_cpu].own_timers += vector == VECTOR_TIMER;
}
static void see_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    (void)vcpu, (void)error;
    paper.seen.vector = vector;
    paper.seen.has_vector = true;
}
static const struct vcpu_backend paper_backend = {.inject_exception = see_exception};
const struct vcpu_backend *vcpu_backend = &paper_backend;
enum exit_action vcpu_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail) {
    (void)vcpu;
    paper.seen.failure = failure;
    paper.seen.detail = detail;
    return EXIT_FAIL;
}
enum exit_action vcpu_emulate_cpuid(struct vcpu *vcpu) {
    (void)vcpu;
    return EXIT_ADVANCE;
}
enum msr_result vcpu_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    (void)vcpu, (void)msr, (void)value;
    return MSR_UNKNOWN;
}
enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    (void)vcpu, (void)msr, (void)value;
    return MSR_UNKNOWN;
}
static struct abi_cpuid rows[] = {
    {.leaf = 1, .eax = 0x50654, .ecx = ~0u, .edx = ~0u},
    {.leaf = 7, .ebx = ~0u, .ecx = ~0u, .edx = ~0u},
    {.leaf = 0xd, .eax = 7},
    {.leaf = 0x80000001, .ecx = ~0u, .edx = ~0u},
};
const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    (void)vm;
    for (unsigned i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].leaf == leaf && subleaf == 0)
            return &rows[i];
    return NULL;
}
enum space_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access) {
    (void)vm, (void)gpa, (void)access;
    return SPACE_FAULT_NONE;
}
bool vm_ring_doorbell(struct vm *vm, uint16_t port) {
    (void)vm, (void)port;
    return false;
}
void vlapic_accept(struct vcpu *vcpu, uint8_t vector, bool is_level) {
    (void)vcpu, (void)vector, (void)is_level;
}
uint8_t vlapic_get_cr8(const struct vcpu *vcpu) {
    (void)vcpu;
    return 0;
}
void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8) {
    (void)vcpu, (void)cr8;
}
uint32_t vlapic_get_held_class(const struct vcpu *vcpu) {
    (void)vcpu;
    return 0;
}
uint8_t vlapic_get_request(const struct vcpu *vcpu) {
    (void)vcpu;
    return 0;
}
uint8_t vlapic_get_service(const struct vcpu *vcpu) {
    (void)vcpu;
    return 0;
}
bool vlapic_is_open(const struct vcpu *vcpu) {
    (void)vcpu;
    return false;
}
void vlapic_report_eoi(struct vcpu *vcpu, uint8_t vector) {
    (void)vcpu, (void)vector;
}
bool vlapic_take_tmr(struct vcpu *vcpu, uint64_t tmr[VLAPIC_VECTOR_WORDS]) {
    (void)vcpu, (void)tmr;
    return false;
}

// ---- set-up -------------------------------------------------------------------------------------

void paper_make(struct vcpu *vcpu) {
    uint8_t(*both)[PAGE_SIZE] = pages[vcpu != &paper_vcpu];
    memset(both, 0, sizeof(pages[0]));
    vcpu->backend = both[0];
    vcpu->control = both[1];
    vmx_vcpu_create(vcpu);
}

void paper_set_up(void) {
    memset(&paper, 0, sizeof(paper));
    memset(msr_slots, 0, sizeof(msr_slots));
    memset(xsave_area, 0, sizeof(xsave_area));
    paper.current_vmcs = VMCS_NONE;
    paper.xcr0 = 7;
    paper.reg[PAPER_CR0] = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP | CR0_TS;
    paper.reg[PAPER_CR4] = CR4_PAE | CR4_VMXE | CR4_MCE;
    cpu_features = (struct cpu_features){
        .has_nx = true, .has_xsave = true, .has_rdtscp = true, .physical_bits = 46, .xcr0_mask = 7};
    vmx_caps = (struct vmx_caps){
        .revision = 0x11,
        .cr0_fixed0 = CR0_PE | CR0_NE | CR0_PG,
        .cr0_fixed1 = 0xffffffff,
        .cr4_fixed0 = CR4_VMXE,
        .cr4_fixed1 = 0x3ff7ff,
        .has_unrestricted_guest = true,
        .has_vpid = true,
        .has_rdtscp = true,
        .invept_type = 1,
        .invvpid_type = 1,
        .has_spec_ctrl = true,
    };
    for (unsigned i = 0; i < ARRAY_COUNT(paper_cpus); i++) {
        paper_cpus[i] = (struct cpu){.index = i};
        paper_cpus[i].tss = (struct tss *)(CPU_TABLES_BASE + i * CPU_TABLES_SLOT);
    }
    paper_cpu = 0;
    paper_page = (struct vcpu_page){0};
    paper_vcpu = (struct vcpu){.vm = &paper_vm,
                               .page = &paper_page,
                               .cpu = &paper_cpus[0],
                               .xsave = xsave_area,
                               .xcr0 = XCR0_X87};
    paper_make(&paper_vcpu);
    paper.step_count = 0;
}

void paper_set_up_loaded(void) {
    paper_set_up();
    vmx_load(&paper_vcpu);
    paper.step_count = 0;
}
