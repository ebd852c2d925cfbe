// SPDX-License-Identifier: Apache-2.0
// What exits ask of neutral code: CPUID, the MSRs that no vendor owns, and how a VM fails.
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"

#define LEAF_FEATURES 0x1u
#define LEAF_TOPOLOGY 0xbu
#define LEAF_XSAVE    0xdu
#define LEAF_EXTENDED 0x80000001u // AMD's has bits of LEAF_FEATURES again
#define LEAF_CORE     0x8000001eu // APM 3 E.4.17 "Function 8000_001Eh"
#define ECX_XSAVE     BIT(26)
#define ECX_OSXSAVE   BIT(27)
#define EDX_APIC      BIT(9)

enum exit_action vcpu_fail(struct vcpu *vcpu, enum vcpu_failure failure, uint64_t detail) {
    vcpu->page->failure = (uint32_t)failure;
    vcpu->page->failure_detail = detail;
    vcpu->page->failure_words[VCPU_WORD_PENDING] = vcpu->pending;
    return EXIT_FAIL;
}

// What depends on the vCPU or on its present state.
static void patch(const struct vcpu *vcpu, uint64_t cr4, uint32_t leaf, uint32_t subleaf,
                  struct cpuid_result *r) {
    bool is_apic_on = (vcpu->vlapic.base_msr & APIC_BASE_ENABLE) != 0;
    if ((leaf == LEAF_FEATURES || leaf == LEAF_EXTENDED) && !is_apic_on) // SDM 3A 11.4.3
        r->edx &= ~(uint32_t)EDX_APIC;
    switch (leaf) {
    case LEAF_FEATURES:
        r->ebx = (r->ebx & 0x00ffffff) | vcpu->index << 24;
        r->ecx &= ~(uint32_t)ECX_OSXSAVE;
        r->ecx |= (r->ecx & ECX_XSAVE) != 0 && (cr4 & CR4_OSXSAVE) != 0 ? (uint32_t)ECX_OSXSAVE : 0;
        break;
    case LEAF_TOPOLOGY:
        r->edx = vcpu->index;
        break;
    case LEAF_CORE:
        r->eax = vcpu->index;
        r->ebx = (r->ebx & 0xffffff00) | (vcpu->index & 0xff);
        break;
    case LEAF_XSAVE:
        // The processor holds the guest's XCR0 now and knows the size of what it enables.
        if (subleaf == 0 && r->ebx != 0)
            r->ebx = x86_cpuid(LEAF_XSAVE, 0).ebx;
        break;
    default:
        break;
    }
}

bool vcpu_is_cpuid_dynamic(uint32_t leaf) {
    return leaf == LEAF_FEATURES || leaf == LEAF_TOPOLOGY || leaf == LEAF_XSAVE ||
           leaf == LEAF_EXTENDED || leaf == LEAF_CORE;
}

static __attribute__((noinline)) enum exit_action emulate_dynamic(struct vcpu *vcpu) {
    uint64_t *gpr = vcpu->page->gpr;
    uint32_t leaf = (uint32_t)gpr[0], subleaf = (uint32_t)gpr[1];
    const struct abi_cpuid *row = vm_find_cpuid(vcpu->vm, leaf, subleaf);
    struct cpuid_result r = {0, 0, 0, 0};
    if (row != NULL) {
        r = (struct cpuid_result){row->eax, row->ebx, row->ecx, row->edx};
        patch(vcpu, vcpu_backend->get_cr4(vcpu), leaf, subleaf, &r);
    }
    gpr[0] = r.eax;
    gpr[1] = r.ecx;
    gpr[2] = r.edx;
    gpr[3] = r.ebx;
    return EXIT_ADVANCE;
}

enum exit_action vcpu_emulate_cpuid(struct vcpu *vcpu) {
    uint64_t *gpr = vcpu->page->gpr;
    const struct abi_cpuid *row = vm_find_constant_cpuid(vcpu->vm, (uint32_t)gpr[0]);
    if (row == NULL)
        return emulate_dynamic(vcpu);
    gpr[0] = row->eax;
    gpr[1] = row->ecx;
    gpr[2] = row->edx;
    gpr[3] = row->ebx;
    return EXIT_ADVANCE;
}

static bool is_apic_msr(uint32_t msr) {
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

enum msr_result vcpu_read_msr(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    if (is_apic_msr(msr))
        return vlapic_msr_read(vcpu, msr, value) ? MSR_DONE : MSR_FAULT;
    if (msr == MSR_TSC)
        *value = vmtime_at(vcpu->vm, x86_rdtsc()) + vcpu->tsc_offset;
    else if (msr == MSR_TSC_ADJUST)
        *value = vcpu->tsc_adjust;
    else
        return MSR_UNKNOWN;
    return MSR_DONE;
}

enum msr_result vcpu_write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    if (!is_apic_msr(msr))
        return MSR_UNKNOWN;
    return vlapic_msr_write(vcpu, msr, value) ? MSR_DONE : MSR_FAULT;
}
