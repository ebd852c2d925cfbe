// SPDX-License-Identifier: Apache-2.0
// The interface is told in keeper.h.
#include "runtime/keeper.h"

#include "runtime/cpu.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define LOOK_US 100000u

static volatile uint32_t beats;
static uint64_t patience; // of the keeper's TSC

static void keep(void) {
    uint32_t seen = beats;
    uint64_t end = rdtsc() + patience;
    for (;;) {
        smp_nap_us(LOOK_US);
        uint64_t now = rdtsc(); // before the look: others may run behind it
        if (beats != seen) {
            seen = beats;
            end = rdtsc() + patience;
        } else if (now > end) {
            print("kept: round %u does not end\n", seen);
            debug_exit(KEEPER_END);
        }
    }
}

bool keeper_start(uint32_t seconds) {
    smp_find();
    if (smp_count == 1)
        return false;
    patience = seconds * tsc_hz();
    smp_start(false);
    smp_run(1, keep);
    return true;
}

void keeper_beat(void) {
    beats++;
}
