// SPDX-License-Identifier: Apache-2.0
// See support.h.
#include <criterion/criterion.h>

#include "tests/unit/svm/support.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/lapic.h"
#include "arch/log.h"
#include "arch/mitigation.h"
#include "arch/traps.h"
#include "kernel/frame.h"
#include "kernel/machine.h"
#include "kernel/vlapic.h"
#include "lib/fmt.h"

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
struct cpu_features cpu_features;
struct boot_info machine;
struct mitigation mitigation;
uint64_t tsc_hz = 1000000000;
static _Alignas(PAGE_SIZE) uint8_t pages[96][PAGE_SIZE];
static _Alignas(PAGE_SIZE) uint8_t host_regions[2][PAGE_SIZE];
static _Alignas(PAGE_SIZE) uint8_t xsave_area[PAGE_SIZE];

static void step(enum paper_step what) {
    cr_assert_lt(paper.step_count, PAPER_STEPS);
    paper.steps[paper.step_count++] = what;
}

void mitigation_clear_buffers(void) {
    if (mitigation.has_verw)
        step(STEP_VERW);
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

struct svm_vcpu *paper_x(void) {
    return paper_vcpu.backend;
}
struct vmcb *paper_vmcb(void) {
    return paper_x()->vmcb;
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
uint64_t paper_xgetbv(uint32_t index) {
    cr_assert_eq(index, 0);
    return paper.xcr0;
}
void paper_xsave(void *area, uint64_t mask) {
    (void)mask;
    cr_assert_not(paper.reg[PAPER_CR0] & CR0_TS, "the FPU is closed");
    step(STEP_XSAVE);
    memcpy(area, paper.fpu, sizeof(paper.fpu));
}
void paper_xrstor(const void *area, uint64_t mask) {
    (void)mask;
    cr_assert_not(paper.reg[PAPER_CR0] & CR0_TS, "the FPU is closed");
    step(STEP_XRSTOR);
    memcpy(paper.fpu, area, sizeof(paper.fpu));
}
void paper_clts(void) {
    paper.reg[PAPER_CR0] &= ~CR0_TS;
}
void paper_call_nmi(void) {
    cr_assert_fail("an NMI comes by itself when GIF is set");
}

// ---- AMD-V's instructions -----------------------------------------------------------------------

static hpa_t host_region(void) {
    return (hpa_t){(uint64_t)host_regions[paper_cpu]};
}

void svm_clgi(void) {
    step(STEP_CLGI);
    paper.is_gif = false;
}
void svm_stgi(void) {
    cr_assert_eq(paper.hidden_of.v, host_region().v, "the host's TR and FS at its first NMI");
    step(STEP_STGI);
    paper.is_gif = true;
}

static void move_hidden(struct vmcb *to, const struct vmcb *from) {
    to->fs = from->fs, to->gs = from->gs, to->tr = from->tr, to->ldtr = from->ldtr;
    to->kernel_gs_base = from->kernel_gs_base;
    to->star = from->star, to->lstar = from->lstar, to->cstar = from->cstar;
    to->sfmask = from->sfmask;
    to->sysenter_cs = from->sysenter_cs;
    to->sysenter_esp = from->sysenter_esp;
    to->sysenter_eip = from->sysenter_eip;
}

void svm_vmload(hpa_t at) {
    cr_assert_eq(at.v % PAGE_SIZE, 0);
    step(at.v == host_region().v ? STEP_VMLOAD_HOST : STEP_VMLOAD_GUEST);
    move_hidden(&paper.hidden, (const struct vmcb *)at.v);
    paper.hidden_of = at;
}
void svm_vmsave(hpa_t at) {
    cr_assert_eq(at.v % PAGE_SIZE, 0);
    step(STEP_VMSAVE);
    move_hidden((struct vmcb *)at.v, &paper.hidden);
}

// Bytes of the VMCB, by the bit that tells the processor to take them from its cache.
static const struct {
    unsigned bit;
    uint16_t first, last;
} groups[] = {
    {0, 0x000, 0x017}, {0, 0x03c, 0x03f}, {0, 0x050, 0x057},  {1, 0x040, 0x04f},  {2, 0x058, 0x05b},
    {3, 0x060, 0x067}, {4, 0x090, 0x090}, {4, 0x0b0, 0x0b7},  {4, 0x668, 0x66f},  {5, 0x4d0, 0x4d7},
    {5, 0x548, 0x55f}, {6, 0x560, 0x56f}, {7, 0x460, 0x46f},  {7, 0x480, 0x48f},  {8, 0x400, 0x43f},
    {8, 0x4cb, 0x4cb}, {9, 0x640, 0x647}, {10, 0x0b8, 0x0b8}, {10, 0x670, 0x677},
};

static void check_clean(const struct vmcb *vmcb) {
    const uint8_t *now = (const uint8_t *)vmcb, *cached = (void *)&paper.cached[paper_cpu];
    bool is_known = paper.cached_of[paper_cpu] == vmcb;
    if (!is_known)
        cr_assert_eq(vmcb->clean, 0, "what this CPU knows is of another");
    for (unsigned i = 0; is_known && i < ARRAY_COUNT(groups); i++)
        for (unsigned at = groups[i].first; at <= groups[i].last; at++)
            cr_assert(now[at] == cached[at] || (vmcb->clean >> groups[i].bit & 1) == 0,
                      "byte %#x of the VMCB changed, and clean bit %u is set", at, groups[i].bit);
}

static void check_event(uint64_t event) {
    if (!(event & EVENT_VALID))
        return;
    uint64_t type = event & EVENT_TYPE, vector = event & EVENT_VECTOR;
    cr_assert(type == EVENT_INTERRUPT || (type == EVENT_NMI && vector == EXC_NMI) ||
                  (type == EVENT_EXCEPTION && vector < 32 && vector != EXC_NMI),
              "event %#lx", event);
}

#define PAPER_MAPS 0x55000u

static void check_state(const struct vmcb *v) {
    const uint32_t always = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 27 | 1u << 28 | 1u << 31;
    cr_assert_eq(v->intercept_1 & always, always, "%#x", v->intercept_1);
    cr_assert_eq(v->intercept_2 & 0x7f, 0x7f, "AMD-V's own instructions");
    cr_assert_eq(v->intercept_exception & 0x60002, 0x60002, "#DB, #AC, #MC");
    cr_assert(v->efer & EFER_SVME);
    cr_assert_eq((v->efer & EFER_LMA) != 0, (v->efer & EFER_LME) && (v->cr0 & CR0_PG));
    cr_assert((v->cr0 & (CR0_CD | CR0_NW)) == 0 && (v->cr0 & CR0_NE) && v->cr0 >> 32 == 0);
    cr_assert_eq(v->cr4 & CR4_MCE, paper.reg[PAPER_CR4] & CR4_MCE);
    cr_assert((v->dr6 | v->dr7) >> 32 == 0);
    cr_assert(v->np_enable == 1 && (v->interrupt & VINTR_MASKING));
    cr_assert(v->iopm == PAPER_MAPS && v->msrpm == PAPER_MAPS + 0x3000);
    cr_assert_eq(v->rflags & RFLAGS_ONE, RFLAGS_ONE);
    check_event(v->event);
}

// A translation may be there for each ASID that ran.
static void use_translations(const struct vmcb *vmcb) {
    const void **mine = &paper.translations[paper_cpu][vmcb->asid];
    cr_assert(vmcb->asid > 0 && vmcb->asid < svm_caps.asid_count, "ASID %u", vmcb->asid);
    if (vmcb->tlb_control == TLB_FLUSH_ALL) {
        memset(paper.translations[paper_cpu], 0, sizeof(paper.translations[0]));
        paper.flushes++;
    } else {
        cr_assert_eq(vmcb->tlb_control, 0);
    }
    cr_assert(*mine == NULL || *mine == vmcb, "ASID %u is another vCPU's", vmcb->asid);
    *mine = vmcb;
}

void switch_to_guest(uint64_t *gpr, hpa_t at, uint64_t shadow); // the name is enter.c's
void switch_to_guest(uint64_t *gpr, hpa_t at, uint64_t shadow) {
    struct vmcb *vmcb = (struct vmcb *)at.v;
    cr_assert_eq(gpr, paper_page.gpr);
    cr_assert_eq(shadow, vmcb->shadow & SHADOW_STI_MOV_SS, "of QEMU, which does not load it");
    cr_assert_not(paper.is_gif, "an NMI between VMLOAD and VMRUN would find the guest's TR");
    cr_assert_eq(paper.hidden_of.v, at.v, "hidden state of another");
    cr_assert_lt(paper.entries, ARRAY_COUNT(paper.exits));
    step(STEP_ENTRY);
    if (!paper.checks_nothing) {
        check_state(vmcb);
        use_translations(vmcb);
    }
    check_clean(vmcb);
    paper.entered = *vmcb;
    const struct paper_exit *exit = &paper.exits[paper.entries++];
    vmcb->exit_int_info = exit->int_info;
    if (exit->guest != NULL)
        exit->guest();
    vmcb->exit_code = exit->code;
    vmcb->exit_info_1 = exit->info_1;
    vmcb->exit_info_2 = exit->code == CODE_IOIO ? vmcb->rip + exit->length : exit->info_2;
    vmcb->next_rip = svm_caps.has_next_rip && exit->length ? vmcb->rip + exit->length : 0;
    paper.cached[paper_cpu] = *vmcb;
    paper.cached_of[paper_cpu] = vmcb;
}

// An interrupt waits for GIF, and for this.
void paper_open_interrupts(void) {
    cr_assert(paper.is_gif);
    step(STEP_OPEN);
    paper.seen.opened++;
    paper_cpus[paper_cpu].own_timers++;
}

// ---- the kernel ---------------------------------------------------------------------------------

_Noreturn void panic(const char *format, ...) {
    (void)format;
    abort();
}
void lapic_send(uint32_t apic_id, uint64_t command) {
    cr_assert_eq(apic_id, paper_cpus[paper_cpu].apic_id);
    paper.seen.wakes += command == VECTOR_WAKE;
}
static void see_exception(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
    paper.seen.vector = vector;
    paper.seen.has_vector = true;
    svm_inject_exception(vcpu, vector, error);
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
    (void)vcpu;
    paper.seen.msr = msr;
    *value = paper.msr_value;
    return paper.msr_result;
}
enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    (void)vcpu;
    paper.seen.msr = msr;
    paper.seen.written = value;
    return paper.msr_result;
}
const struct abi_cpuid *vm_find_cpuid(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    static struct abi_cpuid row;
    (void)vm;
    row = (struct abi_cpuid){.leaf = leaf};
    row.edx = ~(1u << 27) | paper.cpuid_rdtscp << 27;
    row.ebx = ~(1u << 10) | paper.cpuid_invpcid << 10;
    return subleaf == 0 && (leaf == 7 || leaf == 0x80000001) ? &row : NULL;
}
enum space_fault vm_handle_fault(struct vm *vm, gpa_t gpa, uint32_t access) {
    (void)vm;
    paper.seen.gpa = gpa.v;
    paper.seen.access = access;
    return paper.fault;
}
bool vm_ring_doorbell(struct vm *vm, uint16_t port) {
    (void)vm;
    return paper.has_doorbell && port == 0x510;
}
uint8_t vlapic_get_cr8(const struct vcpu *vcpu) {
    (void)vcpu;
    return paper.cr8;
}
void vlapic_set_cr8(struct vcpu *vcpu, uint8_t cr8) {
    (void)vcpu;
    paper.cr8 = cr8;
}
uint32_t vlapic_get_held_class(const struct vcpu *vcpu) {
    (void)vcpu;
    return paper.held_class;
}

// ---- set-up -------------------------------------------------------------------------------------

struct vcpu_registers paper_registers(void) {
    return (struct vcpu_registers){
        .gpr = {[GPR_RSP] = 0x8000},
        .rip = 0x1000,
        .rflags = RFLAGS_ONE | RFLAGS_IF,
        .cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP,
        .cr3 = 0x3000,
        .cr4 = CR4_PAE | CR4_MCE,
        .dr7 = 0x400,
        .cs = {.selector = 8, .attributes = 0xa09b, .limit = UINT32_MAX},
        .ss = {.selector = 16, .attributes = 0xc093, .limit = UINT32_MAX},
        .ds = {.selector = 16, .attributes = 0xc093, .limit = UINT32_MAX},
        .es = {.selector = 16, .attributes = 0xc093, .limit = UINT32_MAX},
        .fs = {.selector = 16, .attributes = 0xc093, .limit = UINT32_MAX, .base = 0xf500},
        .gs = {.selector = 16, .attributes = 0xc093, .limit = UINT32_MAX, .base = 0x6500},
        .ldtr = {.attributes = VCPU_SEGMENT_UNUSABLE},
        .tr = {.selector = 32, .attributes = 0x8b, .limit = 0x67, .base = 0x7000},
        .gdtr = {.limit = 0x7f, .base = 0x5000},
        .idtr = {.limit = 0xfff, .base = 0x6000},
        .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
        .pat = 0x0007040600070406,
        .cr0_own = CR0_TS | CR0_MP | CR0_EM | CR0_WP | CR0_AM,
        .cr4_own = CR4_GUEST & ~(CR4_PAE | CR4_PCIDE),
    };
}

static void init_cpus(void) {
    for (unsigned i = ARRAY_COUNT(paper_cpus); i-- > 0;) {
        paper_cpus[i] = (struct cpu){.index = i, .apic_id = i + 1, .host_region = host_regions[i]};
        paper_cpu = i;
        paper.hidden.tr.base = 0x777000 + i;
        cr_assert_null(svm_backend.cpu_init(&paper_cpus[i]));
        svm_vmload(host_region());
    }
}

static void *next_page(void) {
    cr_assert_lt(paper.seen.pages, ARRAY_COUNT(pages));
    return memset(pages[paper.seen.pages++], 0, PAGE_SIZE);
}

void paper_make(struct vcpu *vcpu) {
    vcpu->backend = next_page();
    vcpu->control = next_page();
    svm_backend.vcpu_create(vcpu);
}

void paper_set_up(void) {
    memset(&paper, 0, sizeof(paper));
    memset(msr_slots, 0, sizeof(msr_slots));
    memset(xsave_area, 0, sizeof(xsave_area));
    paper.is_gif = true;
    paper.xcr0 = 7;
    paper.msr_result = MSR_UNKNOWN;
    paper.fault = SPACE_FAULT_NONE;
    paper.cpuid_rdtscp = paper.cpuid_invpcid = 1;
    paper.reg[PAPER_CR0] = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP;
    paper.reg[PAPER_CR4] = CR4_PAE | CR4_MCE;
    cpu_features = (struct cpu_features){
        .has_nx = true, .has_xsave = true, .has_rdtscp = true, .physical_bits = 48, .xcr0_mask = 7};
    machine.svm = (struct svm_caps){
        .asid_count = 16,
        .maps = PAPER_MAPS,
        .has_next_rip = true,
        .has_decode_assists = true,
        .has_clean_bits = true,
        .has_tsc_ratio = true,
        .has_pause_filter = true,
        .has_rdtscp = true,
        .has_invpcid = true,
        .has_rdpru = true,
        .has_spec_ctrl = true,
        .has_pred_cmd = true,
    };
    mitigation = (struct mitigation){0};
    svm_backend.init();
    init_cpus();
    paper_page = (struct vcpu_page){0};
    paper_vm = (struct vm){.space.pt.root = {0x123000}};
    paper_vcpu = (struct vcpu){.vm = &paper_vm,
                               .page = &paper_page,
                               .cpu = &paper_cpus[0],
                               .xsave = xsave_area,
                               .xcr0 = XCR0_X87};
    paper_make(&paper_vcpu);
    struct vcpu_registers registers = paper_registers();
    svm_backend.write_registers(&paper_vcpu, &registers);
    svm_backend.load(&paper_vcpu);
    paper_x()->entry_work &= ~(uint32_t)WORK_IS_LEFT;
    paper.step_count = 0;
}

enum exit_action paper_enter(void) {
    enum exit_action action = svm_backend.enter(&paper_vcpu);
    cr_assert(paper.is_gif && paper.hidden_of.v == host_region().v, "the host's state is back");
    cr_assert_eq(paper.hidden.tr.base, 0x777000 + paper_cpu);
    cr_assert_eq(paper.hidden.fs.base, ABI_CALL_PAGE);
    return action;
}

enum exit_action paper_run(struct paper_exit exit) {
    for (unsigned i = 0; i < ARRAY_COUNT(paper.exits); i++)
        paper.exits[i] = exit;
    paper.entries = paper.step_count = 0;
    uint32_t pending = paper_vcpu.pending;
    paper_vcpu.pending |= VCPU_PENDING_KICK; // one exit is enough
    enum exit_action action = paper_enter();
    if (!(pending & VCPU_PENDING_KICK))
        paper_vcpu.pending &= ~(uint32_t)VCPU_PENDING_KICK;
    return action;
}

void paper_move(unsigned cpu) {
    svm_backend.unload(&paper_vcpu);
    paper_cpu = cpu;
    paper_vcpu.cpu = &paper_cpus[cpu];
    svm_vmload(host_region());
    svm_backend.load(&paper_vcpu);
}
