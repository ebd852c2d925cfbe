// SPDX-License-Identifier: Apache-2.0
// What the tests of kernel/vlapic*.c share: a VM of a few vCPUs, whose clock and timers are of
// paper (vlapic_test.c).
#pragma once

#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>

#define VCPUS 4u
#define HZ    1000000000ULL

extern uint64_t vlapic_now;
extern uint64_t vlapic_haste; // what passes between two looks at the clock
extern struct vm vlapic_vm;
extern struct vcpu vlapic_vcpu[VCPUS];
extern struct abi_cpuid vlapic_leaf1;
extern unsigned vlapic_notified; // calls of vcpu_notify

void vlapic_set_up(void);
// Timers that are due by then fire.
void vlapic_advance_to(uint64_t tsc);

static inline void enable(struct vcpu *vcpu) {
    vlapic_mmio_write(vcpu, LAPIC_SVR, SVR_ENABLED | 0xff);
    vcpu->pending = 0;
}

static inline void enable_x2apic(struct vcpu *vcpu) {
    cr_assert(vlapic_msr_write(vcpu, MSR_APIC_BASE, vcpu->vlapic.base_msr | APIC_BASE_X2APIC));
    cr_assert(vlapic_msr_write(vcpu, MSR_X2APIC_FIRST + 0xf, SVR_ENABLED | 0xff));
    vcpu->pending = 0;
}

static inline void enable_all(bool is_x2apic) {
    for (unsigned i = 0; i < VCPUS; i++) {
        if (is_x2apic)
            enable_x2apic(&vlapic_vcpu[i]);
        else
            enable(&vlapic_vcpu[i]);
    }
}

static inline bool x2_write(struct vcpu *vcpu, uint32_t offset, uint64_t value) {
    return vlapic_msr_write(vcpu, MSR_X2APIC_FIRST + offset / 16, value);
}

static inline uint64_t x2_read(struct vcpu *vcpu, uint32_t offset) {
    uint64_t value = 0;
    cr_assert(vlapic_msr_read(vcpu, MSR_X2APIC_FIRST + offset / 16, &value), "offset %x", offset);
    return value;
}

static inline bool is_vector_set(const struct vcpu *vcpu, uint32_t base, uint8_t vector) {
    return (vlapic_get(vcpu, base + vector / 32u * 16u) >> vector % 32u & 1u) != 0;
}

static inline bool has_irr(struct vcpu *vcpu, uint8_t vector) {
    vlapic_take_requests(vcpu);
    return is_vector_set(vcpu, LAPIC_IRR, vector);
}

// What vcpu_run does with a deliverable interrupt.
static inline int take(struct vcpu *vcpu) {
    vlapic_take_requests(vcpu);
    int vector = vlapic_pending(vcpu);
    if (vector >= 0)
        vlapic_acknowledge(vcpu, (uint8_t)vector);
    return vector;
}
