// SPDX-License-Identifier: Apache-2.0
// kernel/vlapic_timer.c in its three modes, and the state of a local APIC as a whole.
#include "tests/unit/kernel/vlapic_support.h"

#include "kernel/vmtime.h"

#include <string.h>

#define PERIODS_PER_SECOND_MAX 10000u

TestSuite(vlapic_timer, .init = vlapic_set_up);

Test(vlapic_timer, one_shot_counts_down_and_fires_once) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0x3); // by 16
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000);
    vlapic_advance_to(1000 + 16 * 400);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 600);
    cr_expect_not(has_irr(v, 0x70));
    vlapic_advance_to(1000 + 16 * 1000);
    cr_expect(has_irr(v, 0x70));
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 0);
    cr_expect_null(v->vlapic.timer.cpu);
    cr_expect_eq(take(v), 0x70);
    vlapic_advance_to(vlapic_now + 1000000);
    cr_expect_not(has_irr(v, 0x70));
}

// SDM 3A 11.5.4: what has counted to 0 stays there until it is programmed again.
Test(vlapic_timer, expired_one_shot_stays_over) {
    struct vcpu *v = &vlapic_vcpu[0];
    struct vcpu_apic state;
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0x3);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000);
    vlapic_advance_to(1000 + 16 * 1000);
    cr_expect_eq(take(v), 0x70);
    vlapic_mmio_write(v, LAPIC_EOI, 0);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x70);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 0);
    cr_expect_null(v->vlapic.timer.cpu);
    vlapic_save(v, &state);
    cr_assert_eq(vlapic_restore(v, &state), ABI_OK);
    cr_expect_null(v->vlapic.timer.cpu, "nor by a restore");
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    cr_expect_null(v->vlapic.timer.cpu, "nor by the divider");
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000000);
    cr_expect_not_null(v->vlapic.timer.cpu);
}

// A vCPU that moves to a CPU whose TSC is behind has lost nothing.
Test(vlapic_timer, one_shot_lives_on_where_the_clock_is_behind) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000000);
    v->vlapic.timer_start += 500;
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 1000000);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x71);
    cr_expect_not_null(v->vlapic.timer.cpu);
}

// One that runs never shows 0, which would be lost by saving it.
Test(vlapic_timer, last_fraction_of_a_tick_counts) {
    struct vcpu *v = &vlapic_vcpu[0];
    struct vcpu_apic state;
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x70);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0x3);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 100000);
    vlapic_advance_to(1000 + 1600000 - 1);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 1);
    vlapic_save(v, &state);
    cr_assert_eq(vlapic_restore(v, &state), ABI_OK);
    cr_expect_not_null(v->vlapic.timer.cpu);
}

Test(vlapic_timer, divider_codes) {
    struct vcpu *v = &vlapic_vcpu[0];
    const uint32_t code[] = {0xb, 0x0, 0x1, 0x2, 0x3, 0x8, 0x9, 0xa};
    enable(v);
    for (unsigned shift = 0; shift < ARRAY_COUNT(code); shift++) {
        vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, code[shift]);
        vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000);
        cr_expect_eq(v->vlapic.timer_period, 1000u << shift);
    }
}

// vCPU 0, whose timer comes each million ticks, as vector 0x71, from 1000 on.
static struct vcpu *start_periodic(void) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000000);
    return v;
}

Test(vlapic_timer, periodic_keeps_its_beat) {
    struct vcpu *v = start_periodic();
    for (unsigned i = 1; i <= 5; i++) {
        vlapic_advance_to(1000 + i * 1000000ULL + 500);
        cr_expect_eq(take(v), 0x71, "period %u", i);
        vlapic_mmio_write(v, LAPIC_EOI, 0);
        cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 1000000 - 500);
    }
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_MASKED | LVT_TIMER_PERIODIC | 0x71);
    cr_expect_null(v->vlapic.timer.cpu, "masked: no host timer");
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 6000000, "still on the beat");
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 0);
    cr_expect_null(v->vlapic.timer.cpu);
}

Test(vlapic_timer, periodic_rests_while_its_vcpu_does_not_run) {
    struct vcpu *v = start_periodic();
    vlapic_advance_to(1000 + 1000000 + 500);
    cr_expect_not_null(v->vlapic.timer.cpu, "one waits to be taken");
    vlapic_advance_to(1000 + 2000000 + 500);
    cr_expect_null(v->vlapic.timer.cpu, "nobody took it");
    v->is_running = 1;
    vlapic_timer_wake(v);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 3000000, "still on the beat");
    vlapic_advance_to(1000 + 3000000 + 500);
    cr_expect_not_null(v->vlapic.timer.cpu, "who runs may be busy with interrupts off");
    cr_expect_eq(take(v), 0x71);
    v->is_running = 0;
}

Test(vlapic_timer, periods_have_a_lower_bound) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1);
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + HZ / PERIODS_PER_SECOND_MAX);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x71);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    cr_expect_eq(v->vlapic.timer_period, HZ / PERIODS_PER_SECOND_MAX, "nor by a change of mode");
}

Test(vlapic_timer, tsc_deadline_is_the_guests_clock) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    v->tsc_offset = (uint64_t)-500; // the guest is 500 behind
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_null(v->vlapic.timer.cpu, "ignored in another mode");
    uint64_t value = 1;
    cr_expect(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value));
    cr_expect_eq(value, 0, "and forgotten");
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_eq(v->vlapic.timer.node.key, 5500);
    cr_expect(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value));
    cr_expect_eq(value, 5000);
    vlapic_move_tsc(v, 1000);
    cr_expect_eq(v->tsc_offset, 500);
    cr_expect_eq(v->vlapic.timer.node.key, 4500);
    vlapic_advance_to(4500);
    cr_expect(has_irr(v, 0x72));
    vlapic_move_tsc(v, (uint64_t)-3000);
    cr_expect_null(v->vlapic.timer.cpu,
                   "what has fired is gone, though the guest's clock went back");
    cr_expect(vlapic_msr_read(v, MSR_TSC_DEADLINE, &value));
    cr_expect_eq(value, 0);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 10));
    cr_expect_eq(v->vlapic.timer.node.key, vlapic_now, "a past one fires at once");
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 0));
    cr_expect_null(v->vlapic.timer.cpu);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 90000));
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x72);
    cr_expect_null(v->vlapic.timer.cpu, "leaving the mode disarms");
}

// A guest whose TSC counts 2.5 times as fast as the host's.
Test(vlapic_timer, timers_count_the_vms_clock) {
    struct vcpu *v = &vlapic_vcpu[0];
    vlapic_vm.tsc_ratio = BIT(32) / 2 * 5;
    enable(v);
    v->tsc_offset = (uint64_t)-2500; // its TSC is 0
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, 5000));
    cr_expect_eq(v->vlapic.timer.node.key, 1000 + 2000);
    vlapic_advance_to(3000);
    cr_expect(has_irr(v, 0x72));

    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 250003); // 100,001.2 host ticks
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 250003);
    uint64_t begin = vlapic_now;
    vlapic_advance_to(begin + 40000);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_TIMER_CURRENT), 250003 - 100000);
    for (uint64_t i = 1; i <= 1000; i++) {
        uint64_t due = begin + (i * 250003 * 2 + 4) / 5;
        cr_assert(v->vlapic.timer.node.key == due, "period %lu: no drift", i);
        take(v);
        vlapic_mmio_write(v, LAPIC_EOI, 0);
        vlapic_advance_to(v->vlapic.timer.node.key);
        cr_assert(has_irr(v, 0x71), "period %lu", i);
    }
}

// The guest may write a register after the counter ran out and before the host's timer interrupt.
Test(vlapic_timer, expiry_is_not_lost_to_a_write) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x70);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 1000);
    vlapic_now += 1001;
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x71);
    cr_expect(has_irr(v, 0x70));
    cr_expect_null(v->vlapic.timer.cpu);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, vlapic_now + 100));
    vlapic_now += 101;
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x73);
    cr_expect(has_irr(v, 0x72));
    cr_expect_null(v->vlapic.timer.cpu, "fires once");
    cr_expect_not(has_irr(v, 0x73));
}

// The same at every moment around the expiry, of a VM with a rate of its own: the host's timer and
// the VM's clock agree on what is over.
Test(vlapic_timer, expiry_of_a_scaled_timer_is_not_lost_to_a_write) {
    static const uint64_t ratios[] = {BIT(24), BIT(32) / 10, BIT(32) / 3, BIT(31), BIT(32) / 2 * 5};
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    for (unsigned i = 0; i < 2 * ARRAY_COUNT(ratios) * 600; i++) {
        bool is_deadline = i % 2 != 0;
        uint32_t mode = is_deadline ? LVT_TIMER_DEADLINE : 0;
        vlapic_vm.tsc_ratio = ratios[i / 2 % ARRAY_COUNT(ratios)];
        vlapic_mmio_write(v, LAPIC_LVT_TIMER, mode | 0x72);
        vlapic_msr_write(v, MSR_TSC_DEADLINE,
                         vmtime_at(&vlapic_vm, vlapic_now) + v->tsc_offset + 7);
        vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 7);
        cr_assert_not_null(v->vlapic.timer.cpu);
        vlapic_now = v->vlapic.timer.node.key - MIN(i / 2 / ARRAY_COUNT(ratios) % 300, 5u) + 2;
        if (is_deadline && i % 4 == 1)
            vlapic_move_tsc(v, 0);
        else
            vlapic_mmio_write(v, LAPIC_LVT_TIMER, mode | 0x72);
        cr_assert(has_irr(v, 0x72) != (v->vlapic.timer.cpu != NULL), "%u: lost, or doubled", i);
        take(v);
        vlapic_mmio_write(v, LAPIC_EOI, 0);
        vlapic_timer_stop(v);
        vlapic_now += 1 + i % 97;
    }
}

Test(vlapic_timer, deadline_that_nobody_lives_to_see_does_not_fire) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    for (unsigned i = 0; i < 2; i++) {
        cr_expect(vlapic_msr_write(v, MSR_TSC_DEADLINE, UINT64_MAX));
        cr_expect_gt(v->vlapic.timer.node.key, BIT(60));
        vlapic_advance_to(vlapic_now + BIT(50));
        cr_expect_not(has_irr(v, 0x72));
        vlapic_vm.tsc_ratio = BIT(24);
    }
}

// ---- state --------------------------------------------------------------------------------------

// Much may pass between two instructions of ours: another emulated CPU's turn, an SMI.
Test(vlapic_timer, a_time_that_is_over_when_it_is_armed_fires) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    vlapic_haste = 10000;
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, 0x71);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 500);
    cr_expect_not_null(v->vlapic.timer.cpu);
    vlapic_mmio_write(v, LAPIC_TIMER_INITIAL, 15000);
    vlapic_mmio_write(v, LAPIC_TIMER_DIVIDE, 0xb);
    cr_expect(v->vlapic.timer.cpu || has_irr(v, 0x71));
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x72);
    vlapic_msr_write(v, MSR_TSC_DEADLINE, vlapic_now + 35000);
    vlapic_mmio_write(v, LAPIC_LVT_TIMER, LVT_TIMER_DEADLINE | 0x73);
    cr_expect_not_null(v->vlapic.timer.cpu, "not yet over when it was looked at");
}

Test(vlapic_timer, state_round_trips) {
    struct vcpu *from = &vlapic_vcpu[1], *to = &vlapic_vcpu[2];
    to->index = 1;
    enable(from);
    vlapic_accept(from, 0x61, true);
    vlapic_accept(from, 0xa2, false);
    cr_expect_eq(take(from), 0xa2);
    vlapic_mmio_write(from, LAPIC_TPR, 0x20);
    vlapic_mmio_write(from, LAPIC_LDR, 0x02000000);
    vlapic_mmio_write(from, LAPIC_LVT_LINT0, LVT_MODE_EXTINT);
    vlapic_mmio_write(from, LAPIC_LVT_TIMER, LVT_TIMER_PERIODIC | 0x71);
    vlapic_mmio_write(from, LAPIC_TIMER_DIVIDE, 0xb);
    vlapic_mmio_write(from, LAPIC_TIMER_INITIAL, 1000000);
    vlapic_advance_to(vlapic_now + 400000);
    vlapic_raise_error(from, ESR_RECEIVE_VECTOR);
    struct vcpu_apic state, again;
    vlapic_save(from, &state);
    cr_expect_eq(state.esr_pending, ESR_RECEIVE_VECTOR);
    cr_expect_eq(state.timer_remaining, 600000);
    cr_assert_eq(vlapic_restore(to, &state), ABI_OK);
    vlapic_save(to, &again);
    cr_expect_eq(memcmp(&state, &again, sizeof state), 0);
    cr_expect_eq(vlapic_get_service(to), 0xa2);
    cr_expect_eq(to->vlapic.timer.node.key, vlapic_now + 600000);
    cr_expect(to->pending & VCPU_PENDING_INTERRUPT);
    vlapic_mmio_write(to, LAPIC_EOI, 0);
    cr_expect_eq(take(to), 0x61);
}

Test(vlapic_timer, impossible_state_is_refused) {
    struct vcpu *v = &vlapic_vcpu[0];
    enable(v);
    struct vcpu_apic good, bad;
    vlapic_save(v, &good);
    bad = good;
    bad.version = 2;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.reg[LAPIC_IRR / 16] = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.reg[LAPIC_TPR / 16] = 0x100;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    bad = good;
    bad.esr_pending = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    memset(&bad, 0xff, sizeof bad);
    bad.version = 1;
    cr_expect_eq(vlapic_restore(v, &bad), ABI_ERROR_ARGUMENT);
    cr_expect_eq(vlapic_restore(v, &good), ABI_OK);
}

Test(vlapic_timer, msrs_restore_without_transitions) {
    struct vcpu *v = &vlapic_vcpu[0];
    const uint64_t wide = VLAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_X2APIC;
    vlapic_restore_msrs(v, wide, 0);
    cr_expect_eq(x2_read(v, LAPIC_ID), 0);
    cr_expect_eq(v->vlapic.base_msr, wide | APIC_BASE_BSP, "who boots is fixed");
    cr_assert(vlapic_is_base_valid(v, VLAPIC_BASE | APIC_BASE_ENABLE));
    vlapic_restore_msrs(v, VLAPIC_BASE | APIC_BASE_ENABLE, 0);
    cr_expect_eq(vlapic_mmio_read(v, LAPIC_ID), 0, "back from x2APIC, as no guest could");
    cr_expect_not(vlapic_is_base_valid(v, VLAPIC_BASE | APIC_BASE_X2APIC));
    cr_expect_not(vlapic_is_base_valid(v, 0));
}
