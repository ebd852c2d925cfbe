// SPDX-License-Identifier: Apache-2.0
// Creation of a vCPU, and its state after power-on, INIT and SIPI. SDM 3A 10.1.1 "Processor State
// After Reset", Table 10-1 "IA-32 and Intel 64 Processor States Following Power-up, Reset, or
// INIT".
#include "vmx/state.h"

#include "vmx/guard.h"

#include "kernel/frame.h"
#include "kernel/quota.h"
#include "kernel/vmtime.h"
#include "vmx/cr.h"
#include "vmx/ept.h"
#include "vmx/policy.h"

#define PLE_GAP    128u  // ticks between two PAUSEs of one spin loop, at most
#define PLE_WINDOW 4096u // ticks a spin loop may last

#define TSC_MULTIPLIER_BITS 48 // behind its point

#define RESET_CR0 (CR0_CD | CR0_NW | CR0_ET)
#define RESET_RIP 0xfff0ULL
#define RESET_DR6 0xffff0ff0ULL
#define RESET_DR7 0x400ULL
#define RESET_RDX 0x600ULL // a P6, where the CPUID table does not say more
// SDM 1 Table 10-2 "Format of an FXSAVE Area", offsets and values after FNINIT.
#define FXSAVE_FCW                0
#define FXSAVE_MXCSR              24
#define FPU_FCW                   0x37f
#define FPU_MXCSR                 0x1f80
#define CPUID_BASIC               1u
#define CPUID_FEATURES            7u
#define CPUID_XSAVE               0xdu
#define CPUID_EXTENDED            0x80000001u
#define CPUID_7_EBX_INVPCID       BIT(10)
#define CPUID_EXTENDED_EDX_RDTSCP BIT(27)

static struct abi_cpuid find_subleaf(const struct vm *vm, uint32_t leaf, uint32_t subleaf) {
    const struct abi_cpuid *row = vm_find_cpuid(vm, leaf, subleaf);
    return row ? *row : (struct abi_cpuid){0};
}

static struct abi_cpuid find_cpuid(const struct vm *vm, uint32_t leaf) {
    return find_subleaf(vm, leaf, 0);
}

// What the guest may set follows from what its CPUID says, as far as the host has it.
static void learn_features(struct vmx_vcpu *x, const struct vm *vm) {
    struct abi_cpuid basic = find_cpuid(vm, CPUID_BASIC);
    struct abi_cpuid features = find_cpuid(vm, CPUID_FEATURES);
    struct abi_cpuid xsave = find_cpuid(vm, CPUID_XSAVE);
    struct cr_features known = {
        .leaf1_ecx = basic.ecx,
        .leaf1_edx = basic.edx,
        .leaf7_ebx = features.ebx,
        .leaf7_ecx = features.ecx,
        .leaf7_edx = features.edx,
        .leaf7_2_edx = find_subleaf(vm, CPUID_FEATURES, 2).edx,
        .leaf80000001_edx = find_cpuid(vm, CPUID_EXTENDED).edx,
        .leafd_xcr0 = (uint64_t)xsave.edx << 32 | xsave.eax,
    };
    x->cr4_allowed = cr4_allowed(&known) & vmx_caps.cr4_fixed1;
    if (!cpu_features.has_xsave)
        x->cr4_allowed &= ~CR4_OSXSAVE;
    x->efer_allowed = efer_allowed(&known);
    if (!cpu_features.has_nx)
        x->efer_allowed &= ~EFER_NXE;
    x->spec_allowed = spec_ctrl_allowed(&known) & vmx_caps.spec_ctrl;
    x->xcr0_allowed = (known.leafd_xcr0 | XCR0_X87) & cpu_features.xcr0_mask;
    x->cr0_mask = cr0_host_mask(vmx_caps.has_unrestricted_guest);
    x->cr4_mask = cr4_host_mask(x->cr4_allowed);
}

// Instructions that need a control are #UD without it, which is what CPUID says where they are
// hidden.
static uint32_t secondary_controls(const struct vmx_vcpu *x, const struct vm *vm) {
    uint32_t secondary = vmx_caps.control[CONTROL_SECONDARY];
    if (!x->vpid)
        secondary &= ~(uint32_t)SECONDARY_VPID;
    if (!(find_cpuid(vm, CPUID_FEATURES).ebx & CPUID_7_EBX_INVPCID))
        secondary &= ~(uint32_t)SECONDARY_INVPCID;
    if (!(find_cpuid(vm, CPUID_EXTENDED).edx & CPUID_EXTENDED_EDX_RDTSCP))
        secondary &= ~(uint32_t)SECONDARY_RDTSCP;
    if (vm->tsc_ratio == 0)
        secondary &= ~(uint32_t)SECONDARY_TSC_SCALING;
    return secondary;
}

static void write_controls(struct vmx_vcpu *x, const struct vm *vm) {
    const uint32_t *control = vmx_caps.control;
    x->secondary = secondary_controls(x, vm);
    x->primary = control[CONTROL_PRIMARY];
    x->entry = control[CONTROL_ENTRY];
    vmcs_write32(VMCS_PIN_CONTROLS, control[CONTROL_PIN]);
    guard_init();
    x->flags = RFLAGS_IF; // what the controls are for; the first entry looks at the guest's own
    vmcs_write32(VMCS_PRIMARY_CONTROLS, x->primary);
    vmcs_write32(VMCS_SECONDARY_CONTROLS, x->secondary);
    vmcs_write32(VMCS_EXIT_CONTROLS, control[CONTROL_EXIT]);
    vmcs_write32(VMCS_EXCEPTION_BITMAP, (uint32_t)(BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC)));
    vmcs_write32(VMCS_PAGE_FAULT_ERROR_MASK, 0);
    vmcs_write32(VMCS_PAGE_FAULT_ERROR_MATCH, 0);
    vmcs_write32(VMCS_CR3_TARGET_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_STORE_COUNT, 0);
    vmcs_write32(VMCS_EXIT_MSR_LOAD_COUNT, 0);
    vmcs_write32(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
    vmcs_write64(VMCS_MSR_BITMAP, policy_msr_bitmap(false, false).v);
    vmcs_write64(VMCS_EPTP, ept_pointer(vm->space.pt.root));
    vmcs_write64(VMCS_LINK_POINTER, VMCS_NONE);
    vmcs_write(VMCS_CR0_GUEST_HOST_MASK, x->cr0_mask);
    vmcs_write(VMCS_CR4_GUEST_HOST_MASK, x->cr4_mask);
    if (x->vpid)
        vmcs_write16(VMCS_VPID, x->vpid);
    if (x->secondary & SECONDARY_TSC_SCALING)
        vmcs_write64(VMCS_TSC_MULTIPLIER,
                     vm->tsc_ratio << (TSC_MULTIPLIER_BITS - VMTIME_RATIO_BITS));
    // SGX is hidden, with all of its leaves: SDM 3C 25.6.16 "ENCLS-Exiting Bitmap".
    if (x->secondary & SECONDARY_ENCLS_EXITING)
        vmcs_write64(VMCS_ENCLS_BITMAP, UINT64_MAX);
    if (x->secondary & SECONDARY_ENCLV_EXITING)
        vmcs_write64(VMCS_ENCLV_BITMAP, UINT64_MAX);
    if (vmx_caps.has_ple) {
        vmcs_write32(VMCS_PLE_GAP, PLE_GAP);
        vmcs_write32(VMCS_PLE_WINDOW, PLE_WINDOW);
    }
}

// What is the same on each CPU; the rest is load.c's.
static void write_host_constants(const struct vmx_vcpu *x) {
    vmcs_write16(VMCS_HOST_CS_SELECTOR, SELECTOR_KERNEL_CODE);
    vmcs_write16(VMCS_HOST_SS_SELECTOR, SELECTOR_KERNEL_DATA);
    vmcs_write16(VMCS_HOST_DS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_ES_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_FS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_GS_SELECTOR, 0);
    vmcs_write16(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
    vmcs_write(VMCS_HOST_FS_BASE, ABI_STUB_ADDRESS); // the VMM's, as include/abi.h promises
    vmcs_write(VMCS_HOST_GS_BASE, 0);
    vmcs_write(VMCS_HOST_RIP, (uint64_t)vmx_exit_entry);
    vmcs_write(VMCS_HOST_RSP, (uint64_t)&x->gpr);
}

void state_set_cr0(struct vmx_vcpu *x, uint64_t cr0) {
    uint64_t must1 = vmx_caps.cr0_fixed0;
    if (vmx_caps.has_unrestricted_guest)
        must1 &= ~(CR0_PE | CR0_PG);
    uint64_t real = (cr0 & ~(CR0_CD | CR0_NW)) | must1 | CR0_ET;
    vmcs_write(VMCS_GUEST_CR0, real & vmx_caps.cr0_fixed1);
    vmcs_write(VMCS_CR0_READ_SHADOW, cr0);
    vmx_check_mode(x, cr0);
}

void state_set_cr4(struct vmx_vcpu *x, uint64_t cr4) {
    uint64_t real = (cr4 & ~CR4_MCE) | (x86_read_cr4() & CR4_MCE) | vmx_caps.cr4_fixed0;
    vmcs_write(VMCS_GUEST_CR4, real & vmx_caps.cr4_fixed1);
    vmcs_write(VMCS_CR4_READ_SHADOW, cr4);
    x->cr4_shadow = x->cr4_before = cr4;
}

void state_set_efer(struct vmx_vcpu *x, uint64_t efer) {
    vmcs_write64(VMCS_GUEST_EFER, efer);
    uint32_t long_mode = efer & EFER_LMA ? (uint32_t)ENTRY_CONTROL_IA32E_GUEST : 0;
    vmcs_write32(VMCS_ENTRY_CONTROLS, x->entry | long_mode);
}

// The VMCS has "unusable" in a bit that struct vcpu_segment has no room for.
void state_set_segment(enum vmcs_segment segment, const struct vcpu_segment *value) {
    uint32_t rights = value->attributes & ~VCPU_SEGMENT_UNUSABLE;
    if (value->attributes & VCPU_SEGMENT_UNUSABLE)
        rights |= (uint32_t)SEGMENT_UNUSABLE;
    vmcs_write16(VMCS_SELECTOR(segment), value->selector);
    vmcs_write(VMCS_BASE(segment), value->base);
    vmcs_write32(VMCS_LIMIT(segment), value->limit);
    vmcs_write32(VMCS_ACCESS_RIGHTS(segment), rights);
}

static void reset_segments(void) {
    static const struct vcpu_segment code = {0xf000, 0x9b, 0xffff, 0xffff0000};
    static const struct vcpu_segment data = {0, 0x93, 0xffff, 0};
    static const struct vcpu_segment ldt = {0, 0x82, 0xffff, 0};
    static const struct vcpu_segment task = {0, 0x8b, 0xffff, 0};
    for (enum vmcs_segment segment = VMCS_ES; segment <= VMCS_GS; segment++)
        state_set_segment(segment, segment == VMCS_CS ? &code : &data);
    state_set_segment(VMCS_LDTR, &ldt);
    state_set_segment(VMCS_TR, &task);
    vmcs_write(VMCS_GUEST_GDTR_BASE, 0);
    vmcs_write32(VMCS_GUEST_GDTR_LIMIT, data.limit);
    vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
    vmcs_write32(VMCS_GUEST_IDTR_LIMIT, data.limit);
}

// What power-on and INIT have in common. The debug registers and CR2 go to struct vcpu.
static void reset_common(struct vcpu *vcpu, uint64_t cr0) {
    struct vmx_vcpu *x = vcpu->backend;
    struct vcpu_page *page = vcpu->page;
    state_set_cr0(x, cr0);
    state_set_cr4(x, 0);
    state_set_efer(x, 0);
    vmcs_write(VMCS_GUEST_CR3, 0);
    reset_segments();
    for (unsigned i = 0; i < ARRAY_COUNT(page->gpr); i++)
        page->gpr[i] = 0;
    uint32_t signature = find_cpuid(vcpu->vm, CPUID_BASIC).eax;
    page->gpr[GPR_RDX] = signature ? signature : RESET_RDX;
    page->rip = RESET_RIP;
    page->rflags = RFLAGS_ONE;
    vmcs_write(VMCS_GUEST_RSP, 0);
    vmcs_write(VMCS_GUEST_RIP, RESET_RIP);
    vmcs_write(VMCS_GUEST_RFLAGS, RFLAGS_ONE);
    vmcs_write(VMCS_GUEST_DR7, RESET_DR7);
    vmcs_write64(VMCS_GUEST_DEBUGCTL, 0);
    vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
    vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmcs_write32(VMCS_GUEST_ACTIVITY, 0);
    inject_reset(vcpu);
    vcpu->cr2 = 0;
    vcpu->dr6 = RESET_DR6;
    for (unsigned i = 0; i < ARRAY_COUNT(vcpu->dr); i++)
        vcpu->dr[i] = 0;
    x->entry_work |= WORK_CR2 | WORK_IS_LEFT;
}

static void reset_power_on(struct vcpu *vcpu) {
    reset_common(vcpu, RESET_CR0);
    vmcs_write64(VMCS_GUEST_PAT, PAT_RESET);
    vmcs_write32(VMCS_GUEST_SYSENTER_CS, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_ESP, 0);
    vmcs_write(VMCS_GUEST_SYSENTER_EIP, 0);
    vmcs_write64(VMCS_TSC_OFFSET, vcpu->tsc_offset);
    vcpu->star = vcpu->lstar = vcpu->cstar = vcpu->sfmask = 0;
    vcpu->kernel_gs_base = vcpu->tsc_aux = 0;
    vcpu->xcr0 = XCR0_X87;
    // The initial state of the XSAVE area is zeroes but for these (SDM 1 13.6 "Processor Tracking
    // of XSAVE-Managed State"); FXRSTOR takes them as they are.
    uint8_t *fpu = vcpu->xsave;
    *(uint16_t *)(void *)(fpu + FXSAVE_FCW) = FPU_FCW;
    *(uint32_t *)(void *)(fpu + FXSAVE_MXCSR) = FPU_MXCSR;
}

static void free_pages(struct vcpu *vcpu, struct vmx_vcpu *x, void *vmcs_page) {
    if (vmcs_page)
        quota_free_page(vcpu->vm->quota, vmcs_page);
    if (x)
        quota_free_page(vcpu->vm->quota, x);
}

int vmx_vcpu_create(struct vcpu *vcpu) {
    struct vmx_vcpu *x = quota_alloc_page(vcpu->vm->quota);
    void *vmcs_page = quota_alloc_page(vcpu->vm->quota);
    if (!x || !vmcs_page) {
        free_pages(vcpu, x, vmcs_page);
        return ABI_ERROR_MEMORY;
    }
    vcpu->backend = x;
    x->gpr = vcpu->page->gpr;
    x->vmcs_page = vmcs_page;
    x->vmcs = frame_of_kernel(vmcs_page);
    x->vpid = vpid_alloc();
    *(uint32_t *)vmcs_page = vmx_caps.revision;
    learn_features(x, vcpu->vm);

    hpa_t previous = vmcs_get_current();
    vmcs_clear(x->vmcs);
    vmcs_make_current(x->vmcs);
    write_controls(x, vcpu->vm);
    vmx_apic_create(vcpu);
    speculation_create(x);
    write_host_constants(x);
    reset_power_on(vcpu);
    vmcs_clear(x->vmcs);
    if (previous.v != VMCS_NONE)
        vmcs_make_current(previous);
    return ABI_OK;
}

void vmx_vcpu_destroy(struct vcpu *vcpu) {
    struct vmx_vcpu *x = vcpu->backend;
    vpid_free(x->vpid);
    free_pages(vcpu, x, x->vmcs_page);
    vcpu->backend = NULL;
}

void vmx_init_reset(struct vcpu *vcpu) {
    uint64_t kept = vmx_get_cr0(vcpu->backend) & (CR0_CD | CR0_NW);
    load_store_registers(vcpu);
    reset_common(vcpu, kept | CR0_ET);
    load_reload_registers(vcpu);
}

// SDM 3A 9.4.3 "MP Initialization Protocol Algorithm for MP Systems": the vector names a page.
void vmx_start_up(struct vcpu *vcpu, uint8_t sipi_vector) {
    vmcs_write16(VMCS_GUEST_CS_SELECTOR, (uint16_t)(sipi_vector << 8));
    vmcs_write(VMCS_GUEST_CS_BASE, (uint64_t)sipi_vector << PAGE_SHIFT);
    vmcs_write(VMCS_GUEST_RIP, 0);
    vcpu->page->rip = 0;
}
