// SPDX-License-Identifier: Apache-2.0
// The edges of a local APIC, on the modules as vlapic_test.c compiled them in: what happens with
// nothing in service, with the APIC off while something waits, in the flat model, and to a guest
// that writes what it must not.
#include "tests/unit/kernel/support.h"

#include "arch/x86.h"
#include "kernel/vlapic_internal.h"
#include "kernel/vm.h"

#include <criterion/criterion.h>
#include <string.h>

#define VCPUS 3u

static struct vm vm;
static struct vcpu vcpus[VCPUS];
static struct vcpu *const v = &vcpus[0];
static _Alignas(PAGE_SIZE) uint8_t registers[VCPUS][PAGE_SIZE];

static void set_up(void) {
    host_init_all();
    for (uint32_t i = 0; i < VCPUS; i++) {
        vcpus[i].vm = &vm;
        vcpus[i].index = i;
        vcpus[i].vlapic.page = registers[i];
        vm.vcpus[i] = &vcpus[i];
        vlapic_init(&vcpus[i]);
        vlapic_mmio_write(&vcpus[i], LAPIC_SVR, 0x1ff);
        vcpus[i].pending = 0;
    }
}

TestSuite(kernel_vlapic, .init = set_up);

Test(kernel_vlapic, eoi_of_nothing_tells_nobody) {
    for (uint32_t offset = LAPIC_TMR; offset < LAPIC_TMR + 0x80; offset += 16)
        vlapic_set(v, offset, UINT32_MAX);
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    cr_expect_eq(v->pending, 0, "no vector was in service, so no level ended");
    cr_expect_eq(v->vlapic.eoi_vector, 0);
}

Test(kernel_vlapic, eoi_ends_the_highest_alone) {
    vlapic_acknowledge(v, 0x35);
    vlapic_acknowledge(v, 0x37);
    vlapic_acknowledge(v, 0x30);
    const uint32_t left[] = {BIT(0x35 - 0x20) | BIT(0x30 - 0x20), BIT(0x30 - 0x20), 0};
    for (unsigned i = 0; i < ARRAY_COUNT(left); i++) {
        vlapic_mmio_write(v, LAPIC_EOI, 0);
        cr_expect_eq(vlapic_get(v, LAPIC_ISR + 16), left[i], "EOI %u", i);
    }
}

Test(kernel_vlapic, off_by_software_holds_back_what_came_before) {
    vlapic_accept(v, 0x41, false);
    vlapic_take_requests(v);
    cr_expect_eq(vlapic_pending(v), 0x41);
    vlapic_mmio_write(v, LAPIC_SVR, 0xff);
    cr_expect_eq(vlapic_pending(v), -1);
    vlapic_mmio_write(v, LAPIC_SVR, 0x1ff);
    cr_expect_eq(vlapic_pending(v), 0x41);
}

Test(kernel_vlapic, svr_masks_only_where_it_turns_the_apic_off) {
    vlapic_mmio_write(v, LAPIC_LVT_LINT0, 0x700);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x20055);
    vlapic_mmio_write(v, LAPIC_SVR, 0x1ee);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_LINT0), 0x700);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_TIMER), 0x20055);
    vlapic_mmio_write(v, LAPIC_SVR, 0xee);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_LINT0), 0x10700);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_LVT_TIMER), 0x30055);
}

static uint32_t reached(uint32_t destination) {
    uint32_t mask = 0;
    vlapic_mmio_write(v, LAPIC_ICR2, destination << 24);
    vlapic_mmio_write(v, LAPIC_ICR, 0x800 | 0x51);
    for (uint32_t i = 0; i < VCPUS; i++) {
        mask |= (uint32_t)vlapic_is_requested(&vcpus[i].vlapic, 0x51) << i;
        vlapic_take_requests(&vcpus[i]);
    }
    return mask;
}

// SDM 3A 11.6.2.2 "Logical Destination Mode": in the flat model each bit is a CPU, in the cluster
// model the upper four name one.
Test(kernel_vlapic, flat_model_has_eight_bits) {
    vlapic_mmio_write(&vcpus[0], LAPIC_LDR, 0x10u << 24);
    vlapic_mmio_write(&vcpus[1], LAPIC_LDR, 0x20u << 24);
    vlapic_mmio_write(&vcpus[2], LAPIC_LDR, 0x41u << 24);
    cr_expect_eq(reached(0x10), 1);
    cr_expect_eq(reached(0x30), 3);
    cr_expect_eq(reached(0x61), 6);
    cr_expect_eq(reached(0x0e), 0);
    for (uint32_t i = 0; i < VCPUS; i++)
        vlapic_mmio_write(&vcpus[i], LAPIC_DFR, 0);
    cr_expect_eq(reached(0x41), 4);
    cr_expect_eq(reached(0x31), 0, "another cluster");
    cr_expect_eq(reached(0x42), 0, "another CPU of it");
    cr_expect_eq(reached(0xf1), 4, "all clusters");
}

Test(kernel_vlapic, self_ipi_is_of_its_vector) {
    v->vlapic.base_msr |= APIC_BASE_X2APIC;
    vlapic_enter_mode(v);
    for (uint32_t vector = 16; vector < 256; vector++) {
        cr_expect(vlapic_msr_write(v, MSR_X2APIC(LAPIC_SELF_IPI), vector));
        cr_expect(vlapic_is_requested(&v->vlapic, (uint8_t)vector), "vector %u", vector);
    }
    cr_expect_not(vlapic_msr_write(v, MSR_X2APIC(LAPIC_SELF_IPI), 0x100));
    cr_expect_not(vlapic_msr_write(v, MSR_X2APIC(LAPIC_EOI), 1), "EOI takes 0 alone");
    cr_expect(vlapic_msr_write(v, MSR_X2APIC(LAPIC_EOI), 0));
}

// SDM 3A 11.5.4.1 "TSC-Deadline Mode": in the other two such a write is ignored, and not taken up
// later.
Test(kernel_vlapic, deadline_is_for_its_mode_alone) {
    const uint32_t modes[] = {0x55, 0x20055};
    for (unsigned i = 0; i < ARRAY_COUNT(modes); i++) {
        vlapic_mmio_write(v, LAPIC_LVT_TIMER, modes[i]);
        cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 1ULL << 60));
        cr_expect_null(v->vlapic.timer.cpu, "nothing is armed");
        vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x40055);
        cr_expect_eq(vlapic_timer_get_deadline(v), 0);
        cr_expect_null(v->vlapic.timer.cpu);
        cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 1ULL << 60));
        cr_expect_eq(vlapic_timer_get_deadline(v), 1ULL << 60);
        cr_expect_not_null(v->vlapic.timer.cpu);
    }
}
