// SPDX-License-Identifier: Apache-2.0
// kernel/vlapic*.c where the processor delivers or posts by itself, and at random.
#include "tests/unit/kernel/vlapic_support.h"

#include <string.h>

TestSuite(vlapic_help, .init = vlapic_set_up);

// What the processor does with VECTOR_POSTED: SDM 3C 30.6 "Posted-Interrupt Processing".
static void process_posted(struct vcpu *vcpu) {
    struct vlapic_posted *posted = &vcpu->vlapic.posted;
    posted->control &= ~VLAPIC_POSTED_OUTSTANDING;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t offset = LAPIC_IRR + 16 * i;
        uint32_t bits = (uint32_t)(posted->requests[i / 2] >> (i % 2 * 32));
        vlapic_set(vcpu, offset, vlapic_get(vcpu, offset) | bits);
    }
    memset(posted->requests, 0, sizeof posted->requests);
}

Test(vlapic_help, requests_wait_for_the_owner) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0xf2, true);
    cr_expect_not(is_vector_set(v, LAPIC_IRR, 0x31));
    cr_expect_eq(v->vlapic.posted.requests[0], BIT(0x31));
    cr_expect_eq(v->vlapic.levels[3], BIT(0xf2 - 192));
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
    vlapic_take_requests(v);
    cr_expect(is_vector_set(v, LAPIC_IRR, 0x31) && is_vector_set(v, LAPIC_IRR, 0xf2));
    cr_expect(!is_vector_set(v, LAPIC_TMR, 0x31) && is_vector_set(v, LAPIC_TMR, 0xf2));
    cr_expect_eq(v->vlapic.posted.requests[0] | v->vlapic.levels[3], 0);
}

Test(vlapic_help, reset_drops_requests) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0x32, true);
    vlapic_reset(v);
    enable(v);
    cr_expect_eq(take(v), -1);
    cr_expect_not(is_vector_set(v, LAPIC_TMR, 0x32));
}

Test(vlapic_help, edges_are_posted_once_until_they_are_taken) {
    struct vcpu *v = &vlapic_vcpu[0];
    v->vlapic.abilities = VLAPIC_DELIVERS | VLAPIC_POSTS;
    enable(v);
    vlapic_accept(v, 0x31, false);
    vlapic_accept(v, 0x32, false);
    cr_expect_eq(vlapic_notified, 1, "the second is on the way with the first");
    cr_expect_eq(v->pending, 0, "no exit");
    process_posted(v);
    vlapic_accept(v, 0x33, false);
    cr_expect_eq(vlapic_notified, 2);
    vlapic_take_requests(v);
    cr_expect_not(vlapic_is_notified(&v->vlapic));
    vlapic_accept(v, 0x34, false);
    cr_expect_eq(vlapic_notified, 3);
    vlapic_take_requests(v);
    cr_expect(is_vector_set(v, LAPIC_IRR, 0x31) && is_vector_set(v, LAPIC_IRR, 0x32) &&
              is_vector_set(v, LAPIC_IRR, 0x33) && is_vector_set(v, LAPIC_IRR, 0x34));
}

// The processor must not deliver a level before its EOI is to exit.
Test(vlapic_help, levels_are_never_posted) {
    struct vcpu *v = &vlapic_vcpu[0];
    uint64_t vectors[4];
    v->vlapic.abilities = VLAPIC_DELIVERS | VLAPIC_POSTS;
    enable(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], 0);
    vlapic_accept(v, 0x55, true);
    cr_expect_eq(vlapic_notified, 0);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
    process_posted(v);
    cr_expect_not(is_vector_set(v, LAPIC_IRR, 0x55));
    vlapic_take_requests(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], BIT(0x55 - 64));
    cr_expect_not(vlapic_take_tmr(v, vectors), "told once");
    v->pending = 0;
    vlapic_accept(v, 0x55, false);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT, "its EOI need not exit any more");
    vlapic_take_requests(v);
    cr_expect(vlapic_take_tmr(v, vectors));
    cr_expect_eq(vectors[1], 0);
}

Test(vlapic_help, status_follows_the_page) {
    struct vcpu *v = &vlapic_vcpu[0];
    v->vlapic.abilities = VLAPIC_DELIVERS;
    enable(v);
    cr_expect_eq(vlapic_get_request(v), 0);
    vlapic_accept(v, 0x61, false);
    vlapic_accept(v, 0x91, false);
    cr_expect_eq(take(v), 0x91);
    cr_expect_eq(vlapic_get_request(v), 0x61);
    cr_expect_eq(vlapic_get_service(v), 0x91);
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(vlapic_get_service(v), 0);
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT, "the processor is to know");
    v->pending = 0;
    vlapic_mmio_write(v, LAPIC_SVR, 0xff);
    cr_expect_eq(vlapic_get_request(v), 0, "nothing goes through an APIC that is off");
    cr_expect_eq(v->pending, VCPU_PENDING_INTERRUPT);
}

Test(vlapic_help, class_held_back_by_tpr_alone) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    cr_expect_eq(vlapic_get_held_class(v), 0);
    vlapic_accept(v, 0x65, false);
    vlapic_take_requests(v);
    cr_expect_eq(vlapic_get_held_class(v), 0, "it can be taken");
    vlapic_set_cr8(v, 6);
    cr_expect_eq(vlapic_get_held_class(v), 6);
    vlapic_set_cr8(v, 9);
    cr_expect_eq(vlapic_get_held_class(v), 6);
    vlapic_set_cr8(v, 0);
    cr_expect_eq(take(v), 0x65);
    vlapic_accept(v, 0x61, false);
    vlapic_take_requests(v);
    vlapic_set_cr8(v, 9);
    cr_expect_eq(vlapic_get_held_class(v), 0, "its EOI comes first");
}

Test(vlapic_help, registers_are_open_in_x2apic_mode_alone) {
    struct vcpu *v = &vlapic_vcpu[0];
    cr_expect_not(vlapic_is_open(v));
    enable(v);
    cr_expect_not(vlapic_is_open(v));
    enable_x2apic(v);
    cr_expect(vlapic_is_open(v));
    x2_write(v, LAPIC_SVR, 0xff);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_not(vlapic_is_open(v), "off by software");
    x2_write(v, LAPIC_SVR, SVR_ENABLED);
    v->pending = 0;
    vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE);
    cr_expect(v->pending & VCPU_PENDING_INTERRUPT);
    cr_expect_not(vlapic_is_open(v), "off");
}

// Whatever a guest writes where, the invariants hold: no vector below 16.
Test(vlapic_help, random_writes_keep_the_invariants) {
    uint64_t seed = 0x9e3779b97f4a7c15;
    enable_all(false);
    for (unsigned round = 0; round < 200000; round++) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        struct vcpu *v = &vlapic_vcpu[(seed >> 60) % VCPUS];
        uint32_t value = (uint32_t)(seed >> 20);
        uint32_t offset = (uint32_t)(seed >> 52) % 64 * 16;
        if ((seed >> 48) % 16 == 0)
            vlapic_msr_write(v, MSR_APIC_BASE, VLAPIC_BASE | (value & 0xd00));
        else if ((seed >> 48) % 16 < 8)
            vlapic_mmio_write(v, offset, value);
        else
            x2_write(v, offset, (seed >> 24) % 4 ? value : seed);
        if ((seed >> 44) % 4 == 0)
            take(v);
        if ((seed >> 44) % 64 == 1)
            vlapic_advance_to(vlapic_now + value % 10000000);
        cr_assert_eq(vlapic_get(v, LAPIC_ISR) & 0xffff, 0, "round %u", round);
        cr_assert_eq(vlapic_get(v, LAPIC_IRR) & 0xffff, 0, "round %u", round);
        vlapic_mmio_read(v, offset);
    }
}
