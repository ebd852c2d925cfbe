// SPDX-License-Identifier: Apache-2.0
// The keeper of hostile guests (runtime/keeper.h) ends a VM whose first processor hangs, and only
// then: not while that one beats, for longer than its patience.
#include "runtime/cpu.h"
#include "runtime/keeper.h"
#include "runtime/smp.h"
#include "runtime/tiny.h"

#define KEPT_S  5u // other VMs may run for seconds between two beats
#define BEATS   30u
#define BEAT_US 200000u

void test(void) {
    if (!keeper_start(KEPT_S))
        debug_exit(SMP_TOO_FEW);
    for (uint32_t i = 0; i < BEATS; i++) {
        keeper_beat();
        smp_nap_us(BEAT_US);
    }
    print("beats: %u\n", BEATS);
    interrupts_off();
    for (;;)
        __asm__ volatile("hlt");
}
