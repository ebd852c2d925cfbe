// SPDX-License-Identifier: Apache-2.0
// Interrupts between processors reach whom they name, all of them, nobody else, and once: fixed and
// lowest-priority delivery, physical and logical destinations (flat and cluster in xAPIC mode),
// shorthands, broadcasts; and none is lost when everybody sends to everybody. In xAPIC or (word
// `x2apic`) x2APIC mode.
//
// Every processor counts what it takes. An interrupt that should not have come could only come
// late, so each step ends with one interrupt of the lowest vector to everybody: when that was
// taken, all before it were.
#include "lib/string.h"
#include "runtime/apic.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"
#include "runtime/trap.h"

#define VECTOR       0x61
#define LAST         0x41
#define STORM        0x71
#define STORM_ROUNDS 200u
#define ALL_WIDE     0xffffffffu
#define ALL_NARROW   0xffu
#define DFR_FLAT     0xffffffffu
#define DFR_CLUSTER  0x0fffffffu

static volatile uint32_t taken[SMP_CPUS_MAX], last_taken[SMP_CPUS_MAX];
static uint32_t step;

static void on_vector(struct trap_frame *frame) {
    (void)frame;
    smp_add(&taken[smp_self()]);
    lapic_eoi();
}

static void on_last(struct trap_frame *frame) {
    (void)frame;
    smp_add(&last_taken[smp_self()]);
    lapic_eoi();
}

static uint32_t broadcast(void) {
    return lapic_is_x2apic() ? ALL_WIDE : ALL_NARROW;
}

// All that was sent has been taken.
static void settle(void) {
    step++;
    lapic_send(0, LAPIC_ICR_ALL | LAPIC_ICR_ASSERT | LAST);
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK(smp_wait_for(&last_taken[i], step));
}

static void clear(void) {
    for (uint32_t i = 0; i < smp_count; i++)
        taken[i] = 0;
}

static void send(uint32_t destination, uint32_t command) {
    clear();
    lapic_send(destination, command | LAPIC_ICR_ASSERT | VECTOR);
    settle();
}

// Exactly those of `mask` have taken one.
static void expect(uint64_t mask) {
    for (uint32_t i = 0; i < smp_count; i++)
        CHECK_EQ(taken[i], mask >> i & 1);
}

static uint64_t everybody(void) {
    return smp_count == SMP_CPUS_MAX ? UINT64_MAX : BIT(smp_count) - 1;
}

static void check_physical(void) {
    for (uint32_t i = 0; i < smp_count; i++) {
        send(i, 0);
        expect(BIT(i));
        send(i, LAPIC_ICR_LOWEST);
        expect(BIT(i));
    }
    send(broadcast(), 0);
    expect(everybody());
    send(smp_count, 0); // nobody
    expect(0);
}

static void check_shorthands(void) {
    uint32_t self = smp_self();
    send(0, LAPIC_ICR_SELF);
    expect(BIT(self));
    send(0, LAPIC_ICR_ALL);
    expect(everybody());
    send(0, LAPIC_ICR_OTHERS);
    expect(everybody() & ~BIT(self));
    if (lapic_is_x2apic()) {
        clear();
        lapic_write(LAPIC_SELF_IPI, VECTOR);
        settle();
        expect(BIT(self));
    }
}

// ---- logical destinations -----------------------------------------------------------------------

static uint32_t logical_model;

static uint32_t logical_id(uint32_t cpu) {
    if (lapic_is_x2apic())
        return cpu >> 4 << 16 | 1u << (cpu & 15);
    return logical_model == DFR_FLAT ? 1u << cpu : (cpu / 2) << 4 | 1u << (cpu % 2);
}

static void set_logical(void) {
    uint32_t id = logical_id(smp_self());
    if (lapic_is_x2apic()) {
        CHECK_EQ(lapic_read(LAPIC_LDR), id);
        return;
    }
    lapic_write(LAPIC_DFR, logical_model);
    lapic_write(LAPIC_LDR, id << 24);
    CHECK_EQ(lapic_read(LAPIC_LDR), id << 24);
}

// All sets within the first cluster of `size`.
static void check_sets(uint32_t size) {
    for (uint32_t set = 0; set < 1u << size; set++) {
        send(set, LAPIC_ICR_LOGICAL);
        expect(set);
    }
}

static uint32_t count_taken(void) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < smp_count; i++)
        sum += taken[i];
    return sum;
}

static void check_logical(uint32_t model) {
    logical_model = model;
    smp_run_all(set_logical);
    for (uint32_t i = 0; i < smp_count; i++) {
        send(logical_id(i), LAPIC_ICR_LOGICAL);
        expect(BIT(i));
    }
    bool is_cluster = !lapic_is_x2apic() && model == DFR_CLUSTER;
    check_sets(is_cluster ? 2 : smp_count < 4 ? smp_count : 4);
    send(broadcast(), LAPIC_ICR_LOGICAL);
    expect(everybody());
    if (is_cluster) {
        send(0xf1, LAPIC_ICR_LOGICAL); // the first of each cluster
        expect(0x5555555555555555ULL & everybody());
        send(smp_count / 2 << 4 | 3, LAPIC_ICR_LOGICAL); // a cluster that is not there
        expect(0);
    }
}

// ---- lowest priority ----------------------------------------------------------------------------

static uint32_t chosen; // who has the lower task priority

static void set_priority(void) {
    lapic_write(LAPIC_TPR, smp_self() == chosen ? 0x10 : 0x20);
}

static void clear_priority(void) {
    lapic_write(LAPIC_TPR, 0);
}

static void software_disable(void) {
    lapic_write(LAPIC_SVR, 0xff);
}

static void software_enable(void) {
    lapic_write(LAPIC_SVR, LAPIC_SVR_ENABLE | 0xff);
}

static void check_lowest_priority(void) {
    for (chosen = 0; chosen < smp_count; chosen++) {
        smp_run_all(set_priority);
        send(broadcast(), LAPIC_ICR_LOWEST);
        expect(BIT(chosen));
        send(logical_id(0) | logical_id(1), LAPIC_ICR_LOGICAL | LAPIC_ICR_LOWEST);
        CHECK_EQ(count_taken(), 1);
        CHECK_EQ(taken[chosen], chosen < 2);
    }
    smp_run_all(clear_priority);
    send(broadcast(), LAPIC_ICR_LOWEST | LAPIC_ICR_LOGICAL);
    CHECK_EQ(count_taken(), 1);
}

static void raise_priority(void) {
    lapic_write(LAPIC_TPR, 0x20);
}

static volatile uint32_t is_disabled, is_checked;

// A local APIC that is switched off by software takes none, however low its priority.
static void disable_and_wait(void) {
    software_disable();
    smp_add(&is_disabled);
    while (!is_checked)
        smp_pause();
    software_enable();
    lapic_write(LAPIC_LVT_TIMER, SMP_NAP_VECTOR); // which that masked
}

static void check_disabled(void) {
    uint32_t off = smp_count - 1;
    raise_priority();
    taken[0] = taken[off] = 0;
    smp_run(off, disable_and_wait);
    CHECK(smp_wait_for(&is_disabled, 1));
    lapic_send(logical_id(0) | logical_id(off),
               LAPIC_ICR_LOGICAL | LAPIC_ICR_LOWEST | LAPIC_ICR_ASSERT | VECTOR);
    lapic_send(off, LAPIC_ICR_ASSERT | VECTOR);
    CHECK(smp_wait_for(&taken[0], 1));
    is_checked = 1;
    smp_join(off);
    settle();
    CHECK_EQ(taken[0], 1);
    CHECK_EQ(taken[off], 0);
    clear_priority();
}

// ---- storm --------------------------------------------------------------------------------------

// Interrupts of one vector fall together, so a sender waits for its last to be taken. Mail from a
// to b: a raises `sent`, b answers all it finds there in its handler: none may stay unanswered.
static volatile uint32_t sent[SMP_CPUS_MAX][SMP_CPUS_MAX], answered[SMP_CPUS_MAX][SMP_CPUS_MAX];
static struct smp_barrier storm_start;

static void on_storm(struct trap_frame *frame) {
    uint32_t self = smp_self();
    (void)frame;
    lapic_eoi(); // before the look: what comes after it interrupts again
    for (uint32_t from = 0; from < smp_count; from++)
        __atomic_store_n(&answered[from][self], sent[from][self], __ATOMIC_SEQ_CST);
}

static void storm(void) {
    uint32_t self = smp_self();
    smp_barrier(&storm_start, smp_count);
    for (uint32_t i = 1; i <= STORM_ROUNDS; i++) {
        for (uint32_t to = 0; to < smp_count; to++) {
            __atomic_store_n(&sent[self][to], i, __ATOMIC_SEQ_CST);
            lapic_send(to, LAPIC_ICR_ASSERT | STORM);
        }
        for (uint32_t to = 0; to < smp_count; to++)
            CHECK(smp_wait_for(&answered[self][to], i));
    }
}

static void check_storm(void) {
    trap_set_handler(STORM, on_storm);
    smp_run_all(storm);
    uint32_t rounds = 0;
    for (uint32_t i = 0; i < smp_count; i++)
        for (uint32_t k = 0; k < smp_count; k++)
            rounds += answered[i][k];
    CHECK_EQ(rounds, STORM_ROUNDS * smp_count * smp_count);
}

void test(void) {
    trap_set_handler(VECTOR, on_vector);
    trap_set_handler(LAST, on_last);
    smp_start(cmdline_has("x2apic"));
    check_physical();
    check_shorthands();
    check_logical(DFR_FLAT);
    check_lowest_priority();
    check_disabled();
    if (!lapic_is_x2apic())
        check_logical(DFR_CLUSTER);
    check_storm();
}
