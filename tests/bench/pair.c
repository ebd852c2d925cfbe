// SPDX-License-Identifier: Apache-2.0
// The interface is told in pair.h.
#include "pair.h"

#include "measure.h"
#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define SAMPLES   301u
#define WARM_UP   10u
#define ROUNDS    (SAMPLES + WARM_UP)
#define SETTLE_US 1000u // until the other one surely waits, and nobody polls for it any more

static uint64_t samples[SAMPLES];
static volatile uint32_t receiver_of = 2; // who waits for interrupts now; 2: nobody yet
static volatile uint32_t is_halting;      // how
static volatile uint32_t ready;           // how many rounds the receiver has begun
static volatile uint32_t taken;           // and the sender has ended

// `me` sends, the other one receives.
static uint64_t send_rounds(uint32_t me, bool halting) {
    uint32_t to = 1 - me;
    ready = 0;
    taken = 0;
    is_halting = halting;
    receiver_of = to;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        while (ready != i + 1)
            ;
        wait_us(SETTLE_US);
        uint64_t start = rdtsc();
        send_to(to);
        while (stamp[to] == 0)
            ;
        samples[i % SAMPLES] = stamp[to] - start;
        taken = i + 1;
    }
    return median(samples, SAMPLES);
}

static void receive_rounds(uint32_t me) {
    while (receiver_of != me)
        ;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        stamp[me] = 0;
        ready = i + 1;
        (void)(is_halting ? wait_halted : wait_spinning)(me);
        while (taken != i + 1)
            ;
    }
    receiver_of = 2;
}

static volatile uint64_t result_of_1; // what processor 1 measured; 0: not yet

static void measure_both_ways(const char *name, bool halting) {
    result_of_1 = 0;
    uint64_t there = send_rounds(0, halting);
    receive_rounds(0);
    while (result_of_1 == 0)
        ;
    print("bench %s %lu\n", name, (there + result_of_1) / 2);
}

static void answer_interrupts(void) {
    receive_rounds(1);
    result_of_1 = send_rounds(1, false);
    receive_rounds(1);
    result_of_1 = send_rounds(1, true);
}

static void answer_switch(void) {
    for (;;) {
        (void)wait_halted(1);
        stamp[1] = 0;
        send_to(0);
    }
}

void pair_measure_switch(void) {
    smp_run(1, answer_switch);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        stamp[0] = 0;
        uint64_t start = rdtsc();
        send_to(1);
        samples[i % SAMPLES] = (wait_halted(0) - start) / 2;
    }
    print("bench vcpu_switch %lu\n", median(samples, SAMPLES));
}

void pair_measure_interrupts(void) {
    smp_run(1, answer_interrupts);
    measure_both_ways("ipi_running", false);
    measure_both_ways("ipi_halted", true);
}
