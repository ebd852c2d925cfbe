// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer. SDM 3A 11.5.4 "APIC Timer".
//
// The counter is not kept: what it would show follows from when its period began. All times are the
// VM's clock (kernel/vmtime.h) but the host timer's, which is armed only while the guest wants an
// interrupt. fire() runs in interrupt context on the CPU that armed it and arms the next period
// itself; timer_period is how the owner tells it to stop.
#include "arch/tsc.h"
#include "kernel/vlapic_internal.h"
#include "kernel/vmtime.h"

// No period shorter than this, or the guest could keep the host busy with timer interrupts alone.
#define PERIODS_PER_SECOND_MAX 10000u
#define AHEAD_MAX              BIT(62)

static bool is_deadline_mode(const struct vcpu *vcpu) {
    return (vlapic_get(vcpu, LAPIC_LVT_TIMER) & LVT_TIMER_DEADLINE) != 0;
}

static bool is_periodic(const struct vcpu *vcpu) {
    return (vlapic_get(vcpu, LAPIC_LVT_TIMER) & LVT_TIMER_PERIODIC) != 0;
}

static bool is_masked(const struct vcpu *vcpu) {
    return (vlapic_get(vcpu, LAPIC_LVT_TIMER) & LVT_MASKED) != 0;
}

// Divide configuration: bits 3, 1, 0 give 2, 4, 8, ..., 128, and 1 for all set.
static unsigned divide_shift(const struct vcpu *vcpu) {
    uint32_t value = vlapic_get(vcpu, LAPIC_TIMER_DIVIDE);
    uint32_t code = (value & 3) | ((value >> 1) & 4);
    return (code + 1) & 7;
}

static uint64_t get_now(const struct vcpu *vcpu) {
    return vmtime_at(vcpu->vm, x86_rdtsc());
}

static uint64_t get_period(const struct vcpu *vcpu) {
    return __atomic_load_n(&vcpu->vlapic.timer_period, __ATOMIC_RELAXED);
}

// Since the counter was started; on a CPU whose TSC is a little behind, 0.
static uint64_t get_elapsed(const struct vcpu *vcpu, uint64_t now) {
    uint64_t elapsed = now - vcpu->vlapic.timer_start;
    return (int64_t)elapsed > 0 ? elapsed : 0;
}

// When the counter expires next, seen from `now`, or false: not at all.
static bool find_expiry(const struct vcpu *vcpu, uint64_t now, uint64_t *at) {
    const struct vlapic *vlapic = &vcpu->vlapic;
    uint64_t period = get_period(vcpu), deadline = vlapic->tsc_deadline;
    if (is_masked(vcpu))
        return false;
    if (is_deadline_mode(vcpu)) {
        // One that has passed fires at once; one that nobody lives to see may be a little nearer.
        uint64_t guest = now + vcpu->tsc_offset;
        *at = now + (deadline > guest ? MIN(deadline - guest, AHEAD_MAX) : 0);
        return deadline != 0;
    }
    uint64_t elapsed = get_elapsed(vcpu, now);
    if (period == 0 || (!is_periodic(vcpu) && elapsed >= period))
        return false;
    *at = vlapic->timer_start + (elapsed / period + 1) * period;
    return true;
}

// Arms the host's timer, or stops it, for the registers as they stand at `now`.
static void arm(struct vcpu *vcpu, uint64_t now) {
    uint64_t at;
    if (find_expiry(vcpu, now, &at))
        timer_arm(&vcpu->vlapic.timer, vmtime_host(vcpu->vm, at));
    else
        timer_cancel(&vcpu->vlapic.timer);
}

// A vCPU that does not run and has not taken the last period's interrupt needs no other: its
// periods go on when it does, at nobody else's cost. The mark, then the look, as in vcpu_notify.
static bool may_rest(struct vcpu *vcpu, bool is_waiting) {
    if (!is_waiting)
        return false;
    __atomic_store_n(&vcpu->vlapic.is_timer_resting, 1, __ATOMIC_SEQ_CST);
    return __atomic_load_n(&vcpu->is_running, __ATOMIC_SEQ_CST) == 0;
}

static void fire(struct timer *timer) {
    struct vlapic *vlapic = CONTAINER_OF(timer, struct vlapic, timer);
    struct vcpu *vcpu = CONTAINER_OF(vlapic, struct vcpu, vlapic);
    uint32_t lvt = vlapic_get(vcpu, LAPIC_LVT_TIMER);
    if (lvt & LVT_MASKED)
        return;
    bool is_waiting = vlapic_is_requested(vlapic, (uint8_t)(lvt & APIC_VECTOR));
    vlapic_accept(vcpu, (uint8_t)(lvt & APIC_VECTOR), false);
    uint64_t period = get_period(vcpu);
    if (!(lvt & LVT_TIMER_PERIODIC) || period == 0 || may_rest(vcpu, is_waiting))
        return;
    // Periods that passed while this CPU could not look are gone, as on a processor in SMM.
    uint64_t at;
    if (find_expiry(vcpu, get_now(vcpu), &at))
        timer_arm(timer, vmtime_host(vcpu->vm, at));
}

// What has expired is delivered before a register changes: the host's timer interrupt may be a few
// instructions away, and stopping the timer would lose it. Returns the time for all that the change
// looks at: what expires after it is armed, and fires at once.
static uint64_t settle(struct vcpu *vcpu) {
    struct timer *timer = &vcpu->vlapic.timer;
    uint64_t host = x86_rdtsc();
    if (__atomic_load_n(&timer->cpu, __ATOMIC_RELAXED) && timer->node.key <= host) {
        timer_cancel(timer);
        fire(timer);
    }
    return vmtime_at(vcpu->vm, host);
}

void vlapic_timer_arm(struct vcpu *vcpu) {
    arm(vcpu, settle(vcpu));
}

static void set_period(struct vcpu *vcpu, uint32_t initial) {
    uint64_t period = (uint64_t)initial << divide_shift(vcpu);
    uint64_t minimum = vmtime_at(vcpu->vm, tsc_hz / PERIODS_PER_SECOND_MAX);
    if (period != 0 && is_periodic(vcpu) && period < minimum)
        period = minimum;
    __atomic_store_n(&vcpu->vlapic.timer_period, period, __ATOMIC_RELAXED);
}

void vlapic_timer_init(struct vcpu *vcpu) {
    vcpu->vlapic.timer = (struct timer){.is_guests = true, .run = fire};
}

// Twice: the first may have met fire() after it saw the period and before it armed.
void vlapic_timer_stop(struct vcpu *vcpu) {
    __atomic_store_n(&vcpu->vlapic.timer_period, 0, __ATOMIC_SEQ_CST);
    vcpu->vlapic.tsc_deadline = 0;
    timer_cancel(&vcpu->vlapic.timer);
    timer_cancel(&vcpu->vlapic.timer);
}

static uint32_t current_at(const struct vcpu *vcpu, uint64_t now) {
    uint64_t period = get_period(vcpu);
    if (period == 0 || is_deadline_mode(vcpu))
        return 0;
    uint64_t elapsed = get_elapsed(vcpu, now);
    if (elapsed >= period && !is_periodic(vcpu))
        return 0;
    // Rounded up: 0 tells that it has stopped.
    unsigned shift = divide_shift(vcpu);
    return (uint32_t)((period - elapsed % period + BIT(shift) - 1) >> shift);
}

uint32_t vlapic_timer_get_current(const struct vcpu *vcpu) {
    return current_at(vcpu, get_now(vcpu));
}

// A deadline that has passed reads 0, as it has fired.
static uint64_t deadline_at(const struct vcpu *vcpu, uint64_t now) {
    uint64_t deadline = vcpu->vlapic.tsc_deadline;
    return deadline > now + vcpu->tsc_offset ? deadline : 0;
}

uint64_t vlapic_timer_get_deadline(const struct vcpu *vcpu) {
    return deadline_at(vcpu, get_now(vcpu));
}

static __attribute__((noinline)) void end_rest(struct vcpu *vcpu) {
    if (__atomic_exchange_n(&vcpu->vlapic.is_timer_resting, 0, __ATOMIC_SEQ_CST) != 0 &&
        is_periodic(vcpu))
        vlapic_timer_arm(vcpu);
}

void vlapic_timer_wake(struct vcpu *vcpu) {
    if (__atomic_load_n(&vcpu->vlapic.is_timer_resting, __ATOMIC_SEQ_CST) != 0)
        end_rest(vcpu); // seldom: most entries only look
}

// Goes on at `now` with `remaining` timer ticks of the current period; 0: it has stopped.
static void go_on(struct vcpu *vcpu, uint64_t remaining, uint64_t now) {
    set_period(vcpu, remaining != 0 ? vlapic_get(vcpu, LAPIC_TIMER_INITIAL) : 0);
    uint64_t period = get_period(vcpu), left = remaining << divide_shift(vcpu);
    bool is_whole = remaining == vlapic_get(vcpu, LAPIC_TIMER_INITIAL) || left > period;
    vcpu->vlapic.timer_start = now - (is_whole ? 0 : period - left);
    arm(vcpu, now);
}

void vlapic_timer_write_lvt(struct vcpu *vcpu, uint32_t value) {
    uint32_t old = vlapic_get(vcpu, LAPIC_LVT_TIMER);
    uint64_t now = settle(vcpu);
    uint32_t current = current_at(vcpu, now);
    vlapic_set(vcpu, LAPIC_LVT_TIMER, value);
    // A change between deadline and counter disarms; between the two counters, it goes on.
    if ((old ^ value) & LVT_TIMER_DEADLINE) {
        vlapic_timer_stop(vcpu);
        vlapic_set(vcpu, LAPIC_TIMER_INITIAL, 0);
        return;
    }
    // A deadline that has passed has fired, or was masked when it did: it is gone. A count that has
    // reached 0 stays there until it is written again (SDM 3A 11.5.4).
    if (value & LVT_TIMER_DEADLINE)
        vcpu->vlapic.tsc_deadline = deadline_at(vcpu, now);
    else
        set_period(vcpu, current != 0 ? vlapic_get(vcpu, LAPIC_TIMER_INITIAL) : 0);
    arm(vcpu, now);
}

void vlapic_timer_write_count(struct vcpu *vcpu, uint32_t offset, uint32_t value) {
    bool is_initial = offset == LAPIC_TIMER_INITIAL;
    if (is_deadline_mode(vcpu) && is_initial)
        return;
    uint64_t now = settle(vcpu);
    uint32_t current = is_initial ? value : current_at(vcpu, now);
    vlapic_set(vcpu, offset, value);
    if (!is_deadline_mode(vcpu))
        go_on(vcpu, current, now);
}

void vlapic_timer_write_deadline(struct vcpu *vcpu, uint64_t guest_tsc) {
    if (!is_deadline_mode(vcpu))
        return;
    uint64_t now = settle(vcpu);
    vcpu->vlapic.tsc_deadline = guest_tsc;
    arm(vcpu, now);
}

void vlapic_move_tsc(struct vcpu *vcpu, uint64_t by) {
    uint64_t now = settle(vcpu);
    if (is_deadline_mode(vcpu))
        vcpu->vlapic.tsc_deadline = deadline_at(vcpu, now); // gone, if it has passed
    vcpu->tsc_offset += by;
    arm(vcpu, now);
}

void vlapic_timer_restore(struct vcpu *vcpu, uint64_t remaining) {
    uint64_t now = get_now(vcpu);
    if (is_deadline_mode(vcpu))
        arm(vcpu, now);
    else
        go_on(vcpu, remaining, now);
}
