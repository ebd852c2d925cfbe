// SPDX-License-Identifier: Apache-2.0
// Access to the registers of a local APIC, by one sorted table: what is not in it does not exist.
// SDM 3A Table 11-1 "Local APIC Register Address Map", Table 11-6 "Local APIC Register Address Map
// Supported by x2APIC", 11.12 "Extended XAPIC (x2APIC)".
#include "arch/x86.h"
#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"

enum register_access {
    XR = 1u << 0,  // xAPIC: readable
    XW = 1u << 1,  // writable
    X2R = 1u << 2, // x2APIC
    X2W = 1u << 3,
};
#define XRW  (XR | XW)
#define X2RW (X2R | X2W)

struct register_rule {
    uint16_t first, last; // offsets, inclusive
    uint8_t access;       // enum register_access
    uint32_t writable;    // bits that a write changes
    uint32_t ignored; // bits that a write may have set; any other is reserved, #GP in x2APIC mode
    // With writable bits only; NULL: the register holds them, and that is all.
    void (*write)(struct vcpu *vcpu, uint32_t offset, uint32_t value);
};

#define LVT_COMMON   (APIC_VECTOR | (uint32_t)LVT_MASKED)
#define LVT_STATUS   ((uint32_t)LVT_DELIVERY_STATUS)
#define LVT_DELIVERS (LVT_COMMON | LVT_DELIVERY_MODE)
#define LVT_PIN      (LVT_DELIVERS | (uint32_t)(LVT_POLARITY | LVT_LEVEL))
#define ICR_WRITABLE 0xccfffu // vector, mode, logical, assert, level, shorthand

// ---- writes that do something -------------------------------------------------------------------

static void write_id(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    (void)vcpu, (void)offset, (void)value; // fixed
}

static void write_tpr(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    vlapic_set(vcpu, offset, value);
    vlapic_recheck(vcpu);
}

static void write_eoi(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    (void)offset, (void)value;
    vlapic_end_interrupt(vcpu);
}

static void write_dfr(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    vlapic_set(vcpu, offset, value | 0x0fffffff);
}

// Turning the APIC off by software masks all local interrupts (SDM 3A 11.4.7.2 "Local APIC State
// After It Has Been Software Disabled").
static void write_svr(struct vcpu *vcpu, uint32_t svr, uint32_t value) {
    vlapic_set(vcpu, svr, value);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
    if (value & SVR_ENABLED)
        return;
    for (uint32_t offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += 16)
        vlapic_set(vcpu, offset, vlapic_get(vcpu, offset) | (uint32_t)LVT_MASKED);
    vlapic_timer_write_lvt(vcpu, vlapic_get(vcpu, LAPIC_LVT_TIMER));
}

static void write_esr(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    (void)value;
    vlapic_set(vcpu, offset, __atomic_exchange_n(&vcpu->vlapic.esr_pending, 0, __ATOMIC_RELAXED));
}

static void write_icr(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    uint32_t destination = vlapic_get(vcpu, LAPIC_ICR2);
    vlapic_set(vcpu, offset, value);
    vlapic_send_ipi(vcpu, value, vlapic_is_x2apic(vcpu) ? destination : destination >> 24);
}

static void write_lvt(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    if (!(vlapic_get(vcpu, LAPIC_SVR) & SVR_ENABLED))
        value |= (uint32_t)LVT_MASKED;
    if (offset == LAPIC_LVT_TIMER)
        vlapic_timer_write_lvt(vcpu, value);
    else
        vlapic_set(vcpu, offset, value);
    // The 8259 may be waiting for this.
    if (offset == LAPIC_LVT_LINT0)
        vcpu_post_to_self(vcpu, VCPU_PENDING_EXTINT);
}

static void write_self_ipi(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    (void)offset;
    vlapic_accept(vcpu, (uint8_t)value, false);
}

// They are looked for in this order: first what a running guest writes most.
static const struct register_rule register_rules[] = {
    {LAPIC_ICR, LAPIC_ICR, XRW | X2RW, ICR_WRITABLE, LVT_STATUS, write_icr},
    {LAPIC_EOI, LAPIC_EOI, XW | X2W, 0, 0, write_eoi},
    {LAPIC_ID, LAPIC_ID, XRW | X2R, 0, 0, write_id},
    {LAPIC_VERSION, LAPIC_VERSION, XR | X2R, 0, 0, NULL},
    {LAPIC_TPR, LAPIC_TPR, XRW | X2RW, 0xff, 0, write_tpr},
    {LAPIC_PPR, LAPIC_PPR, XR | X2R, 0, 0, NULL},
    {LAPIC_LDR, LAPIC_LDR, XRW | X2R, 0xff000000, 0, NULL},
    {LAPIC_DFR, LAPIC_DFR, XRW, 0xf0000000, 0, write_dfr},
    {LAPIC_SVR, LAPIC_SVR, XRW | X2RW, SVR_WRITABLE, 0, write_svr},
    {LAPIC_ISR, LAPIC_ISR + 0x70, XR | X2R, 0, 0, NULL},
    {LAPIC_TMR, LAPIC_TMR + 0x70, XR | X2R, 0, 0, NULL},
    {LAPIC_IRR, LAPIC_IRR + 0x70, XR | X2R, 0, 0, NULL},
    {LAPIC_ESR, LAPIC_ESR, XRW | X2RW, 0, 0, write_esr},
    {LAPIC_ICR2, LAPIC_ICR2, XRW, 0xff000000, 0, NULL},
    {LAPIC_LVT_TIMER, LAPIC_LVT_TIMER, XRW | X2RW, LVT_COMMON | LVT_TIMER_MODE, LVT_STATUS,
     write_lvt},
    {LAPIC_LVT_THERMAL, LAPIC_LVT_PERF, XRW | X2RW, LVT_DELIVERS, LVT_STATUS, write_lvt},
    {LAPIC_LVT_LINT0, LAPIC_LVT_LINT1, XRW | X2RW, LVT_PIN, LVT_STATUS | LVT_REMOTE_IRR, write_lvt},
    {LAPIC_LVT_ERROR, LAPIC_LVT_ERROR, XRW | X2RW, LVT_COMMON, LVT_STATUS, write_lvt},
    {LAPIC_TIMER_INITIAL, LAPIC_TIMER_INITIAL, XRW | X2RW, UINT32_MAX, 0, vlapic_timer_write_count},
    {LAPIC_TIMER_CURRENT, LAPIC_TIMER_CURRENT, XR | X2R, 0, 0, NULL},
    {LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE, XRW | X2RW, 0xb, 0, vlapic_timer_write_count},
    {LAPIC_SELF_IPI, LAPIC_SELF_IPI, X2W, APIC_VECTOR, 0, write_self_ipi},
};

static const struct register_rule *find_rule(uint32_t offset) {
    for (size_t i = 0; i < ARRAY_COUNT(register_rules); i++)
        if (offset >= register_rules[i].first && offset <= register_rules[i].last)
            return &register_rules[i];
    return NULL;
}

// ISR, TMR, IRR and what is fixed or counted are kept whole; what has no rule is nothing.
uint32_t vlapic_clean_register(uint32_t offset, uint32_t value) {
    const struct register_rule *rule = find_rule(offset);
    if (!rule)
        return 0;
    if (offset == LAPIC_DFR)
        return value | ~rule->writable;
    bool is_kept = !(rule->access & (XW | X2W)) || offset == LAPIC_ESR || offset == LAPIC_LDR ||
                   offset == LAPIC_ICR2;
    return is_kept ? value : value & rule->writable;
}

// ---- memory-mapped ------------------------------------------------------------------------------

static uint32_t read_register(const struct vcpu *vcpu, uint32_t offset) {
    switch (offset) {
    case LAPIC_PPR:
        return vlapic_processor_priority(vcpu);
    case LAPIC_TIMER_CURRENT:
        return vlapic_timer_get_current(vcpu);
    default:
        return vlapic_get(vcpu, offset);
    }
}

uint32_t vlapic_mmio_read(struct vcpu *vcpu, uint32_t offset) {
    if (!vlapic_is_on(vcpu) || vlapic_is_x2apic(vcpu))
        return UINT32_MAX;
    const struct register_rule *rule = find_rule(offset);
    if (!rule || !(rule->access & XRW)) {
        vlapic_raise_error(vcpu, ESR_ILLEGAL_REGISTER);
        return 0;
    }
    return rule->access & XR ? read_register(vcpu, offset) : 0;
}

static void write_register(struct vcpu *vcpu, const struct register_rule *rule, uint32_t offset,
                           uint32_t value) {
    value &= rule->writable;
    if (rule->write)
        rule->write(vcpu, offset, value);
    else
        vlapic_set(vcpu, offset, value);
}

void vlapic_mmio_write(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    if (!vlapic_is_on(vcpu) || vlapic_is_x2apic(vcpu))
        return;
    const struct register_rule *rule = find_rule(offset);
    if (rule && (rule->access & XW))
        write_register(vcpu, rule, offset, value);
    else
        vlapic_raise_error(vcpu, ESR_ILLEGAL_REGISTER);
}

// ---- model-specific registers -------------------------------------------------------------------

static uint32_t msr_offset(uint32_t msr) {
    return (msr - MSR_X2APIC_FIRST) * 16;
}

// Of ICR alone there are 64 bits: the upper half has a place of its own.
static __attribute__((noinline)) bool write_x2apic(struct vcpu *vcpu, uint32_t msr,
                                                   uint64_t value) {
    uint32_t offset = msr_offset(msr);
    const struct register_rule *rule = find_rule(offset);
    if (!vlapic_is_x2apic(vcpu) || !rule || !(rule->access & X2W) ||
        ((uint32_t)value & ~(rule->writable | rule->ignored)))
        return false;
    if (offset == LAPIC_ICR)
        vlapic_set(vcpu, LAPIC_ICR2, (uint32_t)(value >> 32));
    else if (value >> 32)
        return false;
    write_register(vcpu, rule, offset, (uint32_t)value);
    return true;
}

static bool read_x2apic(const struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    uint32_t offset = msr_offset(msr);
    const struct register_rule *rule = find_rule(offset);
    if (!vlapic_is_x2apic(vcpu) || !rule || !(rule->access & X2R))
        return false;
    *value = read_register(vcpu, offset);
    if (offset == LAPIC_ICR)
        *value |= (uint64_t)vlapic_get(vcpu, LAPIC_ICR2) << 32;
    return true;
}

static bool has_x2apic(const struct vcpu *vcpu) {
    const struct abi_cpuid *basic = vm_find_cpuid(vcpu->vm, 1, 0);
    return basic && (basic->ecx & CPUID_1_ECX_X2APIC);
}

bool vlapic_is_base_valid(const struct vcpu *vcpu, uint64_t apic_base) {
    const uint64_t mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    if ((apic_base & ~(mode | APIC_BASE_BSP)) != VLAPIC_BASE)
        return false;
    return !(apic_base & APIC_BASE_X2APIC) || ((apic_base & APIC_BASE_ENABLE) && has_x2apic(vcpu));
}

static void set_base(struct vcpu *vcpu, uint64_t value) {
    uint64_t bsp = vcpu->vlapic.base_msr & APIC_BASE_BSP;
    __atomic_store_n(&vcpu->vlapic.base_msr, (value & ~APIC_BASE_BSP) | bsp, __ATOMIC_RELAXED);
}

// SDM 3A 11.12.5 "x2APIC State Transitions": x2APIC goes to off only, off to xAPIC only.
static __attribute__((noinline)) bool write_base(struct vcpu *vcpu, uint64_t value) {
    uint64_t old = vlapic_base(vcpu);
    if (!vlapic_is_base_valid(vcpu, value))
        return false;
    bool was_on = (old & APIC_BASE_ENABLE) != 0, is_on = (value & APIC_BASE_ENABLE) != 0;
    bool was_wide = (old & APIC_BASE_X2APIC) != 0, is_wide = (value & APIC_BASE_X2APIC) != 0;
    if ((was_wide && is_on && !is_wide) || (!was_on && is_wide))
        return false;
    set_base(vcpu, value);
    if (was_on != is_on)
        vlapic_reset(vcpu);
    else if (was_wide != is_wide)
        vlapic_enter_mode(vcpu);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT | VCPU_PENDING_EXTINT);
    return true;
}

bool vlapic_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
    if (msr == MSR_APIC_BASE)
        *value = vlapic_base(vcpu);
    else if (msr == MSR_TSC_DEADLINE)
        *value = vlapic_timer_get_deadline(vcpu);
    else
        return read_x2apic(vcpu, msr, value);
    return true;
}

// The first two are what a guest writes thousands of times a second: nothing else may cost them
// anything.
bool vlapic_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
    if (msr == MSR_X2APIC(LAPIC_EOI) && value == 0 && vlapic_is_x2apic(vcpu)) {
        vlapic_end_interrupt(vcpu);
        return true;
    }
    if (msr == MSR_TSC_DEADLINE) {
        vlapic_timer_write_deadline(vcpu, value);
        return true;
    }
    return msr == MSR_APIC_BASE ? write_base(vcpu, value) : write_x2apic(vcpu, msr, value);
}

void vlapic_restore_msrs(struct vcpu *vcpu, uint64_t apic_base, uint64_t tsc_deadline) {
    set_base(vcpu, apic_base);
    vlapic_enter_mode(vcpu);
    vcpu->vlapic.tsc_deadline = tsc_deadline;
    vlapic_timer_arm(vcpu);
    vcpu_post_to_self(vcpu, VCPU_PENDING_INTERRUPT);
}
