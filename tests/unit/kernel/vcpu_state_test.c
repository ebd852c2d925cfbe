// SPDX-License-Identifier: Apache-2.0
// kernel/vcpu_state.c: what of a vCPU's state goes out and in, and what would fault in the kernel.
#include "tests/unit/kernel/support_vcpu.h"

#include <string.h>

#define LOOKS VCPU_PENDING_LOOKS

static struct vcpu_registers state;

TestSuite(kernel_vcpu_state, .init = vcpu_set_up);

static _Alignas(64) uint8_t fpu_area[ABI_XSAVE_SIZE];
static _Alignas(PAGE_SIZE) uint8_t fpu_kept[PAGE_SIZE];

static int write_fpu_byte(unsigned offset, uint8_t value) {
    memset(fpu_area, 0, sizeof(fpu_area));
    fpu_area[offset] = value;
    memset(fpu_kept, 0xcc, sizeof(fpu_kept));
    run_vcpu.xsave = fpu_kept;
    int error = vcpu_write_state(&run_vcpu, VCPU_STATE_FPU, fpu_area);
    const uint8_t *expected = error == ABI_OK ? fpu_area : NULL;
    for (unsigned i = 0; i < ABI_XSAVE_SIZE; i++)
        cr_assert_eq(fpu_kept[i], expected != NULL ? expected[i] : 0xcc, "byte %u", i);
    return error;
}

// SDM 1 13.8.1 "Standard Form of XRSTOR": a bit of XSTATE_BV beyond XCR0, XCOMP_BV, a reserved byte
// of the header or of MXCSR is #GP, in ring 0.
Test(kernel_vcpu_state, fpu_state_that_xrstor_would_refuse_is_refused) {
    cpu_features.xcr0_mask = 7;
    cr_expect_eq(write_fpu_byte(512, 7), ABI_OK);
    for (unsigned bit = 3; bit < 64; bit++)
        cr_expect_eq(write_fpu_byte(512 + bit / 8, (uint8_t)(1u << bit % 8)), ABI_ERROR_ARGUMENT,
                     "XSTATE_BV bit %u", bit);
    for (unsigned i = 8; i < 64; i++)
        cr_expect_eq(write_fpu_byte(512 + i, 1), ABI_ERROR_ARGUMENT, "header byte %u", i);
    cr_expect_eq(write_fpu_byte(24, 0xff), ABI_OK);
    cr_expect_eq(write_fpu_byte(25, 0xff), ABI_OK);
    cr_expect_eq(write_fpu_byte(26, 1), ABI_ERROR_ARGUMENT);
    cr_expect_eq(write_fpu_byte(27, 0x80), ABI_ERROR_ARGUMENT);
    cr_expect_eq(write_fpu_byte(576, 1), ABI_OK, "behind the header it is data");
}

#define NON_CANONICAL 0x0000800000000000ULL

// WRMSR, XSETBV and MOV to DR6 of the next load.
Test(kernel_vcpu_state, registers_that_are_refused_change_nothing) {
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    const struct vcpu_registers good = state;
    const struct {
        size_t offset;
        uint64_t value;
        size_t size;
    } bad[] = {
        {offsetof(struct vcpu_registers, activity), 2, 4},
        {offsetof(struct vcpu_registers, activity), 4, 4},
        {offsetof(struct vcpu_registers, apic_base), 1, 8},
        {offsetof(struct vcpu_registers, events), BIT(31), 4},
        {offsetof(struct vcpu_registers, pvtime_steal), 2, 8},
        {offsetof(struct vcpu_registers, pvtime_steal), 0x21, 8},
        {offsetof(struct vcpu_registers, lstar), NON_CANONICAL, 8},
        {offsetof(struct vcpu_registers, cstar), NON_CANONICAL, 8},
        {offsetof(struct vcpu_registers, kernel_gs_base), 0xffff000000000000ULL, 8},
        {offsetof(struct vcpu_registers, sfmask), 1ULL << 32, 8},
        {offsetof(struct vcpu_registers, tsc_aux), 1ULL << 32, 8},
        {offsetof(struct vcpu_registers, dr6), 1ULL << 32, 8},
        {offsetof(struct vcpu_registers, xcr0), 0, 8},
        {offsetof(struct vcpu_registers, xcr0), XCR0_X87 | XCR0_AVX, 8},
        {offsetof(struct vcpu_registers, xcr0), 0xe3, 8}, // AVX-512 without AVX
        {offsetof(struct vcpu_registers, xcr0), 0x27, 8}, // a third of it
        {offsetof(struct vcpu_registers, xcr0), 0x1f, 8}, // beyond the host's
    };
    cpu_features.has_xsave = true;
    cpu_features.xcr0_mask = 0xe7;
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        state = good;
        state.tsc_adjust = 99;
        memcpy((uint8_t *)&state + bad[i].offset, &bad[i].value, bad[i].size);
        cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_ERROR_ARGUMENT,
                     "case %u", i);
        cr_expect_eq(run_vcpu.tsc_adjust, 0, "case %u", i);
    }
    cr_expect_eq(paper.writes, 0);
    state = good;
    state.tsc_adjust = 99;
    state.activity = VCPU_WAIT_SIPI;
    state.is_extint_high = 5;
    state.tsc = 1000, state.tsc_clock = 300;
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(run_vcpu.tsc_adjust, 99);
    cr_expect_eq(run_vcpu.activity, VCPU_WAIT_SIPI);
    cr_expect_eq(run_vcpu.is_extint_high, 1);
    cr_expect_eq(run_vcpu.tsc_offset, 700);
    cr_expect_null(run_vcpu.loaded_on, "what was written is in memory, for whichever CPU runs it");
    state.apic_base ^= APIC_BASE_ENABLE;
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_expect_eq(run_vcpu.vlapic.base_msr, state.apic_base);
}

Test(kernel_vcpu_state, registers_at_the_edge_are_taken) {
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    state.lstar = 0x00007fffffffffffULL, state.cstar = 0xffff800000000000ULL;
    state.sfmask = state.tsc_aux = state.dr6 = UINT32_MAX;
    cpu_features.has_xsave = true;
    cpu_features.xcr0_mask = 0xe7;
    const uint64_t xcr0s[] = {1, 3, 7, 0xe7};
    for (unsigned i = 0; i < ARRAY_COUNT(xcr0s); i++) {
        state.xcr0 = xcr0s[i];
        cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    }
    cpu_features.has_xsave = false;
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_ERROR_ARGUMENT,
                 "there is no XCR0");
    state.xcr0 = 1;
    cr_expect_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
}

// A reset ends what the state before led to, and nothing that others want of the vCPU.
Test(kernel_vcpu_state, triple_fault_is_that_of_the_state_before) {
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    const uint64_t groups[] = {VCPU_STATE_REGISTERS, VCPU_STATE_CONTEXT};
    for (unsigned i = 0; i < ARRAY_COUNT(groups); i++) {
        run_vcpu.pending = VCPU_PENDING_SHUTDOWN | VCPU_PENDING_KICK;
        cr_assert_eq(vcpu_write_state(&run_vcpu, groups[i], &state), ABI_OK);
        cr_expect_eq(run_vcpu.pending, VCPU_PENDING_KICK | VCPU_PENDING_LOOKS);
    }
}

// What struct vcpu and the page hold goes in and comes out the same; the rest is the backend's.
Test(kernel_vcpu_state, registers_round_trip) {
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    struct vcpu_registers got = {0};
    for (unsigned i = 0; i < 16; i++)
        state.gpr[i] = 0x100 + i;
    state.cr2 = 1, state.dr[0] = 2, state.dr[3] = 3, state.dr6 = 4, state.star = 5;
    state.lstar = 6, state.cstar = 7, state.sfmask = 8, state.kernel_gs_base = 9;
    state.tsc_aux = 10, state.rip = 11, state.rflags = 12, state.cr0_own = 13;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect(run_vcpu.cr2 == 1 && run_vcpu.dr[3] == 3 && run_vcpu.dr6 == 4 && run_vcpu.star == 5);
    cr_expect(run_page.rip == 11 && run_page.rflags == 12 && run_page.gpr[15] == 0x10f);
    cr_expect_eq(run_vcpu.pending & LOOKS, LOOKS, "in the new state something may be due");
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_CONTEXT, &got), ABI_OK);
    got.tsc = state.tsc, got.tsc_clock = state.tsc_clock;
    cr_expect_eq(memcmp(&got, &state, sizeof(got)), 0);
}

// The guest moves its TSC: its VMM writes the pair and TSC_ADJUST, and all else goes on.
Test(kernel_vcpu_state, context_moves_the_tsc_and_what_waits_for_it) {
    uint64_t deadline = 0;
    vlapic_mmio_write(&run_vcpu, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_assert(vlapic_msr_write(&run_vcpu, MSR_TSC_DEADLINE, state.tsc + BIT(40)));
    uint64_t key = run_vcpu.vlapic.timer.node.key;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(run_vcpu.vlapic.timer.node.key, key, "as it was read");
    state.tsc += 1000;
    state.tsc_adjust += 1000;
    state.activity = VCPU_WAIT_SIPI; // what may have gone on
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(run_vcpu.tsc_offset, 1000);
    cr_expect_eq(run_vcpu.tsc_adjust, 1000);
    cr_expect_eq(run_vcpu.vlapic.timer.node.key, key - 1000, "the deadline is the guest's clock's");
    cr_expect(vlapic_msr_read(&run_vcpu, MSR_TSC_DEADLINE, &deadline) && deadline != 0);
    cr_expect_eq(run_vcpu.activity, VCPU_ACTIVE);
}

// Of the state before nothing fires in the new one, whose TSC may be far behind it.
Test(kernel_vcpu_state, whole_state_has_no_deadline_but_its_own) {
    vlapic_mmio_write(&run_vcpu, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    cr_assert(vlapic_msr_write(&run_vcpu, MSR_TSC_DEADLINE, state.tsc + BIT(40)));
    state.tsc += BIT(41);
    state.tsc_deadline = 0;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_REGISTERS, &state), ABI_OK);
    vlapic_take_requests(&run_vcpu);
    cr_expect_eq(vlapic_mmio_read(&run_vcpu, LAPIC_IRR + 0x30) & BIT(0x12), 0, "vector 0x72");
}

Test(kernel_vcpu_state, context_sets_where_steal_time_is_told) {
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(state.pvtime_steal, 0);
    state.pvtime_steal = 0x4040 | PVTIME_ENABLE;
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(run_vcpu.pvtime.waited, UINT64_MAX, "what was waited before is nobody's");
    run_vcpu.pvtime.waited = 5;
    state.pvtime_steal = 0;
    cr_assert_eq(vcpu_read_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(state.pvtime_steal, 0x4040 | PVTIME_ENABLE);
    cr_assert_eq(vcpu_write_state(&run_vcpu, VCPU_STATE_CONTEXT, &state), ABI_OK);
    cr_expect_eq(run_vcpu.pvtime.waited, 5, "it goes on");
}
