// SPDX-License-Identifier: Apache-2.0
// What the VMCS holds of a vCPU's registers, for its VMM: one table of where each member of struct
// vcpu_registers stands serves reading and writing. Values are the VMM's. What no processor can
// have, VM entry refuses, and that ends that VM alone; what is the host's is kept out here.
#include "vmx/registers.h"

#include "lib/string.h"

#define RFLAGS_DEFINED  0x3f7fd7ULL
#define INSTRUCTION_MAX 15u

static void accept_control(const struct vcpu_exit_control *control) {
    if (control->number == 0)
        vmcs_write(VMCS_CR0_READ_SHADOW, control->value);
    else
        vmcs_write(VMCS_CR4_READ_SHADOW, control->value);
}

void vmx_sync_registers(struct vcpu *vcpu, uint32_t dirty) {
    struct vmx_vcpu *x = vcpu->backend;
    const struct vcpu_page *page = vcpu->page;
    if (dirty & VCPU_DIRTY_RIP) {
        // The VMM stepped over an instruction whose mode it may not know.
        uint64_t rip = page->rip;
        if ((uint32_t)rip < INSTRUCTION_MAX)
            rip = vmx_wrap_rip(rip);
        vmcs_write(VMCS_GUEST_RIP, rip);
        uint32_t interruptibility = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
        const uint32_t ended = BLOCKING_UNTIL_NEXT;
        if (interruptibility & ended)
            vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~ended);
        if (vmcs_read(VMCS_GUEST_RFLAGS) & RFLAGS_TF)
            vmx_trap_after_step();
    }
    if (dirty & VCPU_DIRTY_RSP)
        vmcs_write(VMCS_GUEST_RSP, page->gpr[GPR_RSP]);
    if (dirty & VCPU_DIRTY_RFLAGS)
        vmcs_write(VMCS_GUEST_RFLAGS, (page->rflags & RFLAGS_DEFINED) | RFLAGS_ONE);
    if (dirty & VCPU_DIRTY_CONTROL)
        accept_control(&page->control);
    // What was written may not be what the page says: the next `leave` reads it again.
    x->entry_work &= ~(uint32_t)WORK_IS_LEFT;
}

// ---- control registers --------------------------------------------------------------------------

#define CR0_HOST (CR0_CD | CR0_NW | CR0_NE) // this CPU's caches stay on; VT-x wants NE set

uint64_t vmx_get_cr0(const struct vmx_vcpu *x) {
    uint64_t real = vmcs_read(VMCS_GUEST_CR0), shadow = vmcs_read(VMCS_CR0_READ_SHADOW);
    return (real & ~x->cr0_mask) | (shadow & x->cr0_mask);
}

uint64_t vmx_get_cr4(const struct vcpu *vcpu) {
    const struct vmx_vcpu *x = vcpu->backend;
    uint64_t real = vmcs_read(VMCS_GUEST_CR4), shadow = vmcs_read(VMCS_CR4_READ_SHADOW);
    return (real & ~x->cr4_mask) | (shadow & x->cr4_mask);
}

// The field, what the guest sees of it, and the bits whose change exits. Protection and paging are
// the guest's both or not at all: that of one alone is a mode that no processor has. Where the
// processor cannot run without them, entry refuses a state without them.
static void write_cr0(struct vmx_vcpu *x, uint64_t cr0, uint64_t own) {
    const uint64_t mode = CR0_PE | CR0_PG;
    uint64_t must1 = vmx_caps.cr0_fixed0 & ~mode;
    bool is_mode_own = vmx_caps.has_unrestricted_guest && (own & mode) == mode;
    x->cr0_mask = ~own | CR0_HOST | (is_mode_own ? 0 : mode);
    vmcs_write(VMCS_GUEST_CR0, ((cr0 & ~(CR0_CD | CR0_NW)) | must1 | CR0_ET) & vmx_caps.cr0_fixed1);
    vmcs_write(VMCS_CR0_READ_SHADOW, cr0);
    vmcs_write(VMCS_CR0_GUEST_HOST_MASK, x->cr0_mask);
}

static void write_cr4(struct vmx_vcpu *x, uint64_t cr4, uint64_t own) {
    uint64_t may = CR4_GUEST & vmx_caps.cr4_fixed1;
    if (!cpu_features.has_xsave)
        may &= ~CR4_OSXSAVE;
    x->cr4_mask = ~(own & may);
    vmcs_write(VMCS_GUEST_CR4, (cr4 & may) | (x86_read_cr4() & CR4_MCE) | vmx_caps.cr4_fixed0);
    vmcs_write(VMCS_CR4_READ_SHADOW, cr4);
    vmcs_write(VMCS_CR4_GUEST_HOST_MASK, x->cr4_mask);
}

// ---- segments -----------------------------------------------------------------------------------

#define SEGMENT_ATTRIBUTES 0xf0ffu

// In the order of enum vmcs_segment.
_Static_assert(offsetof(struct vcpu_registers, tr) - offsetof(struct vcpu_registers, es) ==
                   VMCS_TR * sizeof(struct vcpu_segment),
               "es cs ss ds fs gs ldtr tr");

// The VMCS has "unusable" in a bit that struct vcpu_segment has no room for.
struct vcpu_segment vmx_read_segment(enum vmcs_segment segment) {
    uint32_t rights = vmcs_read32(VMCS_ACCESS_RIGHTS(segment));
    uint32_t attributes = rights & SEGMENT_ATTRIBUTES;
    if (rights & SEGMENT_UNUSABLE)
        attributes |= VCPU_SEGMENT_UNUSABLE;
    return (struct vcpu_segment){
        .selector = vmcs_read16(VMCS_SELECTOR(segment)),
        .attributes = (uint16_t)attributes,
        .limit = vmcs_read32(VMCS_LIMIT(segment)),
        .base = vmcs_read(VMCS_BASE(segment)),
    };
}

static void write_segment(enum vmcs_segment segment, const struct vcpu_segment *value) {
    uint32_t rights = value->attributes & ~VCPU_SEGMENT_UNUSABLE;
    if (value->attributes & VCPU_SEGMENT_UNUSABLE)
        rights |= (uint32_t)SEGMENT_UNUSABLE;
    vmcs_write16(VMCS_SELECTOR(segment), value->selector);
    vmcs_write(VMCS_BASE(segment), value->base);
    vmcs_write32(VMCS_LIMIT(segment), value->limit);
    vmcs_write32(VMCS_ACCESS_RIGHTS(segment), rights);
}

// ---- all of it ----------------------------------------------------------------------------------

#define PLACE(member, field)                                                                       \
    {                                                                                              \
        offsetof(struct vcpu_registers, member), sizeof(((struct vcpu_registers *)0)->member),     \
            (field)                                                                                \
    }
static const struct {
    uint16_t member, size;
    uint32_t field;
} places[] = {
    PLACE(gpr[GPR_RSP], VMCS_GUEST_RSP),
    PLACE(rip, VMCS_GUEST_RIP),
    PLACE(rflags, VMCS_GUEST_RFLAGS),
    PLACE(cr3, VMCS_GUEST_CR3),
    PLACE(dr7, VMCS_GUEST_DR7),
    PLACE(gdtr.base, VMCS_GUEST_GDTR_BASE),
    PLACE(gdtr.limit, VMCS_GUEST_GDTR_LIMIT),
    PLACE(idtr.base, VMCS_GUEST_IDTR_BASE),
    PLACE(idtr.limit, VMCS_GUEST_IDTR_LIMIT),
    PLACE(efer, VMCS_GUEST_EFER),
    PLACE(pat, VMCS_GUEST_PAT),
    PLACE(debugctl, VMCS_GUEST_DEBUGCTL),
    PLACE(pending_debug, VMCS_GUEST_PENDING_DEBUG),
    PLACE(sysenter_cs, VMCS_GUEST_SYSENTER_CS),
    PLACE(sysenter_esp, VMCS_GUEST_SYSENTER_ESP),
    PLACE(sysenter_eip, VMCS_GUEST_SYSENTER_EIP),
    PLACE(pdpte[0], VMCS_PDPTE(0)),
    PLACE(pdpte[1], VMCS_PDPTE(1)),
    PLACE(pdpte[2], VMCS_PDPTE(2)),
    PLACE(pdpte[3], VMCS_PDPTE(3)),
    PLACE(interruptibility, VMCS_GUEST_INTERRUPTIBILITY),
};

hpa_t vmx_open(const struct vmx_vcpu *x) {
    hpa_t previous = vmcs_get_current();
    vmcs_clear(x->vmcs);
    vmcs_make_current(x->vmcs);
    return previous;
}

void vmx_close(const struct vmx_vcpu *x, hpa_t previous) {
    vmcs_clear(x->vmcs);
    if (previous.v != VMCS_NONE)
        vmcs_make_current(previous);
}

void vmx_read_registers(struct vcpu *vcpu, struct vcpu_registers *r) {
    struct vmx_vcpu *x = vcpu->backend;
    hpa_t previous = vmx_open(x);
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        uint64_t value = vmcs_read_field(places[i].field);
        memcpy((uint8_t *)r + places[i].member, &value, places[i].size);
    }
    for (enum vmcs_segment segment = VMCS_ES; segment < VMCS_SEGMENT_COUNT; segment++)
        (&r->es)[segment] = vmx_read_segment(segment);
    r->cr0 = vmx_get_cr0(x);
    r->cr4 = vmx_get_cr4(vcpu);
    r->cr0_own = ~x->cr0_mask;
    r->cr4_own = ~x->cr4_mask;
    // An emulator may take more than its CPUID shows.
    r->spec_ctrl = x->spec_guest.value & x->spec_allowed;
    r->spec_ctrl_own = x->spec_allowed;
    r->has_pending = inject_save(&r->pending);
    vmx_close(x, previous);
}

void vmx_write_registers(struct vcpu *vcpu, const struct vcpu_registers *r) {
    struct vmx_vcpu *x = vcpu->backend;
    hpa_t previous = vmx_open(x);
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        uint64_t value = 0;
        memcpy(&value, (const uint8_t *)r + places[i].member, places[i].size);
        vmcs_write_field(places[i].field, value);
    }
    for (enum vmcs_segment segment = VMCS_ES; segment < VMCS_SEGMENT_COUNT; segment++)
        write_segment(segment, &(&r->es)[segment]);
    write_cr0(x, r->cr0, r->cr0_own);
    write_cr4(x, r->cr4, r->cr4_own);
    uint32_t long_mode = r->efer & EFER_LMA ? (uint32_t)ENTRY_CONTROL_IA32E_GUEST : 0;
    vmcs_write32(VMCS_ENTRY_CONTROLS, vmx_caps.control[CONTROL_ENTRY] | long_mode);
    vmcs_write64(VMCS_TSC_OFFSET, vcpu->tsc_offset);
    inject_restore(vcpu, &r->pending, r->has_pending != 0);
    x->spec_allowed = vmx_caps.has_spec_ctrl ? r->spec_ctrl_own : 0;
    x->spec_guest.value = r->spec_ctrl & x->spec_allowed;
    x->entry_work = WORK_CR2 | WORK_IS_LEFT;
    x->last_cpu = NULL; // whichever loads it forgets what the registers before led to
    vmx_close(x, previous);
}
