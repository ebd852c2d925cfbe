// SPDX-License-Identifier: Apache-2.0
// A vCPU's state as a whole, for its VMM: to set it up, to save and to restore. What it shall be is
// the VMM's to decide. Checked here is what would make the kernel itself fault when it loads it;
// the rest is the processor's to refuse at the next entry, which ends that VM alone.
#include "kernel/vcpu.h"
#include "kernel/vmtime.h"
#include "lib/index.h"
#include "lib/string.h"

size_t vcpu_state_size(uint64_t group) {
    static const size_t size[] = {
        [VCPU_STATE_REGISTERS] = sizeof(struct vcpu_registers),
        [VCPU_STATE_APIC] = sizeof(struct vcpu_apic),
        [VCPU_STATE_FPU] = ABI_XSAVE_SIZE,
        [VCPU_STATE_CONTEXT] = sizeof(struct vcpu_registers),
    };
    return group < ARRAY_COUNT(size) ? size[index_mask(group, ARRAY_COUNT(size))] : 0;
}

_Static_assert(VCPU_EVENT_INIT << 3 == VCPU_PENDING_INIT &&
                   VCPU_EVENT_SIPI << 3 == VCPU_PENDING_SIPI &&
                   VCPU_EVENT_EOI << 3 == VCPU_PENDING_EOI,
               "one shift");
#define EVENT_SHIFT 3
#define EVENTS      (VCPU_EVENT_INIT | VCPU_EVENT_SIPI | VCPU_EVENT_EOI)
#define EVENTS_NMI  (VCPU_EVENT_NMI | VCPU_EVENT_NMI_AGAIN)

static void read_events(const struct vcpu *vcpu, struct vcpu_registers *r) {
    uint32_t nmis = __atomic_load_n(&vcpu->nmi_count, __ATOMIC_RELAXED);
    r->events = __atomic_load_n(&vcpu->pending, __ATOMIC_RELAXED) >> EVENT_SHIFT & EVENTS;
    r->events |= nmis == 0 ? 0 : nmis == 1 ? VCPU_EVENT_NMI : EVENTS_NMI;
    r->sipi_vector = (uint8_t)vcpu->sipi_vector;
    r->eoi_vector = vcpu->vlapic.eoi_vector;
}

static void write_events(struct vcpu *vcpu, const struct vcpu_registers *r) {
    uint32_t nmis =
        (r->events & VCPU_EVENT_NMI ? 1u : 0) + (r->events & VCPU_EVENT_NMI_AGAIN ? 1u : 0);
    __atomic_store_n(&vcpu->nmi_count, nmis, __ATOMIC_RELAXED);
    __atomic_store_n(&vcpu->sipi_vector, r->sipi_vector, __ATOMIC_RELAXED);
    vcpu->vlapic.eoi_vector = r->eoi_vector;
    __atomic_fetch_and(&vcpu->pending, ~(uint32_t)(EVENTS << EVENT_SHIFT), __ATOMIC_RELAXED);
    vcpu_post_to_self(vcpu, (r->events & EVENTS) << EVENT_SHIFT);
}

// What struct vcpu has of struct vcpu_registers, member by member.
#define KEPT(member)                                                                               \
    {                                                                                              \
        offsetof(struct vcpu_registers, member), offsetof(struct vcpu, member),                    \
            sizeof(((struct vcpu *)0)->member)                                                     \
    }
static const struct {
    uint16_t from, at, size;
} kept[] = {
    KEPT(cr2),     KEPT(dr),    KEPT(dr6),        KEPT(star),
    KEPT(lstar),   KEPT(cstar), KEPT(sfmask),     KEPT(kernel_gs_base),
    KEPT(tsc_aux), KEPT(xcr0),  KEPT(tsc_adjust),
};

static void read_registers(struct vcpu *vcpu, struct vcpu_registers *r) {
    vcpu_unload(vcpu);
    for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
        memcpy((uint8_t *)r + kept[i].from, (const uint8_t *)vcpu + kept[i].at, kept[i].size);
    memcpy(r->gpr, vcpu->page->gpr, sizeof(r->gpr));
    vcpu_backend->read_registers(vcpu, r);
    r->tsc_clock = vmtime_at(vcpu->vm, x86_rdtsc());
    r->tsc = r->tsc_clock + vcpu->tsc_offset;
    r->activity = vcpu->activity;
    r->is_extint_high = vcpu->is_extint_high;
    r->pvtime_steal = vcpu->pvtime.steal;
    read_events(vcpu, r);
    vlapic_msr_read(vcpu, MSR_APIC_BASE, &r->apic_base);
    vlapic_msr_read(vcpu, MSR_TSC_DEADLINE, &r->tsc_deadline);
}

int vcpu_read_state(struct vcpu *vcpu, uint64_t group, void *page) {
    if (!vcpu_claim(vcpu))
        return ABI_ERROR_AGAIN;
    if (group == VCPU_STATE_REGISTERS || group == VCPU_STATE_CONTEXT) {
        read_registers(vcpu, page);
    } else if (group == VCPU_STATE_APIC) {
        vlapic_save(vcpu, page);
    } else {
        vcpu_unload(vcpu);
        memcpy(page, vcpu->xsave, ABI_XSAVE_SIZE);
    }
    vcpu_unclaim(vcpu);
    return ABI_OK;
}

// SDM 1 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features": XSETBV faults on others.
static bool is_xcr0_valid(uint64_t value) {
    uint64_t may = cpu_features.has_xsave ? cpu_features.xcr0_mask : XCR0_X87;
    uint64_t avx512 = value & XCR0_AVX512;
    return (value & ~may) == 0 && (value & XCR0_X87) != 0 &&
           ((value & XCR0_AVX) == 0 || (value & XCR0_SSE) != 0) &&
           (avx512 == 0 || (avx512 == XCR0_AVX512 && (value & XCR0_AVX) != 0));
}

static bool is_activity_valid(uint32_t activity) {
    return activity == VCPU_ACTIVE || activity == VCPU_HALTED || activity == VCPU_WAIT_SIPI;
}

// Of what WRMSR, XSETBV and MOV to DR6 move when the vCPU is loaded, and of what neutral code
// keeps. Long mode without paging is no mode: Bochs' VM entry lets it pass, and Bochs ends then.
static bool are_registers_valid(const struct vcpu *vcpu, const struct vcpu_registers *r) {
    return (r->dr6 | r->sfmask | r->tsc_aux) <= UINT32_MAX && is_canonical(r->lstar) &&
           is_canonical(r->cstar) && is_canonical(r->kernel_gs_base) && is_xcr0_valid(r->xcr0) &&
           ((r->efer & EFER_LMA) == 0 || (~r->cr0 & (CR0_PG | CR0_PE)) == 0) &&
           is_activity_valid(r->activity) && vlapic_is_base_valid(vcpu, r->apic_base) &&
           (r->events & ~(uint32_t)(EVENTS | EVENTS_NMI)) == 0 &&
           (r->pvtime_steal & PVTIME_RESERVED) == 0;
}

// What may have gone on since the VMM read it.
static void write_rest(struct vcpu *vcpu, const struct vcpu_registers *r) {
    vcpu->activity = r->activity;
    vcpu->is_extint_high = r->is_extint_high != 0;
    vlapic_restore_msrs(vcpu, r->apic_base, r->tsc_deadline);
    write_events(vcpu, r);
}

static int write_registers(struct vcpu *vcpu, const struct vcpu_registers *r, bool is_whole) {
    if (!are_registers_valid(vcpu, r))
        return ABI_ERROR_ARGUMENT;
    vcpu_unload(vcpu);
    for (size_t i = 0; i < ARRAY_COUNT(kept); i++)
        memcpy((uint8_t *)vcpu + kept[i].at, (const uint8_t *)r + kept[i].from, kept[i].size);
    memcpy(vcpu->page->gpr, r->gpr, sizeof(r->gpr));
    vcpu->page->rip = r->rip;
    vcpu->page->rflags = r->rflags;
    // A triple fault was that of the state before.
    __atomic_fetch_and(&vcpu->pending, ~(uint32_t)VCPU_PENDING_SHUTDOWN, __ATOMIC_RELAXED);
    pvtime_set(vcpu, r->pvtime_steal);
    uint64_t by = r->tsc - r->tsc_clock - vcpu->tsc_offset;
    vcpu_post_to_self(vcpu, VCPU_PENDING_LOOKS);
    if (is_whole) {
        vcpu->tsc_offset += by; // whatever deadline there was
        write_rest(vcpu, r);
    } else if (by != 0) {
        vlapic_move_tsc(vcpu, by);
    }
    vcpu_backend->write_registers(vcpu, r);
    return ABI_OK;
}

// XRSTOR faults on a header with unknown features or set reserved bits, and FXRSTOR on MXCSR
// (SDM 1 13.8 "Operation of XRSTOR"): the kernel must never see that.
#define XSAVE_MXCSR 24
static int write_fpu(struct vcpu *vcpu, const uint8_t *area) {
    enum { HEADER = 512, HEADER_SIZE = 64 };
    const uint32_t mxcsr_valid = 0xffff;
    const uint64_t *header = (const uint64_t *)(const void *)(area + HEADER);
    uint32_t mxcsr = *(const uint32_t *)(const void *)(area + XSAVE_MXCSR);
    bool is_valid = (header[0] & ~cpu_features.xcr0_mask) == 0 && (mxcsr & ~mxcsr_valid) == 0;
    for (unsigned i = 1; i < HEADER_SIZE / sizeof(*header); i++)
        is_valid = is_valid && header[i] == 0;
    if (!is_valid)
        return ABI_ERROR_ARGUMENT;
    vcpu_unload(vcpu);
    memcpy(vcpu->xsave, area, ABI_XSAVE_SIZE);
    return ABI_OK;
}

int vcpu_write_state(struct vcpu *vcpu, uint64_t group, const void *page) {
    if (!vcpu_claim(vcpu))
        return ABI_ERROR_AGAIN;
    int error;
    if (group == VCPU_STATE_REGISTERS || group == VCPU_STATE_CONTEXT)
        error = write_registers(vcpu, page, group == VCPU_STATE_REGISTERS);
    else if (group == VCPU_STATE_APIC)
        error = vlapic_restore(vcpu, page);
    else
        error = write_fpu(vcpu, page);
    vcpu_unclaim(vcpu);
    return error;
}
